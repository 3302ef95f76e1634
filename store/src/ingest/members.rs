//! The tree that an archive's members build up, before it is stored.

use std::collections::BTreeMap;

use pyro_format::{
    Entry, EntryName, FileId, LinkTarget, MAX_DEPTH, Mode, Mtime, Node, RootNode, TimesEntry,
    escape,
};

use super::Top;
use super::dir::split;
use crate::error::Result;
use crate::writer::Sink;

/// One thing in the archive.
#[derive(Debug, Clone)]
pub(super) enum Member {
    Dir { mode: Mode, mtime: Mtime, children: BTreeMap<EntryName, usize> },
    File { mode: Mode, mtime: Mtime, size: u64, content: FileId },
    Symlink { mtime: Mtime, target: LinkTarget },
}

/// All members, in an arena: a child always comes after its parent, so that finishing goes from
/// the end to the front and no depth exhausts the stack.
pub(super) struct Members {
    nodes: Vec<Member>,
}

/// What the finished tree holds.
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { nodes: vec![implied_dir()] }
    }

    /// Puts a member at `path`, making directories above it as needed. A later member replaces an
    /// earlier one, but a directory neither replaces nor is replaced by anything else.
    pub(super) fn insert(&mut self, path: &[EntryName], member: Member) -> Result<(), String> {
        let Some((name, above)) = path.split_last() else {
            return self.replace(0, member);
        };
        let mut at = 0;
        for name in above {
            at = match self.child(at, name)? {
                Some(next) => next,
                None => self.push(at, name.clone(), implied_dir())?,
            };
        }
        match self.child(at, name)? {
            Some(existing) => self.replace(existing, member),
            None => self.push(at, name.clone(), member).map(|_| ()),
        }
    }

    /// The regular file at `path`, for a hard link to it.
    pub(super) fn file(&self, path: &[EntryName]) -> Option<Member> {
        let mut at = 0;
        for name in path {
            at = self.child(at, name).ok()??;
        }
        match &self.nodes[at] {
            file @ Member::File { .. } => Some(file.clone()),
            _ => None,
        }
    }

    fn child(&self, at: usize, name: &EntryName) -> Result<Option<usize>, String> {
        match &self.nodes[at] {
            Member::Dir { children, .. } => Ok(children.get(name).copied()),
            Member::File { .. } => Err("lies below another member that is a file".to_owned()),
            Member::Symlink { .. } => Err("lies below another member that is a link".to_owned()),
        }
    }

    fn push(&mut self, parent: usize, name: EntryName, member: Member) -> Result<usize, String> {
        let new = self.nodes.len();
        match &mut self.nodes[parent] {
            Member::Dir { children, .. } => children.insert(name, new),
            _ => return Err("lies below another member that is no directory".to_owned()),
        };
        self.nodes.push(member);
        Ok(new)
    }

    fn replace(&mut self, at: usize, member: Member) -> Result<(), String> {
        match (&mut self.nodes[at], member) {
            (Member::Dir { mode, mtime, .. }, Member::Dir { mode: new, mtime: time, .. }) => {
                (*mode, *mtime) = (new, time);
                Ok(())
            }
            (Member::Dir { .. }, _) => {
                Err("would replace a directory by something else".to_owned())
            }
            (_, Member::Dir { .. }) => {
                Err("would replace something else by a directory".to_owned())
            }
            (old, new) => {
                *old = new;
                Ok(())
            }
        }
    }

    /// Stores all directory nodes.
    pub(super) fn finish(self, sink: &mut Sink) -> Result<(Top, Totals)> {
        let mut totals = Totals { entries: self.nodes.len() as u64 - 1, files: 0, bytes: 0 };
        let mut done: Vec<Option<(Node, TimesEntry)>> = vec![None; self.nodes.len()];
        for (at, member) in self.nodes.into_iter().enumerate().rev() {
            done[at] = Some(match member {
                Member::File { mode, mtime, size, content } => {
                    totals.files += 1;
                    totals.bytes += size;
                    (Node::File { mode, size, content }, TimesEntry { mtime, children: None })
                }
                Member::Symlink { mtime, target } => {
                    (Node::Symlink { target }, TimesEntry { mtime, children: None })
                }
                Member::Dir { mode, mtime, children } => {
                    let entries = children.into_iter().filter_map(|(name, child)| {
                        done[child].take().map(|(node, times)| (Entry::new(name, node), times))
                    });
                    let (tree, times) =
                        split(entries.collect()).expect("a map holds every name once");
                    let tree = sink.put_tree(&tree)?;
                    let times = sink.put_times(&times)?;
                    if at == 0 {
                        return Ok((Top { root: RootNode { mode, tree }, times, mtime }, totals));
                    }
                    (Node::Dir { mode, tree }, TimesEntry { mtime, children: Some(times) })
                }
            });
        }
        unreachable!("the first node is the top directory")
    }
}

/// A directory that no member describes.
fn implied_dir() -> Member {
    Member::Dir { mode: Mode::new(0o755), mtime: Mtime::default(), children: BTreeMap::new() }
}

/// The names of a member's path. `.` and doubled slashes are dropped; what would leave the
/// archive's own tree is refused.
pub(super) fn parse_path(bytes: &[u8]) -> Result<Vec<EntryName>, String> {
    if bytes.starts_with(b"/") {
        return Err("has an absolute name".to_owned());
    }
    let mut names = Vec::new();
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err("has a name with '..'".to_owned()),
            _ => names
                .push(EntryName::parse(name).map_err(|error| format!("has a bad name: {error}"))?),
        }
    }
    if names.len() > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    Ok(names)
}

/// A member's link target, verbatim.
pub(super) fn parse_target(bytes: &[u8]) -> Result<LinkTarget, String> {
    LinkTarget::parse(bytes)
        .map_err(|error| format!("has a bad link target '{}': {error}", escape(bytes)))
}
