//! The tree of `/workspace` now: the guest's change report, merged.

use pyro_api::{ReportStats, SkippedEntry};
use pyro_format::escape;
use pyro_proto::{Call, Change, Reply, Special};
use tokio::sync::mpsc;

use super::Workspace;
use super::merge::{Merged, Merger};
use super::nodes::StoredNodes;
use crate::error::{Error, Result};
use crate::guest::link::{Conversation, GuestError};

/// Batches in flight between the wire and the merge.
const BATCHES: usize = 4;

impl Workspace {
    /// Asks the guest what changed and merges it with the lower tree.
    pub async fn current_tree(&self, full: bool) -> Result<(Merged, ReportStats)> {
        let mut conversation = Conversation::open(&self.machine, &Call::Report { full }).await?;
        let (batches, mut queue) = mpsc::channel::<Vec<Change>>(BATCHES);
        let (store, lower) = (self.store.clone(), self.record().lower.into());
        let merging = tokio::task::spawn_blocking(move || -> Result<Merged> {
            let nodes = StoredNodes(&store);
            let mut merger = Merger::new(&nodes, lower);
            while let Some(batch) = queue.blocking_recv() {
                batch.into_iter().try_for_each(|change| merger.push(change))?;
            }
            Ok(merger.finish()?)
        });
        let end = loop {
            match conversation.next().await? {
                // A merge that failed no longer takes batches; its error is the one that counts.
                Reply::Changes(batch) => {
                    if batches.send(batch).await.is_err() {
                        break None;
                    }
                }
                Reply::ReportEnd(end) => break Some(end),
                _ => return Err(GuestError::Unexpected.into()),
            }
        };
        drop(batches);
        let merged = merging.await.map_err(|panic| Error::Panicked(panic.to_string()))??;
        let end = end.ok_or(GuestError::Unexpected)?;
        let stats = ReportStats {
            records: end.records,
            report_bytes: conversation.received(),
            visited: end.visited,
            hashed_bytes: end.hashed_bytes,
            cached_files: end.cached_files,
            ..ReportStats::default()
        };
        Ok((merged, stats))
    }
}

/// What no tree can hold, as answers list it.
pub fn skipped(merged: &Merged) -> Vec<SkippedEntry> {
    let reason = |kind| match kind {
        Special::Fifo => "fifo",
        Special::Socket => "socket",
        Special::Device => "device",
    };
    merged
        .skipped
        .iter()
        .map(|(path, kind)| SkippedEntry {
            path: escape(path.as_bytes()),
            reason: reason(*kind).to_owned(),
        })
        .collect()
}
