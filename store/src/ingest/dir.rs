//! What is known of one directory while it is taken in, and how its files become pieces of work.

use std::sync::{Arc, Mutex};

use pyro_format::{Entry, EntryName, FileId, Node, TimesEntry, TimesNode, Tree};

use super::file::Meta;
use super::filter::Ignores;

/// Files that one thread takes at once, so that a large directory occupies all of them ...
const GROUP_FILES: usize = 256;
/// ... and the bytes after which a group of large files ends.
const GROUP_BYTES: u64 = 8 * 1024 * 1024;

/// What is known of a directory while the walk is in it.
#[derive(Default)]
pub(super) struct Dir {
    pub(super) state: Mutex<DirState>,
}

#[derive(Default)]
pub(super) struct DirState {
    /// None until it was opened; stays none if it is left out.
    pub(super) meta: Option<Meta>,
    pub(super) entries: Vec<(Entry, TimesEntry)>,
    /// The ignore patterns that hold inside.
    pub(super) ignores: Option<Arc<Ignores>>,
    /// What the stat cache shall have.
    pub(super) remember: Vec<(Meta, FileId)>,
}

/// A regular file that must be read.
pub(super) struct FileTask {
    pub(super) name: EntryName,
    pub(super) meta: Meta,
}

impl DirState {
    pub(super) fn add_file(&mut self, name: EntryName, meta: &Meta, size: u64, content: FileId) {
        let entry = Entry::new(name, Node::File { mode: meta.mode(), size, content });
        self.entries.push((entry, TimesEntry { mtime: meta.mtime, children: None }));
    }
}

/// A directory's two nodes; none if a name came twice, which only a change while listing can do.
pub(super) fn split(mut entries: Vec<(Entry, TimesEntry)>) -> Option<(Tree, TimesNode)> {
    entries.sort_unstable_by(|a, b| a.0.name.cmp(&b.0.name));
    let (entries, times) = entries.into_iter().unzip();
    Some((Tree::new(entries).ok()?, TimesNode { entries: times }))
}

/// Cuts files, sorted by name so that neighbours compress together, into pieces of work.
pub(super) fn groups(mut tasks: Vec<FileTask>) -> Vec<Vec<FileTask>> {
    tasks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut groups: Vec<Vec<FileTask>> = Vec::new();
    let mut bytes = 0;
    for task in tasks {
        match groups.last_mut() {
            Some(group) if group.len() < GROUP_FILES && bytes < GROUP_BYTES => {
                bytes += task.meta.size;
                group.push(task);
            }
            _ => {
                bytes = task.meta.size;
                groups.push(vec![task]);
            }
        }
    }
    groups
}
