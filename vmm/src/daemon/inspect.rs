//! Calls about the store: no VM takes part.

use std::sync::Arc;

use jiff::Timestamp;
use pyro_api::{
    BaselineSummary, BytesText, Damage, OutputStream, StoreCat, StoreCatReply, StoreCheckout,
    StoreCheckoutReply, StoreDiff, StoreDiffReply, StoreEntry, StoreIngest, StoreIngestReply,
    StoreListReply, StoreLs, StoreLsReply, StoreStatsReply, StoreVerifyReply,
};
use pyro_format::{BaselineId, Node, TreePath, escape};
use pyro_store::{
    BaselineRecord, CheckoutItem, CheckoutOptions, DamagedPack, IngestSource, Kind, Store,
    VerifyReport,
};

use super::usage;
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, Unwatched, blocking};
use crate::manager::Manager;
use crate::seed;
use crate::workspace::{diff::deltas, entries, nodes::StoredNodes, path, renames};

/// Shortest prefix that names a baseline or an object.
const MIN_PREFIX: usize = 4;
/// Bytes in one piece of a file.
const PIECE: usize = 256 << 10;

/// `store_ingest`
pub async fn ingest(
    manager: &Arc<Manager>,
    call: StoreIngest,
    events: &Events,
) -> Result<StoreIngestReply> {
    let (manager, events) = (manager.clone(), events.clone());
    blocking(move |cancelled| {
        let source = IngestSource::detect(&seed::absolute(&call.source_path, "source path")?)?;
        let progress = StoreProgress::new(&events, "ingest", cancelled);
        let report = manager.store().ingest(&source, &seed::options(&call.seed), &progress)?;
        manager.mend(&progress)?;
        Ok(StoreIngestReply {
            baseline: report.baseline.to_string(),
            tree: report.root.to_string(),
            entry_count: report.entry_count,
            bytes_total: report.bytes_total,
            bytes_stored: report.stored_bytes,
            chunks_stored: report.chunks_new,
            skipped: seed::skipped(&report),
            warnings: seed::warnings(&report),
            duration_ms: report.duration.as_millis() as u64,
        })
    })
    .await
}

/// `store_checkout`
pub async fn checkout(
    manager: &Manager,
    call: StoreCheckout,
    events: &Events,
) -> Result<StoreCheckoutReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        let output = seed::absolute(&call.output_path, "output path")?;
        let baseline = find(&store, &call.baseline)?;
        let progress = StoreProgress::new(&events, "write", cancelled);
        let options = CheckoutOptions { force: call.force, durable: !call.no_sync };
        let path = tree_path(call.path.as_ref())?;
        let report = store.checkout_baseline(baseline.id, &path, &output, &options, &progress)?;
        Ok(StoreCheckoutReply {
            output_path: call.output_path,
            entry_count: report.entry_count,
            bytes_written: report.bytes_written,
        })
    })
    .await
}

/// `store_list`
pub async fn list(manager: &Manager) -> Result<StoreListReply> {
    let store = manager.store();
    let summary = |record: BaselineRecord| BaselineSummary {
        baseline: record.id.to_string(),
        tree: record.root.to_string(),
        source: record.source.to_string(),
        created_at: usage::created_at(&record),
        entry_count: record.entry_count,
        bytes_total: record.bytes_total,
    };
    let records = blocking(move |_| Ok(store.baselines()?)).await?;
    Ok(StoreListReply { baselines: records.into_iter().map(summary).collect() })
}

/// `store_ls`
pub async fn ls(manager: &Manager, call: StoreLs) -> Result<StoreLsReply> {
    let store = manager.store();
    blocking(move |_| {
        let baseline = find(&store, &call.baseline)?;
        let top = tree_path(call.path.as_ref())?;
        let item = store.resolve(&store.baseline_item(baseline.id)?, &top)?;
        let mut listed = Vec::new();
        if matches!(item.node, Node::Dir { .. }) {
            let mut dirs = vec![top];
            while let Some(dir) = dirs.pop() {
                for child in store.ls(baseline.id, &dir)? {
                    let path = dir.join(&child.name);
                    if call.recursive && matches!(child.item.node, Node::Dir { .. }) {
                        dirs.push(path.clone());
                    }
                    listed.push((path, child.item));
                }
            }
            listed.sort_by(|a, b| a.0.cmp(&b.0));
        } else {
            listed.push((top, item));
        }
        let entries = listed.iter().map(|(path, item)| entry(path, item)).collect();
        Ok(StoreLsReply { baseline: baseline.id.to_string(), entries })
    })
    .await
}

