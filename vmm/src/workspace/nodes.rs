//! Tree nodes of the store, with new ones that are not stored (yet) on top.

use std::collections::HashMap;
use std::sync::Arc;

use pyro_format::{
    Node, RootNode, TimesEntry, TimesId, TimesNode, Tree, TreeId, TreePath, TreeSource,
};
use pyro_store::{CheckoutItem, Store, StoreWriter};

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

/// A stored tree as something to read, check out or archive.
pub fn item(tree: &TimedTree) -> CheckoutItem {
    let times = TimesEntry { mtime: tree.mtime, children: Some(tree.times) };
    CheckoutItem::root(&tree.root, Some(times))
}

/// The start of a regular file of a stored tree, at most `len` bytes; none if there is none.
pub fn start_of_file(
    store: &Store,
    root: &RootNode,
    path: &TreePath,
    len: usize,
) -> Result<Option<Vec<u8>>, pyro_store::Error> {
    match store.resolve(&CheckoutItem::root(root, None), path) {
        Ok(CheckoutItem { node: Node::File { size, content, .. }, .. }) => {
            store.read_file_range(content, size, 0, len).map(Some)
        }
        Ok(_) | Err(pyro_store::Error::NoEntry(_) | pyro_store::Error::WrongKind { .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The tree of an empty `/workspace`, stored.
pub fn store_empty(store: &Store, mode: u16) -> Result<TimedTree, pyro_store::Error> {
    let mut writer = store.writer()?;
    let tree = writer.put_tree(&Tree::default())?;
    let times = writer.put_times(&TimesNode::default())?;
    let root = RootNode { mode: pyro_format::Mode::new(mode), tree };
    writer.put_root(&root)?;
    writer.commit()?;
    Ok(TimedTree { root, times, mtime: pyro_format::Mtime::default() })
}
