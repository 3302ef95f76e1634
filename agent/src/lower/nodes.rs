//! The directory nodes read so far, small enough to keep them all.
//!
//! A directory's entries get consecutive inode numbers when its node arrives, so that neither
//! inodes nor paths need a table: an inode number finds its directory by binary search, and the
//! directory knows its parent.

use pyro_format::{DecodeError, Mtime, Node, TimesNode, Tree, TreePath};
use thiserror::Error;

use crate::workspace::TOP;

/// Inode of the filesystem's root, which holds the one directory `ws`.
pub const ROOT_INO: u64 = 1;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
}

/// What a lookup tells about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
    /// Length in bytes: of the content, or of the link's target.
    pub size: u64,
    /// Modification time.
    pub mtime: Mtime,
}

/// Why a node cannot be taken in.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum NodeError {
    /// Not a node.
    #[error("the host sent a damaged node")]
    Decode(#[from] DecodeError),
    /// The times do not match the entries.
    #[error("the host sent times for {times} of {entries} entries")]
    Times {
        /// How many entries.
        entries: usize,
        /// How many times.
        times: usize,
    },
}

/// Place of an entry: which directory, which of its entries.
type Place = (usize, usize);

/// All directory nodes read so far.
#[derive(Debug)]
pub struct Nodes {
    /// In order of arrival, and so of their `first_ino`.
    dirs: Vec<Dir>,
    next_ino: u64,
}

#[derive(Debug)]
struct Dir {
    first_ino: u64,
    /// Where the directory itself is an entry; none for the filesystem's root.
    place: Option<Place>,
    /// Names, each followed by its link's target.
    text: Box<[u8]>,
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    mtime_secs: i64,
    /// Files: length. Links: length of the target. Directories: 1 + index of their node, or 0 while
    /// it has not been read.
    size: u64,
    mtime_nanos: u32,
    /// Where the name starts in `text`.
    text_at: u32,
    mode: u16,
    name_len: u8,
    kind: Kind,
}

impl Dir {
    fn name(&self, slot: &Slot) -> &[u8] {
        let at = slot.text_at as usize;
        &self.text[at..at + usize::from(slot.name_len)]
    }

    fn target(&self, slot: &Slot) -> &[u8] {
        let at = slot.text_at as usize + usize::from(slot.name_len);
        &self.text[at..at + slot.size as usize]
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.slots.binary_search_by(|slot| self.name(slot).cmp(name)).ok()
    }

    fn attr(&self, at: usize) -> Attr {
        let slot = &self.slots[at];
        let dir = slot.kind == Kind::Dir;
        Attr {
            ino: self.first_ino + at as u64,
            kind: slot.kind,
            mode: slot.mode,
            size: if dir { 4096 } else { slot.size },
            mtime: Mtime { secs: slot.mtime_secs, nanos: slot.mtime_nanos },
        }
    }
}

impl Nodes {
    /// Knows the top directory itself and nothing inside it.
    pub fn new(top_mode: u16, top_mtime: Mtime) -> Self {
        let top = Slot {
            mtime_secs: top_mtime.secs,
            mtime_nanos: top_mtime.nanos,
            size: 0,
            text_at: 0,
            mode: top_mode,
            name_len: TOP.len() as u8,
            kind: Kind::Dir,
        };
        let root =
            Dir { first_ino: ROOT_INO + 1, place: None, text: TOP.into(), slots: Box::new([top]) };
        Self { dirs: vec![root], next_ino: ROOT_INO + 2 }
    }

    fn place(&self, ino: u64) -> Option<Place> {
        let dir = self.dirs.partition_point(|dir| dir.first_ino <= ino).checked_sub(1)?;
        let at = usize::try_from(ino - self.dirs[dir].first_ino).ok()?;
        (at < self.dirs[dir].slots.len()).then_some((dir, at))
    }

