//! Looking into the store: entries by path, differences, sizes.

mod find;
mod usage;

use pyro_format::{
    BaselineId, DecodeError, Delta, EntryName, Node, RootId, TimesEntry, TreePath, diff,
};
use serde::{Deserialize, Serialize};

use crate::checkout::CheckoutItem;
use crate::error::{Error, IoContext, Result};
use crate::object::{Kind, ObjectKey};
use crate::read::FileReader;
use crate::store::Store;

pub use find::{FoundObject, Needed};
pub use usage::{BaselineUsage, Usage};

/// One entry of a listed directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: EntryName,
    /// What it is, and when it was modified if that is known.
    pub item: CheckoutItem,
}

/// How much of one kind the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindStats {
    /// Which kind.
    pub kind: Kind,
    /// Objects.
    pub objects: u64,
    /// Their bytes before compression.
    pub bytes: u64,
}

/// What the store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStats {
    /// Version of this report's shape: 1.
    pub schema: u32,
    /// Pack files.
    pub packs: u64,
    /// Bytes of all pack files.
    pub stored_bytes: u64,
    /// Objects of every kind; one that is in two packs counts twice.
    pub objects: u64,
    /// The same by kind.
    pub kinds: Vec<KindStats>,
    /// Baselines on record.
    pub baselines: u64,
}

impl Store {
    /// What is at `path` below `top`, with its times if `top` has any.
    pub fn resolve(&self, top: &CheckoutItem, path: &TreePath) -> Result<CheckoutItem> {
        let mut item = top.clone();
        let mut walked = TreePath::root();
        for name in path.names() {
            let Node::Dir { tree, .. } = item.node else {
                return Err(Error::WrongKind { path: walked, wanted: "directory" });
            };
            let tree = self.get_tree(tree)?;
            let Some(at) = tree.position(name.as_bytes()) else {
                return Err(Error::NoEntry(path.clone()));
            };
            item = CheckoutItem {
                node: tree.entries()[at].node.clone(),
                times: self.child_times(item.times, at)?,
            };
            walked.push(&name);
        }
        Ok(item)
    }

    fn child_times(&self, times: Option<TimesEntry>, at: usize) -> Result<Option<TimesEntry>> {
        let Some(id) = times.and_then(|times| times.children) else { return Ok(None) };
        let source = DecodeError { what: "times node", why: "does not fit its tree node" };
        let entry = self.get_times(id)?.entries.get(at).copied();
        entry.map(Some).ok_or(Error::Decode { key: ObjectKey::from(id), source })
    }

    /// The top of a baseline, with its times.
    pub fn baseline_item(&self, baseline: BaselineId) -> Result<CheckoutItem> {
        let key = self.baseline(baseline)?.key();
        let times = TimesEntry { mtime: key.mtime, children: Some(key.times) };
        Ok(CheckoutItem::root(&self.get_root(key.root)?, Some(times)))
    }

    /// What a baseline's directory at `path` holds, sorted by name.
    pub fn ls(&self, baseline: BaselineId, path: &TreePath) -> Result<Vec<Listed>> {
        let dir = self.resolve(&self.baseline_item(baseline)?, path)?;
        let Node::Dir { tree, .. } = dir.node else {
            return Err(Error::WrongKind { path: path.clone(), wanted: "directory" });
        };
        let tree = self.get_tree(tree)?;
        let times = match dir.times.and_then(|times| times.children) {
            Some(id) => Some(self.get_times(id)?),
            None => None,
        };
        let listed = tree.entries().iter().enumerate().map(|(at, entry)| Listed {
            name: entry.name.clone(),
            item: CheckoutItem {
                node: entry.node.clone(),
                times: times.as_ref().and_then(|times| times.entries.get(at).copied()),
            },
        });
        Ok(listed.collect())
    }

    /// Reads a baseline's file at `path`.
    pub fn cat(&self, baseline: BaselineId, path: &TreePath) -> Result<FileReader> {
        match self.resolve(&self.baseline_item(baseline)?, path)?.node {
            Node::File { size, content, .. } => self.open_file(content, size),
            _ => Err(Error::WrongKind { path: path.clone(), wanted: "regular file" }),
        }
    }

    /// Every path that differs between two stored trees, in the order of
    /// [`pyro_format::diff`].
    pub fn diff(&self, old: RootId, new: RootId) -> Result<Vec<Delta>> {
        let mut deltas = Vec::new();
        diff(self, &self.get_root(old)?, &self.get_root(new)?, |delta| deltas.push(delta))?;
        Ok(deltas)
    }

    /// Counts what is stored. Reads the footers of all packs, no content.
    pub fn stats(&self) -> Result<StoreStats> {
        let mut kinds = Kind::ALL.map(|kind| KindStats { kind, objects: 0, bytes: 0 });
        let _stay = self.shared.stay();
        let packs = self.shared.packs();
        let mut stored_bytes = 0;
        for (number, pack) in &packs {
            stored_bytes += pack.len;
            let footer = self.shared.footer(*number, pack).at("read", &pack.path)?;
            for record in footer.records {
                let stats = &mut kinds[record.key.kind as usize - 1];
                stats.objects += 1;
                stats.bytes += u64::from(record.len);
            }
        }
        Ok(StoreStats {
            schema: 1,
            packs: packs.len() as u64,
            stored_bytes,
            objects: self.shared.object_count() as u64,
            kinds: kinds.to_vec(),
            baselines: self.baseline_ids()?.len() as u64,
        })
    }
}
