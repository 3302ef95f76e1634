//! What a diff or an apply leaves out on request, counted: nothing is hidden without a word.

use std::collections::HashMap;
use std::sync::Arc;

use pyro_api::{BytesText, Hidden};
use pyro_format::{Delta, EntryName, Node, RootNode, TreePath};
use pyro_store::{Excludes, Ignores, Store};

use super::nodes::start_of_file;
use super::path;
use crate::error::{Error, Result};

/// Bytes of a `.gitignore` that are read: it comes from a guest.
const IGNORE_FILE: usize = 1 << 20;

/// What to show.
pub struct Filter {
    paths: Vec<TreePath>,
    excludes: Excludes,
    gitignore: bool,
}

impl Filter {
    /// Only what is at these paths or below, unless there are none; not what the patterns name; and
    /// not what was added and `.gitignore` files name.
    pub fn new(paths: &[BytesText], exclude: &[String], gitignore: bool) -> Result<Self> {
        let paths = paths.iter().map(|text| path::parse(&text.0)).collect::<Result<_>>()?;
        Ok(Self { paths, excludes: Excludes::new(exclude)?, gitignore })
    }

    /// Drops what is not to be shown. `new` is the newer tree, stored: its `.gitignore` files hide
    /// what was added, as git does; what the older tree has is never ignored.
    pub fn apply(&self, store: &Store, new: &RootNode, deltas: &mut Vec<Delta>) -> Result<Hidden> {
        let mut hidden = Hidden::default();
        let name = EntryName::parse(b".gitignore").map_err(|e| Error::Invalid(e.to_string()))?;
        let mut ignored = Ignored { store, new, name, known: HashMap::new() };
        let mut kept = Vec::with_capacity(deltas.len());
        for delta in deltas.drain(..) {
            let inside = |top: &TreePath| delta.path.starts_with(top);
            if !self.paths.is_empty() && !self.paths.iter().any(inside) {
                hidden.by_path += 1;
            } else if self.is_excluded(&delta) {
                hidden.by_exclude += 1;
            } else if self.gitignore && delta.old.is_none() && ignored.has(&delta)? {
                hidden.by_gitignore += 1;
            } else {
                kept.push(delta);
            }
        }
        *deltas = kept;
        Ok(hidden)
    }

    fn is_excluded(&self, delta: &Delta) -> bool {
        if self.excludes.is_empty() {
            return false;
        }
        let mut above = delta.path.ancestors().filter(|dir| !dir.is_root());
        above.any(|dir| self.excludes.exclude(dir.as_bytes(), true))
            || self.excludes.exclude(delta.path.as_bytes(), is_dir(delta))
    }
}

/// The `.gitignore` files of a tree, read when they are needed.
struct Ignored<'a> {
    store: &'a Store,
    new: &'a RootNode,
    /// What they are called.
    name: EntryName,
    known: HashMap<TreePath, Option<Arc<Ignores>>>,
}

impl Ignored<'_> {
    fn has(&mut self, delta: &Delta) -> Result<bool> {
        let above = delta.path.ancestors().filter(|dir| !dir.is_root()).map(|dir| (dir, true));
        for (path, is_dir) in above.chain([(delta.path.clone(), is_dir(delta))]) {
            let Some((parent, _)) = path.split_last() else { continue };
            let ignores = self.of(&parent)?;
            if ignores.is_some_and(|ignores| ignores.ignore(path.as_bytes(), is_dir)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the ignore file of a directory says, and those above it.
    fn of(&mut self, dir: &TreePath) -> Result<Option<Arc<Ignores>>> {
        if let Some(known) = self.known.get(dir) {
            return Ok(known.clone());
        }
        let above = match dir.split_last() {
            Some((parent, _)) => self.of(&parent)?,
            None => None,
        };
        let file = dir.join(&self.name);
        let lines = start_of_file(self.store, self.new, &file, IGNORE_FILE)?;
        let found = match lines {
            Some(lines) => Ignores::parse(dir.as_bytes(), &lines, above),
            None => above,
        };
        self.known.insert(dir.clone(), found.clone());
        Ok(found)
    }
}

fn is_dir(delta: &Delta) -> bool {
    matches!(delta.new.as_ref().or(delta.old.as_ref()), Some(Node::Dir { .. }))
}
