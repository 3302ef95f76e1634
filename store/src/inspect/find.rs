//! Which objects an id names, and who needs them.

use std::collections::BTreeSet;

use pyro_format::{BaselineId, Node, RootId, TreeId, TreePath};

use crate::error::{Error, IoContext, Result};
use crate::object::{Kind, ObjectKey};
use crate::progress::{self, Progress};
use crate::store::Store;

/// One place of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// What it is.
    pub kind: Kind,
    /// Its id in hex. A file that is one chunk has the chunk's.
    pub id: String,
    /// Bytes before compression.
    pub bytes: u64,
    /// Its part of the pack in bytes.
    pub stored_bytes: u64,
    /// Name of the pack's file.
    pub pack: String,
    /// Number of the frame in the pack.
    pub frame: u32,
    /// Whether it was found damaged.
    pub damaged: bool,
}

/// A path that needs an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// In which baseline.
    pub baseline: BaselineId,
    /// Where; empty for the top directory.
    pub path: TreePath,
}

impl Store {
    /// Every place of the objects whose ids begin with these hex digits, at most `limit`.
    pub fn find_objects(&self, prefix: &str, limit: usize) -> Result<Vec<FoundObject>> {
        let _stay = self.shared.stay();
        let mut found = Vec::new();
        for (number, pack) in self.shared.packs() {
            let footer = self.shared.footer(number, &pack).at("read", &pack.path)?;
            for (at, record) in footer.records.iter().enumerate() {
                let id = blake3::Hash::from_bytes(record.key.id).to_string();
                if !id.starts_with(prefix) {
                    continue;
                }
                if found.len() == limit {
                    return Ok(found);
                }
                found.push(FoundObject {
                    kind: record.key.kind,
                    id,
                    bytes: u64::from(record.len),
                    stored_bytes: footer.stored_part(record),
                    pack: format!("{}.pack", pack.id()),
                    frame: record.frame,
                    damaged: self.shared.is_damaged((number, at as u32)),
                });
            }
        }
        Ok(found)
    }

    /// The paths of all baselines that need any of these objects, at most `limit`, and whether
    /// there are more.
    pub fn needed_by(
        &self,
        objects: &[FoundObject],
        limit: usize,
        progress: &dyn Progress,
    ) -> Result<(Vec<Needed>, bool)> {
        let mut wanted = BTreeSet::new();
        for object in objects {
            if let Ok(id) = blake3::Hash::from_hex(&object.id) {
                wanted.insert(ObjectKey::new(object.kind, *id.as_bytes()));
            }
        }
        let mut needed = Vec::new();
        for record in self.baselines()? {
            let mut search = Search { store: self, wanted: &wanted, limit, needed: &mut needed };
            let baseline = record.id;
            if !search.baseline(baseline, record.root, progress)? {
                return Ok((needed, true));
            }
            let times = ObjectKey::from(record.times);
            if wanted.contains(&times) && !search.add(baseline, TreePath::root()) {
                return Ok((needed, true));
            }
        }
        Ok((needed, false))
    }
}

struct Search<'a> {
    store: &'a Store,
    wanted: &'a BTreeSet<ObjectKey>,
    limit: usize,
    needed: &'a mut Vec<Needed>,
}

impl Search<'_> {
    /// False when there is no room for more.
    fn add(&mut self, baseline: BaselineId, path: TreePath) -> bool {
        if self.needed.len() == self.limit {
            return false;
        }
        self.needed.push(Needed { baseline, path });
        true
    }

    fn baseline(
        &mut self,
        baseline: BaselineId,
        root: RootId,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let top = match self.store.get_root(root) {
            Ok(top) => top,
            Err(Error::Missing(_) | Error::Damaged { .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        if self.wanted.contains(&root.into()) && !self.add(baseline, TreePath::root()) {
            return Ok(false);
        }
        let mut stack: Vec<(TreePath, TreeId)> = vec![(TreePath::root(), top.tree)];
        while let Some((path, id)) = stack.pop() {
            progress::check(progress)?;
            if self.wanted.contains(&id.into()) && !self.add(baseline, path.clone()) {
                return Ok(false);
            }
            let tree = match self.store.get_tree(id) {
                Ok(tree) => tree,
                Err(Error::Missing(_) | Error::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            for entry in tree.entries() {
                match &entry.node {
                    Node::Dir { tree, .. } => stack.push((path.join(&entry.name), *tree)),
                    Node::File { size, content, .. } => {
                        let list = ObjectKey::from(*content);
                        let needs = self.wanted.contains(&list)
                            || self.store.chunks_of(*content, *size).is_ok_and(|chunks| {
                                chunks.iter().any(|chunk| self.wanted.contains(&chunk.id.into()))
                            });
                        if needs && !self.add(baseline, path.join(&entry.name)) {
                            return Ok(false);
                        }
                    }
                    Node::Symlink { .. } => {}
                }
            }
        }
        Ok(true)
    }
}
