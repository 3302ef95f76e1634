//! The tree that an archive's members build up, before it is stored.

use std::collections::{BTreeMap, HashMap};

use pyro_format::{
    Attributes, Entry, EntryName, Extension, FileId, LinkTarget, MAX_DEPTH, Mode, Mtime, Node,
    RootNode, TimesEntry, escape,
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

/// A member, what else it is in a system's tree (boxed: workspaces have none of it), and the layer
/// that it was last in.
struct Slot {
    member: Member,
    attributes: Option<Box<Attributes>>,
    layer: usize,
}

/// All members, in an arena: a child always comes after its parent, so that finishing goes from
/// the end to the front and no depth exhausts the stack.
pub(super) struct Members {
    slots: Vec<Slot>,
    /// Layers above the first one; a member of one replaces whatever is below it.
    layer: usize,
}

/// What the finished tree holds.
pub(super) struct Totals {
    pub(super) entries: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Members {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot { member: implied_dir(), attributes: None, layer: 0 }], layer: 0 }
    }

    /// What comes from now on lies above what came before.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Puts a member at `path`, making directories above it as needed. A later member replaces an
    /// earlier one, but a directory neither replaces nor is replaced by anything else.
    pub(super) fn insert(
        &mut self,
        path: &[EntryName],
        member: Member,
        attributes: Attributes,
    ) -> Result<(), String> {
        let attributes = (attributes != Attributes::default()).then(|| attributes.into());
        let slot = Slot { member, attributes, layer: self.layer };
        let Some((name, above)) = path.split_last() else {
            return self.replace(0, slot);
        };
        let mut at = 0;
        for name in above {
            at = match self.child(at, name)? {
                Some(next) => next,
                None => {
                    let member = implied_dir();
                    self.push(
                        at,
                        name.clone(),
                        Slot { member, attributes: None, layer: self.layer },
                    )?
                }
            };
            self.slots[at].layer = self.layer;
        }
        match self.child(at, name)? {
            Some(existing) => self.replace(existing, slot),
            None => self.push(at, name.clone(), slot).map(|_| ()),
        }
    }

    /// Leaves out what lower layers have at `path`.
    pub(super) fn hide(&mut self, path: &[EntryName]) {
        let Some((name, above)) = path.split_last() else { return };
        let (Some(parent), Some(hidden)) = (self.find(above), self.find(path)) else { return };
        if self.slots[hidden].layer < self.layer {
            if let Member::Dir { children, .. } = &mut self.slots[parent].member {
                children.remove(name);
            }
        } else {
            self.hide_below(path);
        }
    }

    /// Leaves out what lower layers have in the directory at `path`.
    pub(super) fn hide_below(&mut self, path: &[EntryName]) {
        let mut pending: Vec<_> = self.find(path).into_iter().collect();
        while let Some(at) = pending.pop() {
            let Member::Dir { children, .. } = &self.slots[at].member else { continue };
            let mut kept = children.clone();
            kept.retain(|_, child| self.slots[*child].layer == self.layer);
            pending.extend(kept.values());
            if let Member::Dir { children, .. } = &mut self.slots[at].member {
                *children = kept;
            }
        }
    }

    /// The regular file at `path`, for a hard link to it.
    pub(super) fn file(&self, path: &[EntryName]) -> Option<Member> {
        match &self.slots[self.find(path)?].member {
            file @ Member::File { .. } => Some(file.clone()),
            _ => None,
        }
    }

    /// The file that is no directory at `path`, under a further name: they are one from now on.
    pub(super) fn link(&mut self, path: &[EntryName]) -> Option<(Member, Attributes)> {
        let at = self.find(path)?;
        let slot = &mut self.slots[at];
        if let Member::Dir { .. } = slot.member {
            return None;
        }
        let attributes = slot.attributes.get_or_insert_default();
        attributes.link_group.get_or_insert(at as u64);
        Some((slot.member.clone(), (**attributes).clone()))
    }

    fn find(&self, path: &[EntryName]) -> Option<usize> {
        let mut at = 0;
        for name in path {
            at = self.child(at, name).ok()??;
        }
        Some(at)
    }

    fn child(&self, at: usize, name: &EntryName) -> Result<Option<usize>, String> {
        match &self.slots[at].member {
            Member::Dir { children, .. } => Ok(children.get(name).copied()),
            Member::File { .. } => Err("lies below another member that is a file".to_owned()),
            Member::Symlink { .. } => Err("lies below another member that is a link".to_owned()),
        }
    }

    fn push(&mut self, parent: usize, name: EntryName, slot: Slot) -> Result<usize, String> {
        let new = self.slots.len();
        match &mut self.slots[parent].member {
            Member::Dir { children, .. } => children.insert(name, new),
            _ => return Err("lies below another member that is no directory".to_owned()),
        };
        self.slots.push(slot);
        Ok(new)
    }

    fn replace(&mut self, at: usize, new: Slot) -> Result<(), String> {
        let old = &mut self.slots[at];
        match (&mut old.member, &new.member) {
            (Member::Dir { mode, mtime, .. }, Member::Dir { mode: new_mode, mtime: time, .. }) => {
                (*mode, *mtime) = (*new_mode, *time);
                (old.attributes, old.layer) = (new.attributes, new.layer);
                return Ok(());
            }
            _ if old.layer < new.layer => {}
            (Member::Dir { .. }, _) => {
                return Err("would replace a directory by something else".to_owned());
            }
            (_, Member::Dir { .. }) => {
                return Err("would replace something else by a directory".to_owned());
            }
            _ => {}
        }
        *old = new;
        Ok(())
    }

    /// Numbers the groups of hard links in the order of the tree, so that equal trees are equal, and
    /// drops those of one name. Which slots are still in the tree.
    fn number_links(&mut self) -> Vec<bool> {
        let mut present = vec![false; self.slots.len()];
        // By group: its names, and when the first of them was met.
        let mut groups: HashMap<u64, (usize, Vec<usize>)> = HashMap::new();
        let mut pending = vec![0];
        let mut met = 0;
        while let Some(at) = pending.pop() {
            present[at] = true;
            met += 1;
            if let Member::Dir { children, .. } = &self.slots[at].member {
                pending.extend(children.values().rev());
            }
            let group = self.slots[at].attributes.as_ref().and_then(|own| own.link_group);
            if let Some(group) = group {
                groups.entry(group).or_insert_with(|| (met, Vec::new())).1.push(at);
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_unstable();
        let mut number = 0;
        for (_, names) in groups {
            number += u64::from(names.len() > 1);
            let group = (names.len() > 1).then_some(number);
            for at in names {
                self.slots[at].attributes.get_or_insert_default().link_group = group;
            }
        }
        present
    }

    /// Stores all directory nodes.
    pub(super) fn finish(mut self, sink: &mut Sink) -> Result<(Top, Totals)> {
        let present = self.number_links();
        let mut totals = Totals { entries: 0, files: 0, bytes: 0 };
        let mut done: Vec<Option<(Node, TimesEntry, Vec<Extension>)>> =
            vec![None; self.slots.len()];
        for (at, slot) in self.slots.into_iter().enumerate().rev() {
            if !present[at] {
                continue;
            }
            let (node, times) = match slot.member {
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
                        let (node, times, extensions) = done[child].take()?;
                        Some((Entry { name, node, extensions }, times))
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
            };
            totals.entries += 1;
            let attributes = slot.attributes.unwrap_or_default();
            done[at] = Some((node, times, attributes.to_extensions()));
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
