//! Merging texts: what both sides changed in different places.

use std::io::Read;

use imara_diff::{Algorithm, Diff, InternedInput};
use pyro_format::{FileId, TreePath};
use pyro_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::Host;

/// Bytes of the longest file that is merged; longer ones are conflicts.
const LONGEST: u64 = 4 << 20;
/// Most work of one merge, in lines times changed lines: a few seconds. The guest chooses the texts.
const WORK: u64 = 1_000_000_000;
const TOO_LONG: &str = "both changed it, and it is too long to merge";

/// A file's content in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub size: u64,
    pub content: FileId,
}

/// The two sides that are not in the host directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    pub base: Stored,
    pub theirs: Stored,
}

impl Sides {
    /// The merged text, or why there is none.
    pub fn merge(
        &self,
        store: &Store,
        host: &Host,
        path: &TreePath,
    ) -> Result<Result<Vec<u8>, &'static str>> {
        if self.base.size.max(self.theirs.size) > LONGEST {
            return Ok(Err(TOO_LONG));
        }
        let mut ours = Vec::new();
        let file = host.file(path)?.take(LONGEST + 1);
        { file }.read_to_end(&mut ours).map_err(Error::io("read", host.absolute(path)))?;
        if ours.len() as u64 > LONGEST {
            return Ok(Err(TOO_LONG));
        }
        let (base, theirs) = (self.base.read(store)?, self.theirs.read(store)?);
        // As git tells texts from other files.
        let is_text = |bytes: &[u8]| !bytes[..bytes.len().min(8000)].contains(&0);
        if ![&base, &ours, &theirs].into_iter().all(|bytes| is_text(bytes)) {
            return Ok(Err("both changed it, and it is no text"));
        }
        if work(&base, &ours).max(work(&base, &theirs)) > WORK {
            return Ok(Err(TOO_LONG));
        }
        Ok(diffy::merge_bytes(&base, &ours, &theirs)
            .map_err(|_| "both changed the same lines, or lines side by side"))
    }
}

/// What comparing two texts costs the library that merges, which looks for the shortest difference
/// (Myers 1986, O(ND)). This comparison is quick on every text.
fn work(a: &[u8], b: &[u8]) -> u64 {
    let lines = InternedInput::new(a, b);
    let diff = Diff::compute(Algorithm::Histogram, &lines);
    let changed = u64::from(diff.count_additions()) + u64::from(diff.count_removals());
    changed * (lines.before.len() + lines.after.len()) as u64
}

impl Stored {
    fn read(&self, store: &Store) -> Result<Vec<u8>> {
        let len = usize::try_from(self.size).unwrap_or(usize::MAX);
        Ok(store.read_file_range(self.content, self.size, 0, len)?)
    }
}
