//! Merkle comparison of two trees: equal nodes are never opened.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::id::TreeId;
use crate::path::TreePath;
use crate::root::RootNode;
use crate::tree::{Entry, Node, Tree};

/// Where tree nodes come from.
pub trait TreeSource {
    /// Why a node could not be had.
    type Error;
    /// The node with this id.
    fn tree(&self, id: &TreeId) -> Result<Arc<Tree>, Self::Error>;
}

/// One path that differs. Both sides present: modified, or another kind of thing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Where; the empty path is the top directory.
    pub path: TreePath,
    /// What was there.
    pub old: Option<Node>,
    /// What is there now.
    pub new: Option<Node>,
}

/// A directory on one or both sides that is still to be compared.
struct Pending {
    path: TreePath,
    old: Option<TreeId>,
    new: Option<TreeId>,
}

/// Reports every path that differs between two trees, each once, a directory before what it
/// holds. Directories whose own mode is equal are not reported when only their contents differ.
///
/// Reads only nodes on the way to a difference: the cost is that of the change, not of the trees.
/// The walk keeps its own stack, so that no depth of nesting exhausts the thread's.
pub fn diff<S: TreeSource>(
    source: &S,
    old: &RootNode,
    new: &RootNode,
    mut report: impl FnMut(Delta),
) -> Result<(), S::Error> {
    if old.mode != new.mode {
        let dir = |root: &RootNode| Some(Node::Dir { mode: root.mode, tree: root.tree });
        report(Delta { path: TreePath::root(), old: dir(old), new: dir(new) });
    }
    let mut stack =
        vec![Pending { path: TreePath::root(), old: Some(old.tree), new: Some(new.tree) }];
    while let Some(Pending { path, old, new }) = stack.pop() {
        if old == new {
            continue;
        }
        let load = |id: Option<TreeId>| id.map(|id| source.tree(&id)).transpose();
        let (old, new) = (load(old)?, load(new)?);
        let entries = |tree: &Option<Arc<Tree>>| -> Vec<Entry> {
            tree.as_ref().map(|tree| tree.entries().to_vec()).unwrap_or_default()
        };
        let below = stack.len();
        for (old, new) in pair(entries(&old), entries(&new)) {
            let name = old.as_ref().or(new.as_ref()).map(|entry| &entry.name);
            let Some(name) = name else { continue };
            let path = path.join(name);
            let equal = match (&old, &new) {
                (Some(a), Some(b)) => same_but_for_content_of_dirs(a, b),
                _ => false,
            };
            let (old, new) = (old.map(|entry| entry.node), new.map(|entry| entry.node));
            let pending = Pending { path: path.clone(), old: subtree(&old), new: subtree(&new) };
            if !equal {
                report(Delta { path, old, new });
            }
            if pending.old != pending.new {
                stack.push(pending);
            }
        }
        stack[below..].reverse();
    }
    Ok(())
}

fn subtree(node: &Option<Node>) -> Option<TreeId> {
    match node {
        Some(Node::Dir { tree, .. }) => Some(*tree),
        _ => None,
    }
}

fn same_but_for_content_of_dirs(a: &Entry, b: &Entry) -> bool {
    let same_node = match (&a.node, &b.node) {
        (Node::Dir { mode: a, .. }, Node::Dir { mode: b, .. }) => a == b,
        (a, b) => a == b,
    };
    same_node && a.extensions == b.extensions
}

/// Both directories' entries side by side, in the order of their names.
fn pair(old: Vec<Entry>, new: Vec<Entry>) -> impl Iterator<Item = (Option<Entry>, Option<Entry>)> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => a.name.cmp(&b.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        Some(match order {
            Ordering::Less => (old.next(), None),
            Ordering::Greater => (None, new.next()),
            Ordering::Equal => (old.next(), new.next()),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::id::FileId;
    use crate::name::EntryName;
    use crate::tree::Mode;

    #[derive(Default)]
    struct Nodes {
        trees: HashMap<TreeId, Arc<Tree>>,
        reads: Cell<usize>,
    }

    impl Nodes {
        fn dir(&mut self, entries: &[(&str, Node)]) -> TreeId {
            let entries = entries
                .iter()
                .map(|(name, node)| {
                    Entry::new(EntryName::parse(name.as_bytes()).unwrap(), node.clone())
                })
                .collect();
            let tree = Tree::new(entries).unwrap();
            let id = tree.id();
            self.trees.insert(id, Arc::new(tree));
            id
        }
    }

    impl TreeSource for Nodes {
        type Error = Infallible;
        fn tree(&self, id: &TreeId) -> Result<Arc<Tree>, Infallible> {
            self.reads.set(self.reads.get() + 1);
            Ok(self.trees[id].clone())
        }
    }

    fn file(text: &str) -> Node {
        let content = FileId::of(text.as_bytes());
        Node::File { mode: Mode::new(0o644), size: text.len() as u64, content }
    }

    fn dir(tree: TreeId) -> Node {
        Node::Dir { mode: Mode::new(0o755), tree }
    }

    fn root(tree: TreeId) -> RootNode {
        RootNode { mode: Mode::new(0o755), tree }
    }

    fn paths(nodes: &Nodes, old: TreeId, new: TreeId) -> Vec<String> {
        let mut found = Vec::new();
        diff(nodes, &root(old), &root(new), |delta| {
            let sign = match (delta.old, delta.new) {
                (Some(_), Some(_)) => '*',
                (Some(_), None) => '-',
                _ => '+',
            };
            found.push(format!("{sign}{}", delta.path));
        })
        .unwrap();
        found
    }

    #[test]
    fn a_directory_that_became_a_file_is_one_change_and_its_contents_are_gone() {
        let mut nodes = Nodes::default();
        let inner = nodes.dir(&[("x", file("1"))]);
        let old = nodes.dir(&[("a", dir(inner)), ("b", file("b"))]);
        let new = nodes.dir(&[("a", file("2")), ("c", dir(inner))]);
        assert_eq!(paths(&nodes, old, new), ["*a", "-b", "+c", "-a/x", "+c/x"]);
    }

    #[test]
    fn equal_subtrees_are_never_read() {
        let mut nodes = Nodes::default();
        let same = nodes.dir(&[("x", file("1"))]);
        let old = nodes.dir(&[("same", dir(same)), ("f", file("1"))]);
        let new = nodes.dir(&[("same", dir(same)), ("f", file("2"))]);
        assert_eq!(paths(&nodes, old, new), ["*f"]);
        assert_eq!(nodes.reads.get(), 2);
    }

    #[test]
    fn a_changed_mode_of_the_top_is_reported() {
        let mut nodes = Nodes::default();
        let tree = nodes.dir(&[]);
        let mut found = Vec::new();
        let old = RootNode { mode: Mode::new(0o700), tree };
        diff(&nodes, &old, &root(tree), |delta| found.push(delta.path)).unwrap();
        assert_eq!(found, [TreePath::root()]);
    }
}
