//! How long work tells its caller that it goes on.

/// What a long operation reports to; called from several threads, often, so it must be quick.
pub trait Progress: Sync {
    /// This many more entries and bytes of content are done.
    fn advance(&self, entries: u64, bytes: u64);

    /// Asked between entries: true makes the operation stop with [`Error::Cancelled`] and undo
    /// what it did.
    ///
    /// [`Error::Cancelled`]: crate::Error::Cancelled
    fn cancelled(&self) -> bool {
        false
    }
}

/// Reports to nobody.
impl Progress for () {
    fn advance(&self, _entries: u64, _bytes: u64) {}
}

pub(crate) fn check(progress: &dyn Progress) -> crate::Result<()> {
    if progress.cancelled() { Err(crate::Error::Cancelled) } else { Ok(()) }
}
