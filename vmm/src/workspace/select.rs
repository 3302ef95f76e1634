//! A part of a tree as a tree of its own: what an export of several paths, or of what changed, takes.

use std::collections::BTreeMap;

use pyro_format::{
    Delta, Entry, EntryName, Node, TimesEntry, TimesId, TimesNode, Tree, TreeId, TreePath, escape,
};
use pyro_store::{Store, StoreWriter};

use super::merge::TimedTree;
use super::path;
use crate::error::{Error, Result};

/// What is taken of a tree. Directories above it come along, with nothing else in them.
#[derive(Default)]
pub struct Selection {
    /// All that is below, too.
    whole: bool,
    below: BTreeMap<EntryName, Selection>,
}

impl Selection {
    /// These paths and all that is below them.
    pub fn of_paths(paths: &[TreePath]) -> Self {
        let mut all = Self::default();
        paths.iter().for_each(|path| all.at(path).whole = true);
        all
    }

    /// What is there now and differs, at one of these paths or below.
    pub fn of_changes(deltas: &[Delta], paths: &[TreePath]) -> Self {
        let mut all = Self::default();
        let wanted = |delta: &&Delta| {
            delta.new.is_some() && paths.iter().any(|path| delta.path.starts_with(path))
        };
        for delta in deltas.iter().filter(wanted) {
            all.at(&delta.path);
        }
        all
    }

    fn at(&mut self, path: &TreePath) -> &mut Self {
        path.names().fold(self, |at, name| at.below.entry(name).or_default())
    }

    /// Makes the tree and stores its nodes.
    pub fn take(&self, store: &Store, from: &TimedTree) -> Result<TimedTree> {
        if self.whole {
            return Ok(*from);
        }
        let mut writer = store.writer()?;
        let top = TreePath::default();
        let (tree, times) = self.dir(store, &mut writer, from.root.tree, from.times, &top)?;
        let root = pyro_format::RootNode { tree, ..from.root };
        writer.put_root(&root)?;
        writer.commit()?;
        Ok(TimedTree { root, times, mtime: from.mtime })
    }

    fn dir(
        &self,
        store: &Store,
        writer: &mut StoreWriter,
        tree: TreeId,
        times: TimesId,
        at: &TreePath,
    ) -> Result<(TreeId, TimesId)> {
        let (tree, times) = (store.get_tree(tree)?, store.get_times(times)?);
        let (mut entries, mut entry_times) = (Vec::new(), Vec::new());
        for (name, selection) in &self.below {
            let path = at.join(name);
            let gone = || Error::NoPath(escape(&path::absolute(&path)));
            let place = tree.position(name.as_bytes()).ok_or_else(gone)?;
            let (mut entry, mut time): (Entry, TimesEntry) = (
                tree.entries()[place].clone(),
                times.entries.get(place).copied().ok_or_else(gone)?,
            );
            match (&mut entry.node, time.children) {
                _ if selection.whole => {}
                (Node::Dir { tree, .. }, Some(children)) => {
                    let (below, times) = selection.dir(store, writer, *tree, children, &path)?;
                    *tree = below;
                    time.children = Some(times);
                }
                _ if selection.below.is_empty() => {}
                _ => return Err(gone()),
            }
            entries.push(entry);
            entry_times.push(time);
        }
        let tree = Tree::new(entries).map_err(|error| Error::Invalid(error.to_string()))?;
        let times = TimesNode { entries: entry_times };
        Ok((writer.put_tree(&tree)?, writer.put_times(&times)?))
    }
}
