//! The change report: what the upper layer says about `/workspace`, with the hash of every file.
//!
//! ```text
//! sync ── walk the upper layer ── files ── known and unchanged? ── hash
//!              │ whiteout, opaque, redirect ▶ Remove, Empty, Moved
//! ```
//!
//! Only what the upper layer holds is looked at, so a report costs what the changes cost. A full
//! scan looks at every entry of the merged `/workspace` instead; both give the same tree.

mod base;
mod hash;
mod walk;

use std::mem;

use parking_lot::Mutex;
use pyro_proto::{Change, ReportEnd};

pub use hash::{Hashes, hash_file};

use crate::error::Result;
use crate::workspace::Workspace;

/// Bytes of records in one message, roughly: small enough for the host's frame limit.
const BATCH: usize = 256 << 10;

/// Walks the workspace and hands over records in batches. Blocks.
pub fn report(
    workspace: &Workspace,
    hashes: &Mutex<Hashes>,
    full: bool,
    mut send: impl FnMut(Vec<Change>) -> Result<()>,
) -> Result<ReportEnd> {
    // One report at a time: two would hash everything twice.
    let mut hashes = hashes.lock();
    // Before the sync: what changes from here on has times that are not trusted.
    let scan = hashes.begin();
    workspace.sync()?;
    let mut batch = Batch { records: Vec::new(), bytes: 0, send: &mut send };
    let mut end = ReportEnd::default();
    let mut emit = |change: Change| {
        end.records += 1;
        batch.add(change)
    };
    let counts = if full {
        walk::full(workspace, &mut emit)
    } else {
        walk::upper(workspace, &mut hashes, &scan, &mut emit)
    }?;
    batch.flush()?;
    if !full {
        hashes.finish(scan);
    }
    end.visited = counts.visited;
    end.hashed_bytes = counts.hashed_bytes;
    end.cached_files = counts.cached_files;
    Ok(end)
}

struct Batch<'a> {
    records: Vec<Change>,
    bytes: usize,
    send: &'a mut dyn FnMut(Vec<Change>) -> Result<()>,
}

impl Batch<'_> {
    fn add(&mut self, change: Change) -> Result<()> {
        self.bytes += weight(&change);
        self.records.push(change);
        if self.bytes >= BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        match mem::take(&mut self.records) {
            records if records.is_empty() => Ok(()),
            records => (self.send)(records),
        }
    }
}

/// Most bytes a record takes on the wire.
fn weight(change: &Change) -> usize {
    let variable = match change {
        Change::Enter { name, base, .. } => {
            let from = match base {
                pyro_proto::Base::Moved { from } => from.as_bytes().len(),
                _ => 0,
            };
            name.as_ref().map_or(0, |name| name.as_bytes().len()) + from
        }
        Change::Leave => 0,
        Change::Remove { name } | Change::File { name, .. } | Change::Skipped { name, .. } => {
            name.as_bytes().len()
        }
        Change::Symlink { name, target, .. } => name.as_bytes().len() + target.as_bytes().len(),
    };
    variable + 72
}