    /// The node of directory `ino`, if it has been read.
    fn dir(&self, ino: u64) -> Option<&Dir> {
        if ino == ROOT_INO {
            return self.dirs.first();
        }
        let (dir, at) = self.place(ino)?;
        let slot = &self.dirs[dir].slots[at];
        if slot.kind != Kind::Dir {
            return None;
        }
        self.dirs.get(usize::try_from(slot.size).ok()?.checked_sub(1)?)
    }

    /// Whether the node of directory `ino` has been read.
    pub fn is_loaded(&self, ino: u64) -> bool {
        self.dir(ino).is_some()
    }

    /// Whether `ino` is a directory.
    pub fn is_dir(&self, ino: u64) -> bool {
        ino == ROOT_INO || self.attr(ino).is_some_and(|attr| attr.kind == Kind::Dir)
    }

    /// Attributes of any inode but the filesystem's root.
    pub fn attr(&self, ino: u64) -> Option<Attr> {
        self.place(ino).map(|(dir, at)| self.dirs[dir].attr(at))
    }

    /// Entry `name` of directory `parent`: outer `None` when the node has not been read.
    pub fn lookup(&self, parent: u64, name: &[u8]) -> Option<Option<Attr>> {
        let dir = self.dir(parent)?;
        Some(dir.position(name).map(|at| dir.attr(at)))
    }

    /// Entries of a directory from position `from` on; `None` when the node has not been read.
    pub fn list(&self, ino: u64, from: usize) -> Option<impl Iterator<Item = (Attr, &[u8])>> {
        let dir = self.dir(ino)?;
        Some((from..dir.slots.len()).map(|at| (dir.attr(at), dir.name(&dir.slots[at]))))
    }

    /// Target of the link `ino`.
    pub fn target(&self, ino: u64) -> Option<&[u8]> {
        let (dir, at) = self.place(ino)?;
        let dir = &self.dirs[dir];
        let slot = &dir.slots[at];
        (slot.kind == Kind::Symlink).then(|| dir.target(slot))
    }

    /// Path of `ino` below the top directory.
    pub fn path(&self, ino: u64) -> Option<TreePath> {
        let mut names = Vec::new();
        let mut place = self.place(ino)?;
        loop {
            let dir = &self.dirs[place.0];
            // The filesystem's root is above the top directory, whose path is empty.
            let Some(up) = dir.place else { break };
            names.push(dir.name(&dir.slots[place.1]));
            place = up;
        }
        names.reverse();
        TreePath::parse(&names.join(&b'/')).ok()
    }

    /// Inode of the directory at `path`, if the nodes above it have been read.
    fn ino_of(&self, path: &TreePath) -> Option<u64> {
        let mut ino = ROOT_INO + 1;
        for name in path.as_bytes().split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            ino = self.lookup(ino, name)??.ino;
        }
        Some(ino)
    }

    /// Takes in the node of the directory at `path`. A path that is not known (or known already)
    /// is left alone: the host reads ahead as it sees fit.
    pub fn insert(&mut self, path: &TreePath, tree: &[u8], times: &[u8]) -> Result<(), NodeError> {
        let Some(ino) = self.ino_of(path) else { return Ok(()) };
        let Some(place) = self.place(ino) else { return Ok(()) };
        if self.is_loaded(ino) || !self.is_dir(ino) {
            return Ok(());
        }
        let dir = compact(self.next_ino, place, tree, times)?;
        self.next_ino += dir.slots.len() as u64;
        self.dirs.push(dir);
        self.dirs[place.0].slots[place.1].size = self.dirs.len() as u64;
        Ok(())
    }
}

