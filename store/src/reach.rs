//! What a tree needs: every object that it cannot do without.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use pyro_format::{
    ChunkList, FileId, Node, RootId, RootNode, SMALL_FILE, TimesId, TimesNode, Tree, TreeId,
};

use crate::baseline::BaselineRecord;
use crate::error::{Error, Result};
use crate::marks::Marks;
use crate::object::ObjectKey;
use crate::progress::{self, Progress};
use crate::store::Store;

/// A tree that is to stay whole, and the modification times that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root {
    /// Its root node.
    pub root: RootId,
    /// The times below the top directory, if there are any.
    pub times: Option<TimesId>,
}

/// Marks everything that can be reached.
pub(crate) struct Reach<'a> {
    pub(crate) store: &'a Store,
    progress: &'a dyn Progress,
    /// All copies of what was reached so far.
    pub(crate) marks: Marks,
    /// Objects that were reached and are not stored, or cannot be read.
    missing: u64,
    /// Where in the walk the path of a directory came first, by the path's hash.
    paths: HashMap<u64, u32>,
    /// The same for directory nodes, by pack and record.
    nodes: HashMap<(u32, u32), u32>,
    hasher: RandomState,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(store: &'a Store, progress: &'a dyn Progress) -> Self {
        Self {
            store,
            progress,
            marks: Marks::default(),
            missing: 0,
            paths: HashMap::new(),
            nodes: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Where a node comes in an order in which the versions of a directory are neighbours.
    pub(crate) fn order(&self, pack: u32, record: u32) -> u32 {
        self.nodes.get(&(pack, record)).copied().unwrap_or(u32::MAX)
    }

    /// Marks what a root reaches. What was marked before is not walked again.
    pub(crate) fn root(&mut self, root: &Root) -> Result<()> {
        if let Some(node) = self.node(root.root.into(), 0, RootNode::decode)? {
            self.trees(node.tree)?;
        }
        root.times.map_or(Ok(()), |times| self.times(times))
    }

    /// Marks what a baseline reaches, and answers how much of it is missing.
    pub(crate) fn baseline(&mut self, record: &BaselineRecord) -> Result<u64> {
        let before = self.missing;
        self.root(&record.top())?;
        Ok(self.missing - before)
    }

    /// The same; an error if anything is missing.
    pub(crate) fn whole_baseline(&mut self, record: &BaselineRecord) -> Result<()> {
        match self.baseline(record)? {
            0 => Ok(()),
            missing => Err(Error::Incomplete { baseline: record.id, missing }),
        }
    }

    fn trees(&mut self, top: TreeId) -> Result<()> {
        let mut stack = vec![(top, 0)];
        while let Some((id, path)) = stack.pop() {
            progress::check(self.progress)?;
            let Some(tree) = self.node(id.into(), path, Tree::decode)? else { continue };
            for entry in tree.entries() {
                match &entry.node {
                    Node::Dir { tree, .. } => {
                        stack.push((*tree, self.hasher.hash_one((path, entry.name.as_bytes()))));
                    }
                    Node::File { size, content, .. } => self.file(*content, *size)?,
                    Node::Symlink { .. } => {}
                }
            }
        }
        Ok(())
    }

    fn times(&mut self, top: TimesId) -> Result<()> {
        let mut stack = vec![(top, 1)];
        while let Some((id, path)) = stack.pop() {
            let Some(node) = self.node(id.into(), path, TimesNode::decode)? else { continue };
            for (at, entry) in node.entries.iter().enumerate() {
                let path = self.hasher.hash_one((path, at));
                stack.extend(entry.children.map(|times| (times, path)));
            }
        }
        Ok(())
    }

    fn file(&mut self, file: FileId, size: u64) -> Result<()> {
        if size == 0 || (size <= SMALL_FILE as u64 && self.mark(file.sole_chunk().into()).is_some())
        {
            return Ok(());
        }
        let list = ObjectKey::from(file);
        match self.mark(list) {
            // Of several lists (see `Sink::put_chunk_list`) each may be the one that is used.
            Some(true) => {
                for copy in self.store.copies(list) {
                    match copy.map(|bytes| ChunkList::decode(&bytes)) {
                        Ok(Ok(list)) => {
                            for chunk in list.chunks {
                                self.needed(chunk.id.into());
                            }
                        }
                        _ => self.missing += 1,
                    }
                }
            }
            Some(false) => {}
            None => self.needed(file.sole_chunk().into()),
        }
        Ok(())
    }

    fn needed(&mut self, key: ObjectKey) {
        if self.mark(key).is_none() {
            self.missing += 1;
        }
    }

    /// Marks a node and reads it, unless it was marked before or cannot be read.
    fn node<T, E>(
        &mut self,
        key: ObjectKey,
        path: u64,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>> {
        let next = self.paths.len() as u32;
        let order = *self.paths.entry(path).or_insert(next);
        let mut new = None;
        for place in self.store.shared.places(&key) {
            let first = self.marks.set(place.0, place.1);
            new = Some(new.unwrap_or(false) | first);
            self.nodes.entry(place).or_insert(order);
        }
        if new == Some(false) {
            return Ok(None);
        }
        let node = match self.store.get(key) {
            Ok(bytes) => decode(&bytes).ok(),
            Err(Error::Missing(_) | Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        self.missing += u64::from(node.is_none());
        Ok(node)
    }

    /// Marks every copy; whether any of them is new; none if there is no copy.
    fn mark(&mut self, key: ObjectKey) -> Option<bool> {
        let mut found = None;
        for (pack, record) in self.store.shared.places(&key) {
            let new = self.marks.set(pack, record);
            found = Some(found.unwrap_or(false) | new);
        }
        found
    }
}
