//! Which entries of the stat cache also vouch for content being stored.
//!
//! An entry says what a file held when it was read. Whether that is stored could be looked up, but
//! for 80,000 files that takes longer than the walk. So every entry names the session (one ingest)
//! that made it, and a session is trusted once everything that it stored is durable. When anything
//! leaves the store, or is found damaged, no session is trusted any more: entries are then looked
//! up, and made again under the session of that day.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::catalog::Catalog;
use crate::error::Result;

/// More sessions than anyone returns to; of older ones the entries are looked up.
const MAX_SESSIONS: usize = 1024;

/// The sessions of one store.
pub(crate) struct Trust {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// How often trust was lost.
    epoch: u64,
    next: u32,
    trusted: Arc<BTreeSet<u32>>,
}

/// One ingest's view, from its start.
pub(crate) struct Session {
    pub(crate) number: u32,
    epoch: u64,
    trusted: Arc<BTreeSet<u32>>,
}

/// While it is held, nothing leaves the store.
pub(crate) struct Gate<'a> {
    _held: RwLockReadGuard<'a, State>,
}

impl Trust {
    /// What was remembered; without it, no entry can be told from one of a session that died.
    pub(crate) fn load(catalog: &Catalog) -> Result<Self> {
        let state = match catalog.trust().as_deref().and_then(decode) {
            Some((next, trusted)) => State { epoch: 0, next, trusted: Arc::new(trusted) },
            None => {
                catalog.clear_stats()?;
                State::default()
            }
        };
        Ok(Self { state: RwLock::new(state) })
    }

    /// Begins a session. Its number is never given out again, also after a crash: it is remembered
    /// before any entry is.
    pub(crate) fn begin(&self, catalog: &Catalog) -> Result<Session> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next = number.saturating_add(1);
        catalog.put_trust(encode(state.next, &state.trusted))?;
        Ok(Session { number, epoch: state.epoch, trusted: state.trusted.clone() })
    }

    /// Keeps everything in the store until the gate goes; none if something has left since the
    /// session began: what its trust was good for may be gone.
    pub(crate) fn gate(&self, session: &Session) -> Option<Gate<'_>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.epoch == session.epoch).then_some(Gate { _held: state })
    }

    /// Trusts a session, unless something has left the store since it began.
    pub(crate) fn commit(&self, session: Session, catalog: &Catalog) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.epoch == session.epoch {
            let mut trusted = (*state.trusted).clone();
            trusted.insert(session.number);
            while trusted.len() > MAX_SESSIONS {
                trusted.pop_first();
            }
            catalog.put_trust(encode(state.next, &trusted))?;
            state.trusted = Arc::new(trusted);
        }
        Ok(())
    }

    /// Trusts nothing of what was.
    pub(crate) fn lose(&self, catalog: &Catalog) -> Result<()> {
        self.alone(false, catalog, || Ok(()))
    }

    /// Lets `leave` take things out of the store while no gate is held. Unless `all_stays`, stored
    /// elsewhere, nothing is trusted from before that on.
    pub(crate) fn alone<T>(
        &self,
        all_stays: bool,
        catalog: &Catalog,
        leave: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if !all_stays {
            state.epoch += 1;
            state.trusted = Arc::default();
            catalog.put_trust(encode(state.next, &state.trusted))?;
            // Must reach the disk before what was vouched for goes.
            catalog.flush()?;
        }
        leave()
    }
}

impl Session {
    /// Whether entries of that session vouch for content being stored.
    pub(crate) fn trusts(&self, number: u32) -> bool {
        self.trusted.contains(&number)
    }
}

fn encode(next: u32, trusted: &BTreeSet<u32>) -> Vec<u8> {
    [&next].into_iter().chain(trusted).flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) fn decode(bytes: &[u8]) -> Option<(u32, BTreeSet<u32>)> {
    let mut numbers = bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four));
    Some((numbers.next()?, numbers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_store_takes_trust_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(dir.path()).unwrap();
        let trust = Trust::load(&catalog).unwrap();
        let begin = |trust: &Trust| trust.begin(&catalog).unwrap();
        let (first, second, died) = (begin(&trust), begin(&trust), begin(&trust));
        let number = first.number;
        assert!(!second.trusts(number) && trust.gate(&first).is_some());
        trust.commit(first, &catalog).unwrap();
        assert!(begin(&trust).trusts(number));
        let reloaded = Trust::load(&catalog).unwrap();
        assert!(begin(&reloaded).trusts(number) && begin(&reloaded).number > died.number);
        trust.alone(true, &catalog, || Ok(())).unwrap();
        assert!(begin(&trust).trusts(number) && trust.gate(&second).is_some());
        trust.lose(&catalog).unwrap();
        assert!(trust.gate(&second).is_none());
        let late = second.number;
        trust.commit(second, &catalog).unwrap();
        for trust in [trust, Trust::load(&catalog).unwrap()] {
            let session = begin(&trust);
            assert!(!session.trusts(number) && !session.trusts(late));
        }
    }
}
