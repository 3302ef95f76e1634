//! Bounds on what an archive unpacks to.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Counts what is read from the archive, after decompression.
pub(super) struct Meter {
    /// How much more may be read at all, and before the next call of [`Meter::allow`].
    left: Cell<u64>,
    allowed: Cell<u64>,
    /// Whether the input has ended.
    pub(super) ended: Cell<bool>,
}

impl Meter {
    pub(super) fn new(limit: u64) -> Rc<Self> {
        // Headers and padding are no content: room for those of a full archive of small files.
        let left = limit.saturating_mul(2).saturating_add(64 * 1024 * 1024);
        Rc::new(Self { left: left.into(), allowed: u64::MAX.into(), ended: false.into() })
    }

    /// Lets so many more bytes be read before the next call; `u64::MAX` for any number.
    pub(super) fn allow(&self, bytes: u64) {
        self.allowed.set(bytes);
    }
}

/// An archive that cannot unpack to more than it may.
pub(super) struct Metered {
    pub(super) input: Box<dyn Read>,
    pub(super) meter: Rc<Meter>,
}

impl Read for Metered {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Meter { left, allowed, ended } = &*self.meter;
        let len = self.input.read(out)?;
        ended.set(ended.get() || (len == 0 && !out.is_empty()));
        let spend = |budget: &Cell<u64>, what: &str| {
            let rest = budget.get().checked_sub(len as u64);
            budget.set(rest.ok_or_else(|| io::Error::other(what.to_owned()))?);
            Ok::<_, io::Error>(())
        };
        spend(left, "it unpacks to more than allowed")?;
        if allowed.get() != u64::MAX {
            spend(allowed, "the headers of one member are too large")?;
        }
        Ok(len)
    }
}