fn compact(first_ino: u64, place: Place, tree: &[u8], times: &[u8]) -> Result<Dir, NodeError> {
    let (tree, times) = (Tree::decode(tree)?, TimesNode::decode(times)?);
    let entries = tree.entries();
    if entries.len() != times.entries.len() {
        return Err(NodeError::Times { entries: entries.len(), times: times.entries.len() });
    }
    let mut text = Vec::new();
    let mut slots = Vec::with_capacity(entries.len());
    for (entry, time) in entries.iter().zip(&times.entries) {
        let name = entry.name.as_bytes();
        let text_at = text.len() as u32;
        text.extend_from_slice(name);
        let (kind, mode, size) = match &entry.node {
            Node::File { mode, size, .. } => (Kind::File, mode.bits(), *size),
            Node::Dir { mode, .. } => (Kind::Dir, mode.bits(), 0),
            Node::Symlink { target } => {
                text.extend_from_slice(target.as_bytes());
                (Kind::Symlink, 0o777, target.as_bytes().len() as u64)
            }
        };
        slots.push(Slot {
            mtime_secs: time.mtime.secs,
            mtime_nanos: time.mtime.nanos,
            size,
            text_at,
            mode,
            name_len: name.len() as u8,
            kind,
        });
    }
    Ok(Dir { first_ino, place: Some(place), text: text.into(), slots: slots.into() })
}

#[cfg(test)]
mod tests {
    use pyro_format::{Entry, EntryName, FileId, LinkTarget, Mode, TimesEntry, TreeId};

    use super::*;

    fn node(entries: &[(&str, Kind)]) -> (Vec<u8>, Vec<u8>) {
        let tree = entries.iter().map(|(name, kind)| {
            let mode = Mode::new(0o640);
            let node = match kind {
                Kind::File => Node::File { mode, size: 7, content: FileId::of(b"") },
                Kind::Dir => Node::Dir { mode, tree: TreeId::of(b"") },
                Kind::Symlink => Node::Symlink { target: LinkTarget::parse(b"to").unwrap() },
            };
            Entry::new(EntryName::parse(name.as_bytes()).unwrap(), node)
        });
        let time = |at| Mtime { secs: at as i64, nanos: 5 };
        let times = (0..entries.len()).map(|at| TimesEntry { mtime: time(at), children: None });
        let times = TimesNode { entries: times.collect() };
        (Tree::new(tree.collect()).unwrap().encode(), times.encode())
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn inodes_lead_back_to_their_paths() {
        let mut nodes = Nodes::new(0o755, Mtime::default());
        let top = nodes.lookup(ROOT_INO, TOP).unwrap().unwrap().ino;
        assert_eq!(nodes.lookup(top, b"d"), None);
        let (tree, times) = node(&[("d", Kind::Dir), ("l", Kind::Symlink), ("z", Kind::File)]);
        nodes.insert(&path(""), &tree, &times).unwrap();
        let (tree, times) = node(&[]);
        nodes.insert(&path("d"), &tree, &times).unwrap();
        let d = nodes.lookup(top, b"d").unwrap().unwrap();
        assert_eq!(nodes.list(d.ino, 0).unwrap().count(), 0);
        let z = nodes.lookup(top, b"z").unwrap().unwrap();
        assert_eq!((z.size, z.mtime.secs, z.mode), (7, 2, 0o640));
        assert_eq!(nodes.path(z.ino), Some(path("z")));
        assert_eq!(nodes.path(top), Some(path("")));
        let l = nodes.lookup(top, b"l").unwrap().unwrap();
        assert_eq!(nodes.target(l.ino), Some(&b"to"[..]));
        assert_eq!(nodes.lookup(top, b"no"), Some(None));
        assert_eq!(nodes.attr(999), None);
    }

    #[test]
    fn nodes_read_ahead_of_their_parents_are_left_alone() {
        let mut nodes = Nodes::new(0o755, Mtime::default());
        let (tree, times) = node(&[("x", Kind::File)]);
        nodes.insert(&path("unknown"), &tree, &times).unwrap();
        assert!(!nodes.is_loaded(ROOT_INO + 1));
        let (_, short) = node(&[]);
        assert!(matches!(
            nodes.insert(&path(""), &tree, &short),
            Err(NodeError::Times { entries: 1, times: 0 })
        ));
        assert!(nodes.insert(&path(""), b"junk", &times).is_err());
    }

    #[test]
    fn an_entry_costs_few_bytes() {
        assert_eq!(size_of::<Slot>(), 32);
    }
}
