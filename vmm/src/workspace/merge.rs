//! lower tree + change report = the tree of `/workspace` now.
//!
//! Reads and rebuilds only directories that the report enters: the cost is that of the change. The
//! report comes from a guest, so every record is checked before it is used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pyro_format::{
    Entry, EntryName, FileId, MAX_DEPTH, Mode, Mtime, Node, RootNode, TimesEntry, TimesId,
    TimesNode, Tree, TreeId, TreePath, TreeSource,
};
use pyro_proto::{Base, Change, Special};
use thiserror::Error;

/// Where trees and their times come from.
pub trait Nodes: TreeSource {
    /// The times of a directory.
    fn times(&self, id: &TimesId) -> Result<Arc<TimesNode>, Self::Error>;
}

/// A tree with the times of everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedTree {
    /// The content.
    pub root: RootNode,
    /// The times below the top directory.
    pub times: TimesId,
    /// The top directory's own time.
    pub mtime: Mtime,
}

/// A regular file that the report names, for whoever needs its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedFile {
    /// Where it is.
    pub path: TreePath,
    /// Its length in bytes: a claim.
    pub size: u64,
    /// Its hash: a claim.
    pub content: FileId,
}

/// What a report amounts to.
#[derive(Debug)]
pub struct Merged {
    /// The tree of `/workspace`.
    pub tree: TimedTree,
    /// Nodes of it that the lower tree does not share.
    pub trees: HashMap<TreeId, Arc<Tree>>,
    /// Their times.
    pub times: HashMap<TimesId, Arc<TimesNode>>,
    /// Every regular file of the report.
    pub files: Vec<ReportedFile>,
    /// What no tree can hold.
    pub skipped: Vec<(TreePath, Special)>,
}

/// Why a report cannot be merged.
#[derive(Debug, Error)]
pub enum MergeError<E> {
    /// The report contradicts itself. No honest agent sends this.
    #[error("the guest's change report is invalid: {0}")]
    Invalid(&'static str),
    /// A node of the lower tree could not be had.
    #[error(transparent)]
    Source(E),
}

/// Records of one report at most. Bounds what a hostile guest can make the host hold.
const MAX_RECORDS: u64 = 20_000_000;

/// One directory of the lower tree, or nothing.
type Lower = Option<(Arc<Tree>, Arc<TimesNode>)>;

/// A directory that has been entered and not left.
struct Open {
    path: TreePath,
    name: Option<EntryName>,
    mode: Mode,
    mtime: Mtime,
    lower: Lower,
    /// What the report says of its entries; `None`: gone.
    changed: BTreeMap<EntryName, Option<(Node, TimesEntry)>>,
}

/// Takes a report record by record.
pub struct Merger<'n, N: Nodes> {
    nodes: &'n N,
    lower: TimedTree,
    open: Vec<Open>,
    records: u64,
    done: Option<TimedTree>,
    trees: HashMap<TreeId, Arc<Tree>>,
    times: HashMap<TimesId, Arc<TimesNode>>,
    files: Vec<ReportedFile>,
    skipped: Vec<(TreePath, Special)>,
}

