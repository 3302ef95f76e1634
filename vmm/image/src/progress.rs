//! How a long pull tells its caller where it is, and learns that it should stop.

/// Receives the progress of a pull; implementations print, forward or ignore it.
///
/// Calls come from the thread that pulls and should return quickly.
pub trait Progress: Send + Sync {
    /// A new phase began (`name`, a few stable words such as `install packages`), or the same phase
    /// reached another step (`detail`, one line for a person, control characters already removed).
    fn phase(&self, name: &str, detail: &str);

    /// Bytes done so far in the current phase, and the total where it is known.
    fn advance(&self, done: u64, total: Option<u64>);

    /// True once the caller wants the pull to stop. Asked several times a second.
    fn cancelled(&self) -> bool;
}

/// Reports nothing and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _name: &str, _detail: &str) {}
    fn advance(&self, _done: u64, _total: Option<u64>) {}
    fn cancelled(&self) -> bool {
        false
    }
}
