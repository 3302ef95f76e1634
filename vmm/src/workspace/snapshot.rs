//! Snapshots: trees of `/workspace` that somebody gave a name. They are nothing but entries of the
//! record: their content is in the store, shared with whatever else has it.

use jiff::Timestamp;
use pyro_api::{
    SnapshotCreate, SnapshotCreateReply, SnapshotDeleteReply, SnapshotInfo, SnapshotListReply,
};
use pyro_format::{RootId, escape};

use super::Workspace;
use super::capture::{BASELINE, Content};
use super::create::check_name;
use super::record::Snapshot;
use crate::error::{Error, Result};
use crate::events::Events;

/// Most snapshots of one workspace: all of them are in its record.
const MOST: usize = 1000;

impl Workspace {
    /// Gives `/workspace` as it is now, or a tree that is known already, a name.
    pub async fn snapshot(
        &self,
        call: &SnapshotCreate,
        events: &Events,
    ) -> Result<SnapshotCreateReply> {
        check_snapshot_name(&call.name)?;
        self.refuse_snapshot(&call.name)?;
        let _hold = self.store.hold();
        let (name, freeze) = (call.tree.as_deref(), !call.no_freeze);
        let captured = self.obtain(name, Content::All, freeze, events).await?;
        let snapshot = Snapshot {
            tree: captured.tree,
            changes: captured.deltas.len() as u64,
            created_at: Timestamp::now(),
        };
        self.update(|record| match record.snapshots.get(&call.name) {
            Some(_) => false,
            None => record.snapshots.insert(call.name.clone(), snapshot).is_none(),
        })?
        .then_some(())
        .ok_or_else(|| self.exists(&call.name))?;
        Ok(SnapshotCreateReply {
            workspace_id: self.id(),
            snapshot: info(&call.name, &snapshot),
            bytes_fetched: captured.stats.fetched_bytes,
            frozen: captured.stats.frozen,
            paused_us: captured.stats.paused_us,
            skipped: captured.skipped,
        })
    }

    /// Lists them, oldest first.
    pub fn snapshots(&self) -> SnapshotListReply {
        let record = self.record();
        let mut snapshots: Vec<_> = record.snapshots.iter().collect();
        snapshots.sort_by_key(|(_, snapshot)| snapshot.created_at);
        SnapshotListReply {
            workspace_id: record.id.clone(),
            baseline_tree: record.baseline_tree.id.to_string(),
            snapshots: snapshots.into_iter().map(|(name, snapshot)| info(name, snapshot)).collect(),
        }
    }

    /// Forgets one. What starts from it keeps its tree.
    pub fn delete_snapshot(&self, name: &str) -> Result<SnapshotDeleteReply> {
        if self.update(|record| record.snapshots.remove(name))?.is_none() {
            let name = escape(name.as_bytes());
            return Err(Error::UnknownSnapshot { workspace: self.id(), name });
        }
        Ok(SnapshotDeleteReply { workspace_id: self.id(), name: name.to_owned(), deleted: true })
    }

    fn refuse_snapshot(&self, name: &str) -> Result<()> {
        let record = self.record();
        if record.snapshots.contains_key(name) {
            return Err(self.exists(name));
        }
        if record.snapshots.len() >= MOST {
            return Err(Error::Invalid(format!(
                "workspace {} has {MOST} snapshots: delete some first",
                record.id
            )));
        }
        Ok(())
    }

    fn exists(&self, name: &str) -> Error {
        Error::SnapshotExists { workspace: self.id(), name: escape(name.as_bytes()) }
    }
}

fn check_snapshot_name(name: &str) -> Result<()> {
    check_name(name)?;
    if name == BASELINE || name.parse::<RootId>().is_ok() {
        let text = "a snapshot cannot be called 'baseline' or like the id of a tree";
        return Err(Error::Invalid(text.to_owned()));
    }
    Ok(())
}

fn info(name: &str, snapshot: &Snapshot) -> SnapshotInfo {
    SnapshotInfo {
        name: name.to_owned(),
        tree: snapshot.tree.id.to_string(),
        changed_count: snapshot.changes,
        created_at: snapshot.created_at.to_string(),
    }
}