impl<'n, N: Nodes> Merger<'n, N> {
    /// Starts with the tree that the guest's lower layer shows.
    pub fn new(nodes: &'n N, lower: TimedTree) -> Self {
        Self {
            nodes,
            lower,
            open: Vec::new(),
            records: 0,
            done: None,
            trees: HashMap::new(),
            times: HashMap::new(),
            files: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Takes the next record.
    pub fn push(&mut self, change: Change) -> Result<(), MergeError<N::Error>> {
        self.records += 1;
        if self.records > MAX_RECORDS {
            return Err(MergeError::Invalid("it has too many records"));
        }
        if self.done.is_some() {
            return Err(MergeError::Invalid("it goes on after its end"));
        }
        match change {
            Change::Enter { name, mode, mtime, base } => self.enter(name, mode, mtime, base),
            Change::Leave => self.leave(),
            Change::Remove { name } => self.set(name, None).map(|_| ()),
            Change::File { name, mode, mtime, size, content } => {
                let times = TimesEntry { mtime, children: None };
                let path = self.set(name, Some((Node::File { mode, size, content }, times)))?;
                self.files.push(ReportedFile { path, size, content });
                Ok(())
            }
            Change::Symlink { name, mtime, target } => {
                let times = TimesEntry { mtime, children: None };
                self.set(name, Some((Node::Symlink { target }, times))).map(|_| ())
            }
            Change::Skipped { name, kind } => {
                let path = self.set(name, None)?;
                self.skipped.push((path, kind));
                Ok(())
            }
        }
    }

    /// The result, once the top directory has been left.
    pub fn finish(self) -> Result<Merged, MergeError<N::Error>> {
        let tree = self.done.ok_or(MergeError::Invalid("it ends inside a directory"))?;
        Ok(Merged {
            tree,
            trees: self.trees,
            times: self.times,
            files: self.files,
            skipped: self.skipped,
        })
    }

    /// Notes what the innermost directory has under `name`; the path of it.
    fn set(
        &mut self,
        name: EntryName,
        what: Option<(Node, TimesEntry)>,
    ) -> Result<TreePath, MergeError<N::Error>> {
        let open = self.open.last_mut().ok_or(MergeError::Invalid("it has no top directory"))?;
        let path = open.path.join(&name);
        match open.changed.insert(name, what) {
            None => Ok(path),
            Some(_) => Err(MergeError::Invalid("it names an entry twice")),
        }
    }

    fn enter(
        &mut self,
        name: Option<EntryName>,
        mode: Mode,
        mtime: Mtime,
        base: Base,
    ) -> Result<(), MergeError<N::Error>> {
        let (path, around) = match (&name, self.open.last()) {
            (None, None) => (TreePath::root(), None),
            (Some(name), Some(around)) => (around.path.join(name), Some(around)),
            _ => return Err(MergeError::Invalid("its directories are not nested in one top")),
        };
        if self.open.len() > MAX_DEPTH {
            return Err(MergeError::Invalid("it is nested too deeply"));
        }
        let lower = match (base, around, &name) {
            (Base::Empty, ..) => None,
            (Base::Moved { from }, ..) => self.resolve(&from)?,
            (Base::Same, Some(around), Some(name)) => self.child(&around.lower, name)?,
            (Base::Same, ..) => self.load(self.lower.root.tree, self.lower.times)?,
        };
        self.open.push(Open { path, name, mode, mtime, lower, changed: BTreeMap::new() });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), MergeError<N::Error>> {
        let open = self.open.pop().ok_or(MergeError::Invalid("it leaves more than it enters"))?;
        let (name, mode, mtime) = (open.name.clone(), open.mode, open.mtime);
        let (tree, times) = rebuild(open);
        let (tree_id, times_id) = (tree.id(), times.id());
        self.trees.insert(tree_id, Arc::new(tree));
        self.times.insert(times_id, Arc::new(times));
        match name {
            Some(name) => {
                let node = Node::Dir { mode, tree: tree_id };
                let times = TimesEntry { mtime, children: Some(times_id) };
                self.set(name, Some((node, times))).map(|_| ())
            }
            None => {
                let root = RootNode { mode, tree: tree_id };
                self.done = Some(TimedTree { root, times: times_id, mtime });
                Ok(())
            }
        }
    }

    /// The lower directory at a path that the guest named.
    fn resolve(&self, path: &TreePath) -> Result<Lower, MergeError<N::Error>> {
        let mut dir = self.load(self.lower.root.tree, self.lower.times)?;
        for name in path.names() {
            dir = self.child(&dir, &name)?;
        }
        if dir.is_none() {
            return Err(MergeError::Invalid(
                "it moves a directory that the baseline does not have",
            ));
        }
        Ok(dir)
    }

    fn child(&self, dir: &Lower, name: &EntryName) -> Result<Lower, MergeError<N::Error>> {
        let Some((tree, times)) = dir else { return Ok(None) };
        let Some(at) = tree.position(name.as_bytes()) else { return Ok(None) };
        match (&tree.entries()[at].node, times.entries.get(at)) {
            (Node::Dir { tree, .. }, Some(TimesEntry { children: Some(times), .. })) => {
                self.load(*tree, *times)
            }
            _ => Ok(None),
        }
    }

    fn load(&self, tree: TreeId, times: TimesId) -> Result<Lower, MergeError<N::Error>> {
        let tree = self.nodes.tree(&tree).map_err(MergeError::Source)?;
        let times = self.nodes.times(&times).map_err(MergeError::Source)?;
        Ok(Some((tree, times)))
    }
}

/// The lower directory's entries with the changed ones in their places.
fn rebuild(open: Open) -> (Tree, TimesNode) {
    let mut entries: BTreeMap<EntryName, (Entry, TimesEntry)> = BTreeMap::new();
    if let Some((tree, times)) = &open.lower {
        for (entry, times) in tree.entries().iter().zip(&times.entries) {
            if !open.changed.contains_key(&entry.name) {
                entries.insert(entry.name.clone(), (entry.clone(), *times));
            }
        }
    }
    for (name, what) in open.changed {
        if let Some((node, times)) = what {
            entries.insert(name.clone(), (Entry::new(name, node), times));
        }
    }
    let (entries, times) = entries.into_values().unzip();
    (Tree::new(entries).expect("a map has each name once"), TimesNode { entries: times })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use pyro_format::LinkTarget;

    use super::*;

    #[derive(Default)]
    struct Memory {
        trees: HashMap<TreeId, Arc<Tree>>,
        times: HashMap<TimesId, Arc<TimesNode>>,
    }

    impl TreeSource for Memory {
        type Error = Infallible;
        fn tree(&self, id: &TreeId) -> Result<Arc<Tree>, Infallible> {
            Ok(self.trees[id].clone())
        }
    }

    impl Nodes for Memory {
        fn times(&self, id: &TimesId) -> Result<Arc<TimesNode>, Infallible> {
            Ok(self.times[id].clone())
        }
    }

    const MODE: Mode = Mode::new(0o755);
    const MTIME: Mtime = Mtime { secs: 1, nanos: 2 };

    fn name(text: &str) -> EntryName {
        EntryName::parse(text.as_bytes()).unwrap()
    }

    fn enter(text: Option<&str>, base: Base) -> Change {
        Change::Enter { name: text.map(name), mode: MODE, mtime: MTIME, base }
    }

    fn file(text: &str, content: &str) -> Change {
        let content = content.as_bytes();
        let (size, content) = (content.len() as u64, FileId::of(content));
        Change::File { name: name(text), mode: MODE, mtime: MTIME, size, content }
    }

    fn link(text: &str) -> Change {
        let target = LinkTarget::parse(b"x").unwrap();
        Change::Symlink { name: name(text), mtime: MTIME, target }
    }

    fn merge(nodes: &Memory, lower: TimedTree, report: Vec<Change>) -> Result<Merged, String> {
        let mut merger = Merger::new(nodes, lower);
        report.into_iter().try_for_each(|c| merger.push(c)).map_err(|e| e.to_string())?;
        merger.finish().map_err(|e| e.to_string())
    }

    /// A tree made by a report over nothing.
    fn tree(nodes: &mut Memory, inside: Vec<Change>) -> TimedTree {
        let empty = TimedTree {
            root: RootNode { mode: MODE, tree: Tree::default().id() },
            times: TimesNode::default().id(),
            mtime: MTIME,
        };
        let mut report = vec![enter(None, Base::Empty)];
        report.extend(inside);
        report.push(Change::Leave);
        let merged = merge(nodes, empty, report).unwrap();
        nodes.trees.extend(merged.trees);
        nodes.times.extend(merged.times);
        merged.tree
    }

    fn sample(nodes: &mut Memory) -> TimedTree {
        tree(
            nodes,
            vec![
                enter(Some("d"), Base::Empty),
                enter(Some("e"), Base::Empty),
                file("y", "y"),
                Change::Leave,
                file("x", "x"),
                Change::Leave,
                file("f", "f"),
                link("l"),
            ],
        )
    }

    #[test]
    fn an_empty_report_gives_the_lower_tree() {
        let mut nodes = Memory::default();
        let lower = sample(&mut nodes);
        let report = vec![enter(None, Base::Same), Change::Leave];
        assert_eq!(merge(&nodes, lower, report).unwrap().tree, lower);
    }

    #[test]
    fn writing_the_same_bytes_is_no_change_and_removing_is_one() {
        let mut nodes = Memory::default();
        let lower = sample(&mut nodes);
        let same = vec![enter(None, Base::Same), file("f", "f"), Change::Leave];
        assert_eq!(merge(&nodes, lower, same).unwrap().tree.root, lower.root);
        let gone = vec![enter(None, Base::Same), Change::Remove { name: name("f") }, Change::Leave];
        let merged = merge(&nodes, lower, gone).unwrap();
        assert!(merged.trees[&merged.tree.root.tree].get(b"f").is_none());
    }

    #[test]
    fn a_moved_directory_brings_its_lower_contents_with_it() {
        let mut nodes = Memory::default();
        let lower = sample(&mut nodes);
        let moved = Base::Moved { from: TreePath::parse(b"d").unwrap() };
        let report = vec![
            enter(None, Base::Same),
            Change::Remove { name: name("d") },
            enter(Some("n"), moved),
            enter(Some("e"), Base::Same),
            file("z", "z"),
            Change::Leave,
            Change::Leave,
            Change::Leave,
        ];
        let merged = merge(&nodes, lower, report).unwrap();
        let wanted = tree(
            &mut nodes,
            vec![
                enter(Some("n"), Base::Empty),
                enter(Some("e"), Base::Empty),
                file("y", "y"),
                file("z", "z"),
                Change::Leave,
                file("x", "x"),
                Change::Leave,
                file("f", "f"),
                link("l"),
            ],
        );
        assert_eq!(merged.tree, wanted);
    }

    #[test]
    fn contradictory_reports_are_refused() {
        let mut nodes = Memory::default();
        let lower = sample(&mut nodes);
        let missing = Base::Moved { from: TreePath::parse(b"none").unwrap() };
        for report in [
            vec![],
            vec![Change::Leave],
            vec![file("f", "f")],
            vec![enter(Some("d"), Base::Same), Change::Leave],
            vec![enter(None, Base::Same)],
            vec![enter(None, Base::Same), enter(None, Base::Same)],
            vec![enter(None, Base::Same), file("f", "1"), file("f", "2"), Change::Leave],
            vec![enter(None, Base::Same), enter(Some("q"), missing)],
            vec![enter(None, Base::Same), Change::Leave, Change::Leave],
        ] {
            assert!(merge(&nodes, lower, report.clone()).is_err(), "{report:?}");
        }
    }
}
