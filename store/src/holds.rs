//! What open operations rely on, so that a collection leaves it alone.
//!
//! An operation that finds an object stored will not store it again, and what it builds on that is
//! on no record yet. While any operation is open, everything that any of them found or added
//! counts as needed. Trees that are in use without a record are pinned, with all that they reach.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::marks::Marks;
use crate::reach::Root;
use crate::store::{Store, locked};

#[derive(Default)]
pub(crate) struct Holds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: u64,
    found: Marks,
    /// Packs that were added.
    added: HashSet<u32>,
    pinned: HashMap<Root, u64>,
}

/// An open operation: what is found in the store or added to it stays until this is dropped.
pub struct Hold {
    holds: Arc<Holds>,
}

/// A tree in use: it and all that it reaches stay until this is dropped.
pub struct Pin {
    holds: Arc<Holds>,
    root: Root,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pin").field(&self.root).finish()
    }
}

impl Store {
    /// Opens an operation. To be held until everything it relies on is on a durable record that
    /// [collections](Store::gc) are told of.
    pub fn hold(&self) -> Hold {
        locked(&self.shared.holds.state).open += 1;
        Hold { holds: self.shared.holds.clone() }
    }

    /// Keeps a tree that is in use but on no record. Nothing of it may have left yet: an operation
    /// that finds or makes the tree must be open.
    pub fn pin(&self, root: Root) -> Pin {
        *locked(&self.shared.holds.state).pinned.entry(root).or_default() += 1;
        Pin { holds: self.shared.holds.clone(), root }
    }
}

impl Holds {
    /// An operation found this object.
    pub(crate) fn found(&self, pack: u32, record: u32) {
        let mut state = locked(&self.state);
        if state.open > 0 {
            state.found.set(pack, record);
        }
    }

    /// An operation added this pack.
    pub(crate) fn added(&self, pack: u32) {
        let mut state = locked(&self.state);
        if state.open > 0 {
            state.added.insert(pack);
        }
    }

    /// Whether all of a pack is needed.
    pub(crate) fn was_added(&self, pack: u32) -> bool {
        locked(&self.state).added.contains(&pack)
    }

    /// Whether operations rely on something of a pack that is not among `kept`.
    pub(crate) fn rely_on(&self, pack: u32, kept: &Marks) -> bool {
        let state = locked(&self.state);
        state.added.contains(&pack)
            || state.found.records(pack).any(|record| !kept.get(pack, record))
    }

    /// Whether an operation other than the caller's own may have found anything in a pack.
    pub(crate) fn others_found(&self, pack: u32) -> bool {
        let state = locked(&self.state);
        state.open > 1 && state.found.records(pack).next().is_some()
    }

    /// Every pinned tree.
    pub(crate) fn pinned(&self) -> Vec<Root> {
        locked(&self.state).pinned.keys().copied().collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = locked(&self.holds.state);
        state.open -= 1;
        if state.open == 0 {
            state.found.clear();
            state.added.clear();
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = locked(&self.holds.state);
        if let Some(count) = state.pinned.get_mut(&self.root) {
            *count -= 1;
            if *count == 0 {
                state.pinned.remove(&self.root);
            }
        }
    }
}
