//! Inode numbers of a mounted tree: given out when a directory is first looked into, the entries of
//! one directory in a row. What is kept is one record for each directory that was looked into.

use std::collections::HashMap;
use std::sync::Arc;

use pyro_format::{BaselineKey, Entry, Mtime, Node, RootNode, TimesId, TimesNode, Tree, TreeId};

use crate::error::Result;
use crate::lru::Lru;
use crate::store::Store;

/// The top directory.
pub(super) const ROOT: u64 = 1;
/// Entries in all nodes of times that are kept.
const CACHED_TIMES: usize = 100_000;

/// A directory that was looked into.
#[derive(Clone, Copy)]
struct Dir {
    ino: u64,
    parent: u64,
    /// The number of its first entry.
    first: u64,
    tree: TreeId,
    times: Option<TimesId>,
}

/// Everything that has a number.
pub(super) struct Inodes {
    store: Store,
    root: RootNode,
    mtime: Mtime,
    /// In the order in which they were looked into, and so of `first`.
    dirs: Vec<Dir>,
    by_ino: HashMap<u64, usize>,
    next: u64,
    times: Lru<TimesId, Arc<TimesNode>>,
}

/// One entry with its number.
pub(super) struct Found {
    pub(super) ino: u64,
    pub(super) node: Node,
    pub(super) mtime: Mtime,
}

/// A directory's entries.
pub(super) struct Listing {
    pub(super) parent: u64,
    first: u64,
    tree: Arc<Tree>,
    times: Option<Arc<TimesNode>>,
}

impl Inodes {
    pub(super) fn new(store: Store, key: &BaselineKey) -> Result<Self> {
        let root = store.get_root(key.root)?;
        let top = Dir {
            ino: ROOT,
            parent: ROOT,
            first: ROOT + 1,
            tree: root.tree,
            times: Some(key.times),
        };
        let next = ROOT + 1 + store.get_tree(root.tree)?.entries().len() as u64;
        Ok(Self {
            store,
            root,
            mtime: key.mtime,
            dirs: vec![top],
            by_ino: HashMap::from([(ROOT, 0)]),
            next,
            times: Lru::new(CACHED_TIMES),
        })
    }

    /// What has this number; none if nothing has.
    pub(super) fn get(&mut self, ino: u64) -> Result<Option<Found>> {
        if ino == ROOT {
            let node = Node::Dir { mode: self.root.mode, tree: self.root.tree };
            return Ok(Some(Found { ino, node, mtime: self.mtime }));
        }
        let Some(dir) = self.holder(ino) else { return Ok(None) };
        Ok(self.listing(dir)?.get((ino - dir.first) as usize))
    }

    /// The entries of a directory; none if the number is not a directory's.
    pub(super) fn list(&mut self, ino: u64) -> Result<Option<Listing>> {
        if let Some(at) = self.by_ino.get(&ino) {
            return self.listing(self.dirs[*at]).map(Some);
        }
        let Some(dir) = self.holder(ino) else { return Ok(None) };
        let listing = self.listing(dir)?;
        let at = (ino - dir.first) as usize;
        let Some(Entry { node: Node::Dir { tree, .. }, .. }) = listing.tree.entries().get(at)
        else {
            return Ok(None);
        };
        let times = listing.times.as_ref().and_then(|times| times.entries.get(at)?.children);
        let dir = Dir { ino, parent: dir.ino, first: self.next, tree: *tree, times };
        let listing = self.listing(dir)?;
        self.next += listing.tree.entries().len() as u64;
        self.by_ino.insert(ino, self.dirs.len());
        self.dirs.push(dir);
        Ok(Some(listing))
    }

    /// The directory that the number's entry is in.
    fn holder(&self, ino: u64) -> Option<Dir> {
        let after = self.dirs.partition_point(|dir| dir.first <= ino);
        // Empty directories share their first number with the next.
        (ino < self.next).then(|| self.dirs[..after].last().copied()).flatten()
    }

    fn listing(&mut self, dir: Dir) -> Result<Listing> {
        let tree = self.store.get_tree(dir.tree)?;
        let times = match dir.times {
            None => None,
            Some(id) => Some(match self.times.get(&id) {
                Some(times) => times,
                None => {
                    let times = Arc::new(self.store.get_times(id)?);
                    self.times.insert(id, times.clone(), times.entries.len() + 1);
                    times
                }
            }),
        };
        Ok(Listing { parent: dir.parent, first: dir.first, tree, times })
    }
}

impl Listing {
    /// The entry at a place, counted from 0.
    pub(super) fn get(&self, at: usize) -> Option<Found> {
        let entry = self.tree.entries().get(at)?;
        let mtime = self.times.as_ref().and_then(|times| times.entries.get(at));
        let mtime = mtime.map_or_else(Mtime::default, |entry| entry.mtime);
        Some(Found { ino: self.first + at as u64, node: entry.node.clone(), mtime })
    }

    /// The name of the entry at a place.
    pub(super) fn name(&self, at: usize) -> Option<&[u8]> {
        self.tree.entries().get(at).map(|entry| entry.name.as_bytes())
    }

    /// The place of a name.
    pub(super) fn position(&self, name: &[u8]) -> Option<usize> {
        self.tree.position(name)
    }
}
