//! Calls about the store's size: what takes how much, and making it smaller.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pyro_api::{
    BaselineUsage, StoreDelete, StoreDeleteReply, StoreFindChunk, StoreFindChunkReply, StoreGc,
    StoreGcReply, StoreRebuildIndexReply, StoreUsage, StoreUsageReply, StoredObject,
};
use pyro_store::{BaselineRecord, GcOptions, Progress, Store};

use super::inspect::{check_prefix, find_all, unusable};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::manager::Manager;

/// Objects and paths that are listed for one id.
const LISTED: usize = 1000;

/// `store_usage`
pub async fn usage(
    manager: &Manager,
    call: StoreUsage,
    events: &Events,
) -> Result<StoreUsageReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        let wanted = find_all(&store, &call.baselines)?;
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        let mut baselines = all(&store, &StoreProgress::new(&events, "measure", cancelled))?;
        baselines.retain(|usage| wanted.is_empty() || wanted.contains(&usage.baseline));
        Ok(StoreUsageReply { baselines })
    })
    .await
}

/// What each baseline takes, oldest first.
pub fn all(store: &Store, progress: &dyn Progress) -> Result<Vec<BaselineUsage>> {
    let mut listed = Vec::new();
    for usage in store.usage(progress)? {
        // One that is forgotten meanwhile is left out.
        let Ok(record) = store.baseline(usage.baseline) else { continue };
        listed.push(BaselineUsage {
            baseline: record.id.to_string(),
            source: record.source.to_string(),
            created_at: created_at(&record),
            implicit: record.implicit,
            entry_count: record.entry_count,
            bytes_total: record.bytes_total,
            object_bytes: usage.all.bytes,
            stored_bytes: usage.all.stored_bytes,
            unique_bytes: usage.unique.stored_bytes,
            shared_bytes: usage.all.stored_bytes - usage.unique.stored_bytes,
            added_bytes: usage.added.stored_bytes,
            dedup_ratio: ratio(record.bytes_total, usage.all.bytes),
            compression_ratio: ratio(usage.all.bytes, usage.all.stored_bytes),
        });
    }
    Ok(listed)
}

/// How often the smaller goes into the larger, with two digits; 1 where there is nothing.
pub fn ratio(large: u64, small: u64) -> f64 {
    if small == 0 { 1.0 } else { (large as f64 / small as f64 * 100.0).round() / 100.0 }
}

/// When a baseline was made (RFC 3339); empty for a time that there is not.
pub fn created_at(record: &BaselineRecord) -> String {
    let at = i64::try_from(record.created_at_ms).ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// `store_find_chunk`
pub async fn find_chunk(
    manager: &Manager,
    call: StoreFindChunk,
    events: &Events,
) -> Result<StoreFindChunkReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        check_prefix(&call.id, "an object")?;
        let progress = StoreProgress::new(&events, "search", cancelled);
        let mut objects = store.find_objects(&call.id, LISTED + 1)?;
        if objects.is_empty() {
            return Err(Error::NoObject(call.id));
        }
        let more = objects.len() > LISTED;
        objects.truncate(LISTED);
        let (needed, truncated) = store.needed_by(&objects, LISTED, &progress)?;
        let object = |object: pyro_store::FoundObject| StoredObject {
            kind: object.kind.to_string(),
            id: object.id,
            bytes: object.bytes,
            stored_bytes: object.stored_bytes,
            pack: object.pack,
            frame: object.frame,
            damaged: object.damaged,
        };
        Ok(StoreFindChunkReply {
            objects: objects.into_iter().map(object).collect(),
            needed_by: needed.iter().map(|at| format!("{}:{}", at.baseline, at.path)).collect(),
            truncated: truncated || more,
        })
    })
    .await
}

/// `store_delete`
pub async fn delete(manager: &Arc<Manager>, call: StoreDelete) -> Result<StoreDeleteReply> {
    let kept = manager.clone();
    // A workspace that is being made may be about to use one of them.
    let _seeding = manager.no_seeding().await;
    blocking(move |_| {
        let manager = kept;
        let store = manager.store();
        let mut ids = find_all(&store, &call.baselines)?;
        ids.sort_unstable();
        ids.dedup();
        let environments = manager.catalog().baselines()?;
        for id in &ids {
            if environments.contains(&id.to_string()) {
                return Err(Error::BaselineOfEnvironment(id.to_string()));
            }
            if let Some(workspace) = manager.user_of(*id) {
                return Err(Error::BaselineInUse { baseline: id.to_string(), workspace });
            }
        }
        for id in &ids {
            store.remove_baseline(*id)?;
        }
        Ok(StoreDeleteReply { deleted: ids.iter().map(ToString::to_string).collect() })
    })
    .await
}

/// `store_gc`
pub async fn gc(manager: &Arc<Manager>, call: StoreGc, events: &Events) -> Result<StoreGcReply> {
    if !call.dry_run {
        manager.drop_implicit_baselines().await?;
    }
    let (manager, events) = (manager.clone(), events.clone());
    blocking(move |cancelled| {
        let options = GcOptions {
            dry_run: call.dry_run,
            grace: Duration::from_secs(call.grace_seconds),
            ..GcOptions::default()
        };
        let report =
            manager.collect(&options, &StoreProgress::new(&events, "collect", cancelled))?;
        Ok(StoreGcReply {
            dry_run: report.dry_run,
            pack_count: report.packs,
            pack_bytes: report.bytes,
            object_count: report.objects,
            unused_object_count: report.objects_unused,
            unused_bytes: report.bytes_unused,
            reclaimable_bytes: report.bytes_reclaimable,
            reclaimed_bytes: report.bytes_reclaimed,
            packs_removed: report.packs_removed,
            packs_rewritten: report.packs_rewritten,
            packs_in_use: report.packs_in_use,
        })
    })
    .await
}

/// `store_rebuild_index`
pub async fn rebuild_index(manager: &Manager) -> Result<StoreRebuildIndexReply> {
    let store = manager.store();
    blocking(move |_| {
        let report = store.rebuild_index()?;
        Ok(StoreRebuildIndexReply {
            pack_count: report.packs,
            object_count: report.objects,
            damage: report.damaged_packs.iter().map(unusable).collect(),
        })
    })
    .await
}
