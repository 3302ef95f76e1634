//! What a report means, worked out independently of the code that will apply it.

use std::collections::BTreeMap;

use pyro_format::{EntryName, FileId, LinkTarget, Mode, Mtime, TreePath};
use pyro_proto::{Base, Change};

use crate::host::Item;

/// A tree without content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    File { mode: Mode, mtime: Mtime, size: u64, content: FileId },
    Dir { mode: Mode, mtime: Mtime, entries: Entries },
    Symlink { mtime: Mtime, target: LinkTarget },
}

pub type Entries = BTreeMap<EntryName, Shape>;

impl Shape {
    pub fn of(item: &Item) -> Self {
        match item {
            Item::File { mode, mtime, data } => Self::File {
                mode: Mode::new(*mode),
                mtime: *mtime,
                size: data.len() as u64,
                content: FileId::of(data),
            },
            Item::Dir { mode, mtime, entries } => Self::Dir {
                mode: Mode::new(*mode),
                mtime: *mtime,
                entries: entries.iter().map(|(n, item)| (n.clone(), Self::of(item))).collect(),
            },
            Item::Symlink { mtime, target } => {
                Self::Symlink { mtime: *mtime, target: LinkTarget::parse(target).unwrap() }
            }
        }
    }

    fn entries(&self) -> Option<&Entries> {
        match self {
            Self::Dir { entries, .. } => Some(entries),
            _ => None,
        }
    }

    fn at(&self, path: &TreePath) -> Option<&Shape> {
        path.names().try_fold(self, |shape, name| shape.entries()?.get(&name))
    }
}

/// The tree that `changes` make of `lower`.
pub fn apply(lower: &Shape, changes: Vec<Change>) -> Shape {
    let mut changes = changes.into_iter();
    let Some(Change::Enter { name: None, mode, mtime, base }) = changes.next() else {
        panic!("a report starts with the top directory");
    };
    let shown = if base == Base::Same { lower.entries() } else { None };
    let entries = directory(lower, shown, &mut changes);
    assert_eq!(changes.next(), None);
    Shape::Dir { mode, mtime, entries }
}

fn directory(
    lower: &Shape,
    shown: Option<&Entries>,
    changes: &mut impl Iterator<Item = Change>,
) -> Entries {
    let mut entries = shown.cloned().unwrap_or_default();
    loop {
        match changes.next().expect("every directory is left") {
            Change::Leave => return entries,
            Change::Enter { name, mode, mtime, base } => {
                let name = name.expect("only the top has no name");
                let inner = match base {
                    Base::Same => shown.and_then(|shown| shown.get(&name)?.entries()),
                    Base::Empty => None,
                    Base::Moved { from } => {
                        Some(lower.at(&from).and_then(Shape::entries).expect("a graft exists"))
                    }
                };
                let inner = directory(lower, inner, changes);
                entries.insert(name, Shape::Dir { mode, mtime, entries: inner });
            }
            Change::Remove { name } => {
                entries.remove(&name);
            }
            Change::Skipped { name, .. } => {
                entries.remove(&name);
            }
            Change::File { name, mode, mtime, size, content } => {
                entries.insert(name, Shape::File { mode, mtime, size, content });
            }
            Change::Symlink { name, mtime, target } => {
                entries.insert(name, Shape::Symlink { mtime, target });
            }
        }
    }
}