fn entry(path: &TreePath, item: &CheckoutItem) -> StoreEntry {
    let mtime = item.times.and_then(|times| {
        Timestamp::new(times.mtime.secs, times.mtime.nanos.try_into().ok()?).ok()
    });
    StoreEntry {
        path: String::from_utf8_lossy(path.as_bytes()).into_owned(),
        path_b64: entries::b64(path.as_bytes()),
        artifact_type: entries::kind(&item.node),
        mode: entries::mode(&item.node).map_or_else(|| "777".to_owned(), entries::octal),
        size: entries::size(&item.node),
        hash: match &item.node {
            Node::Dir { tree, .. } => Some(tree.to_string()),
            node => entries::hash(node),
        },
        target: entries::target(&item.node).map(|target| escape(target.as_bytes())),
        mtime: mtime.map(|mtime| mtime.to_string()).unwrap_or_default(),
    }
}

/// `store_cat`
pub async fn cat(manager: &Manager, call: StoreCat, events: &Events) -> Result<StoreCatReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |_| {
        let baseline = find(&store, &call.baseline)?;
        let path = tree_path(Some(&call.path))?;
        let item = store.resolve(&store.baseline_item(baseline.id)?, &path)?;
        let Node::File { size, content, .. } = item.node else {
            return Err(pyro_store::Error::WrongKind { path, wanted: "regular file" }.into());
        };
        let mut offset = 0;
        while offset < size {
            let data = store.read_file_range(content, size, offset, PIECE)?;
            if data.is_empty() || !events.blocking_output(OutputStream::Stdout, offset, &data) {
                return Err(Error::Cancelled);
            }
            offset += data.len() as u64;
        }
        Ok(StoreCatReply { size, hash: content.to_string() })
    })
    .await
}

/// `store_diff`
pub async fn diff(manager: &Manager, call: StoreDiff) -> Result<StoreDiffReply> {
    let store = manager.store();
    blocking(move |_| {
        let (old, new) = (find(&store, &call.old)?, find(&store, &call.new)?);
        let roots = (store.get_root(old.root)?, store.get_root(new.root)?);
        let deltas = deltas(&StoredNodes(&store), &roots.0, &roots.1)?;
        let moves = renames::find(&deltas);
        let listed: Vec<_> = deltas.iter().map(|delta| entries::entry(delta, &moves)).collect();
        Ok(StoreDiffReply {
            old: old.id.to_string(),
            new: new.id.to_string(),
            changed: !listed.is_empty(),
            summary: entries::summary(&listed),
            entries: listed,
            renames: entries::renames(&moves),
        })
    })
    .await
}

/// `store_stats`
pub async fn stats(manager: &Manager) -> Result<StoreStatsReply> {
    let store = manager.store();
    blocking(move |cancelled| {
        let stats = store.stats()?;
        let chunks = stats.kinds.iter().find(|kind| kind.kind == Kind::Chunk);
        let baselines = usage::all(&store, &Unwatched(cancelled))?;
        let baseline_bytes = baselines.iter().map(|usage| usage.bytes_total).sum();
        let chunk_bytes = chunks.map_or(0, |chunks| chunks.bytes);
        Ok(StoreStatsReply {
            path: store.dir().into(),
            baseline_count: baselines.len() as u64,
            pack_count: stats.packs,
            pack_bytes: stats.stored_bytes,
            object_count: stats.objects,
            chunk_count: chunks.map_or(0, |chunks| chunks.objects),
            chunk_bytes,
            baseline_bytes,
            dedup_ratio: usage::ratio(baseline_bytes, chunk_bytes),
            compression_ratio: usage::ratio(
                stats.kinds.iter().map(|kind| kind.bytes).sum(),
                stats.stored_bytes,
            ),
            baselines,
        })
    })
    .await
}

