//! The files of an archive, or of several that make up one thing, and how much they may hold.

use std::io::{self, Read};

use pyro_format::FileId;

use super::sparse::Expanded;
use super::stream::Cutter;
use super::tarball::{Member, Refusal};
use crate::progress::{self, Progress};
use crate::writer::Sink;

/// Stores what is in members, within a bound.
pub(super) struct Contents {
    cutter: Cutter,
    /// Whose files they are, for an error.
    whose: &'static str,
    /// Bytes that all of them may hold.
    limit: u64,
    /// Bytes that those so far hold.
    bytes: u64,
}

impl Contents {
    pub(super) fn new(whose: &'static str, limit: u64) -> Self {
        Self { cutter: Cutter::new(), whose, limit, bytes: 0 }
    }

    /// Stores one member's content. `real_size`: of a file whose holes are left out.
    pub(super) fn store(
        &mut self,
        sink: &mut Sink,
        member: &mut Member<'_>,
        real_size: Option<u64>,
        progress: &dyn Progress,
    ) -> Result<(FileId, u64), Refusal> {
        let claimed = real_size.unwrap_or(member.size());
        self.bytes = self.bytes.saturating_add(claimed);
        if self.bytes > self.limit {
            let Self { whose, limit, .. } = self;
            return Err(Refusal::Archive(format!("{whose} files hold more than {limit} bytes")));
        }
        let mut expanded;
        let input: &mut dyn Read = match real_size {
            Some(real_size) => {
                expanded = Expanded::new(member, real_size)?;
                &mut expanded
            }
            None => member,
        };
        let (content, size) = self.cutter.store(sink, input, |bytes| {
            progress.advance(0, bytes);
            progress::check(progress)
        })?;
        if size != claimed {
            return Err(Refusal::Input(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok((content, size))
    }
}
