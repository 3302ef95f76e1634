//! Tree nodes of the store, with new ones that are not stored (yet) on top.

use std::collections::HashMap;
use std::sync::Arc;

use pyro_format::{TimesId, TimesNode, Tree, TreeId, TreeSource};
use pyro_store::{Store, StoreWriter};

use super::merge::{Merged, Nodes, TimedTree};

/// Nodes of the store alone.
pub struct StoredNodes<'s>(pub &'s Store);

impl TreeSource for StoredNodes<'_> {
    type Error = pyro_store::Error;
    fn tree(&self, id: &TreeId) -> Result<Arc<Tree>, pyro_store::Error> {
        self.0.get_tree(*id)
    }
}

impl Nodes for StoredNodes<'_> {
    fn times(&self, id: &TimesId) -> Result<Arc<TimesNode>, pyro_store::Error> {
        self.0.get_times(*id).map(Arc::new)
    }
}

/// Nodes of the store under those that a merge made.
pub struct MergedNodes<'s> {
    store: StoredNodes<'s>,
    trees: &'s HashMap<TreeId, Arc<Tree>>,
}

impl<'s> MergedNodes<'s> {
    /// Looks in `merged` first.
    pub fn new(store: &'s Store, merged: &'s Merged) -> Self {
        Self { store: StoredNodes(store), trees: &merged.trees }
    }
}

impl TreeSource for MergedNodes<'_> {
    type Error = pyro_store::Error;
    fn tree(&self, id: &TreeId) -> Result<Arc<Tree>, pyro_store::Error> {
        match self.trees.get(id) {
            Some(tree) => Ok(tree.clone()),
            None => self.store.tree(id),
        }
    }
}

/// Stores the nodes that a merge made, so that the tree can be read from the store alone.
pub fn store_nodes(writer: &mut StoreWriter, merged: &Merged) -> Result<(), pyro_store::Error> {
    for tree in merged.trees.values() {
        writer.put_tree(tree)?;
    }
    for times in merged.times.values() {
        writer.put_times(times)?;
    }
    writer.put_root(&merged.tree.root)?;
    Ok(())
}

/// The tree of an empty `/workspace`, stored.
pub fn store_empty(store: &Store, mode: u16) -> Result<TimedTree, pyro_store::Error> {
    let mut writer = store.writer()?;
    let tree = writer.put_tree(&Tree::default())?;
    let times = writer.put_times(&TimesNode::default())?;
    let root = pyro_format::RootNode { mode: pyro_format::Mode::new(mode), tree };
    writer.put_root(&root)?;
    writer.commit()?;
    Ok(TimedTree { root, times, mtime: pyro_format::Mtime::default() })
}