/// `store_verify`
pub async fn verify(manager: &Manager, events: &Events) -> Result<StoreVerifyReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        let progress = StoreProgress::new(&events, "verify", cancelled);
        let report = store.verify(&progress)?;
        Ok(StoreVerifyReply {
            clean: report.is_clean(),
            pack_count: report.packs,
            object_count: report.objects,
            bytes_checked: report.bytes,
            healed_count: report.healed_objects.len() as u64,
            damage: damage(&report),
        })
    })
    .await
}

fn damage(report: &VerifyReport) -> Vec<Damage> {
    let packs = report.damaged_packs.iter().map(unusable);
    let baselines = report.broken_baselines.iter().map(|broken| {
        let (baseline, reason) = (broken.baseline, &broken.reason);
        let message = format!("the record of baseline {baseline} is damaged: {reason}");
        Damage { message, object: None, pack: None, reaches: Vec::new() }
    });
    let objects = report.damaged_objects.iter().map(|object| Damage {
        message: format!("damaged {:?} {}: {}", object.kind, object.id, object.reason),
        object: Some(format!("{:?} {}", object.kind, object.id).to_lowercase()),
        pack: Some(object.pack.display().to_string()),
        reaches: reaches(report, &object.id),
    });
    let mut listed: Vec<Damage> = packs.chain(baselines).chain(objects).collect();
    let mut missing: Vec<&str> = Vec::new();
    for broken in &report.broken_paths {
        let known = report.damaged_objects.iter().any(|object| object.id == broken.id);
        if !known && !missing.contains(&broken.id.as_str()) {
            missing.push(&broken.id);
            listed.push(Damage {
                message: format!("missing {:?} {}", broken.kind, broken.id),
                object: Some(format!("{:?} {}", broken.kind, broken.id).to_lowercase()),
                pack: None,
                reaches: reaches(report, &broken.id),
            });
        }
    }
    listed
}

/// A pack that cannot be used.
pub fn unusable(pack: &DamagedPack) -> Damage {
    Damage {
        message: format!("the pack is unusable: {}", pack.reason),
        object: None,
        pack: Some(pack.path.display().to_string()),
        reaches: Vec::new(),
    }
}

fn reaches(report: &VerifyReport, id: &str) -> Vec<String> {
    let broken = report.broken_paths.iter().filter(|broken| broken.id == id);
    broken.map(|broken| format!("{}:{}", broken.baseline, broken.path)).collect()
}

/// Refuses what cannot be the beginning of an id.
pub fn check_prefix(text: &str, what: &str) -> Result<()> {
    let hex = text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if (MIN_PREFIX..=64).contains(&text.len()) && hex {
        return Ok(());
    }
    let shown = escape(text.as_bytes());
    Err(Error::Invalid(format!("'{shown}' is not {what}: give 4 to 64 hex digits of its id")))
}

/// The baseline that an id, or the beginning of one, names.
pub fn find(store: &Store, text: &str) -> Result<BaselineRecord> {
    if let Ok(id) = text.parse::<BaselineId>() {
        return Ok(store.baseline(id)?);
    }
    check_prefix(text, "a baseline")?;
    let ids = store.baseline_ids()?;
    let mut found = ids.into_iter().filter(|id| id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(store.baseline(id)?),
        (None, _) => Err(Error::UnknownBaseline(text.to_owned())),
        (Some(_), Some(_)) => Err(Error::Invalid(format!("several baselines begin with '{text}'"))),
    }
}

/// The ids of all baselines that are named.
pub fn find_all(store: &Store, texts: &[String]) -> Result<Vec<BaselineId>> {
    texts.iter().map(|text| Ok(find(store, text)?.id)).collect()
}

fn tree_path(path: Option<&BytesText>) -> Result<TreePath> {
    match path {
        Some(path) => path::parse(&path.0),
        None => Ok(TreePath::root()),
    }
}
