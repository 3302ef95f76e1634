//! The store.

use std::collections::HashMap;

use pyro_api::{
    ArtifactType, BaselineSummary, BaselineUsage, StoreCheckoutReply, StoreDeleteReply, StoreEntry,
    StoreExportBundleReply, StoreFindChunkReply, StoreGcReply, StoreImportBundleReply,
    StoreIngestReply, StoreListReply, StoreLsReply, StoreMountReply, StoreRebuildIndexReply,
    StoreStatsReply, StoreUsageReply, StoreVerifyReply,
};

use crate::args::StoreTreeArgs;

use super::{count, fields, or_dash, short, shown, shown_path, size, table};

/// Paths that a damage reaches and that are named; JSON has more.
const REACHED_SHOWN: usize = 20;

/// `pyro store ingest`
pub fn ingested(reply: &StoreIngestReply) -> String {
    let entries = count(reply.entry_count, "entry", "entries");
    let chunks = count(reply.chunks_stored, "chunk", "chunks");
    fields([
        ("baseline", reply.baseline.clone()),
        ("tree", reply.tree.clone()),
        ("content", format!("{entries}, {}", size(reply.bytes_total))),
        ("new in the store", format!("{chunks}, {}", size(reply.bytes_stored))),
        ("took", format!("{} ms", reply.duration_ms)),
    ])
}

/// `pyro store checkout`
pub fn checked_out(reply: &StoreCheckoutReply) -> String {
    let entries = count(reply.entry_count, "entry", "entries");
    let at = shown(&reply.output_path.lossy());
    format!("wrote {at}: {entries}, {}\n", size(reply.bytes_written))
}

/// `pyro store list`
pub fn list(reply: &StoreListReply) -> String {
    let head = ["BASELINE", "CREATED", "ENTRIES", "SIZE", "SOURCE"];
    let row = |baseline: &BaselineSummary| {
        vec![
            short(&baseline.baseline),
            baseline.created_at.clone(),
            baseline.entry_count.to_string(),
            size(baseline.bytes_total),
            shown(&baseline.source),
        ]
    };
    rows(&head, reply.baselines.iter().map(row))
}

/// `pyro store ls`
pub fn ls(reply: &StoreLsReply) -> String {
    let row = |entry: &StoreEntry| {
        let (kind, suffix) = match entry.artifact_type {
            ArtifactType::File => ("-", String::new()),
            ArtifactType::Directory => ("d", "/".to_owned()),
            ArtifactType::Symlink => {
                let target = entry.target.as_deref().unwrap_or_default();
                ("l", format!(" -> {}", shown(target)))
            }
        };
        vec![
            format!("{kind} {:>3}", entry.mode),
            format!("{:>12}", or_dash(entry.size)),
            entry.mtime.clone(),
            shown_path(&entry.path, entry.path_b64.as_deref()) + &suffix,
        ]
    };
    table(reply.entries.iter().map(row).collect())
}

/// `pyro store stats`
pub fn stats(reply: &StoreStatsReply) -> String {
    let packs = count(reply.pack_count, "file", "files");
    let chunks = count(reply.chunk_count, "chunk", "chunks");
    let mut text = fields([
        ("path", shown(&reply.path.lossy())),
        ("baselines", reply.baseline_count.to_string()),
        ("content shown", size(reply.baseline_bytes)),
        ("content stored", format!("{} in {chunks}", size(reply.chunk_bytes))),
        ("packs on disk", format!("{} in {packs}", size(reply.pack_bytes))),
        ("objects", reply.object_count.to_string()),
        ("deduplication", format!("{:.2} : 1", reply.dedup_ratio)),
        ("compression", format!("{:.2} : 1", reply.compression_ratio)),
    ]);
    if !reply.baselines.is_empty() {
        let head = ["BASELINE", "SHOWN", "STORED", "UNIQUE", "DEDUP", "COMPRESSION", "SOURCE"];
        let row = |usage: &BaselineUsage| {
            vec![
                short(&usage.baseline),
                size(usage.bytes_total),
                size(usage.stored_bytes),
                size(usage.unique_bytes),
                format!("{:.2}", usage.dedup_ratio),
                format!("{:.2}", usage.compression_ratio),
                shown(&usage.source),
            ]
        };
        text += "\n";
        text += &rows(&head, reply.baselines.iter().map(row));
    }
    text
}

fn rows(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|title| (*title).to_owned()).collect();
    table([head].into_iter().chain(rows).collect())
}

/// `pyro store du`
pub fn du(reply: &StoreUsageReply) -> String {
    let row = |usage: &BaselineUsage| {
        vec![
            short(&usage.baseline),
            size(usage.bytes_total),
            size(usage.stored_bytes),
            size(usage.unique_bytes),
            size(usage.shared_bytes),
            shown(&usage.source),
        ]
    };
    let head = ["BASELINE", "SHOWN", "STORED", "UNIQUE", "SHARED", "SOURCE"];
    rows(&head, reply.baselines.iter().map(row))
}

/// `pyro store log`
pub fn log(reply: &StoreUsageReply) -> String {
    let row = |usage: &BaselineUsage| {
        let owner = if usage.implicit { " (a workspace's)" } else { "" };
        vec![
            usage.created_at.clone(),
            short(&usage.baseline),
            usage.entry_count.to_string(),
            size(usage.bytes_total),
            format!("+{}", size(usage.added_bytes)),
            shown(&usage.source) + owner,
        ]
    };
    let head = ["CREATED", "BASELINE", "ENTRIES", "SHOWN", "ADDED", "SOURCE"];
    rows(&head, reply.baselines.iter().map(row))
}

/// `pyro store find-chunk`
pub fn found(reply: &StoreFindChunkReply) -> String {
    let mut text = String::new();
    for object in &reply.objects {
        let damaged = if object.damaged { ", DAMAGED" } else { "" };
        text += &format!("{} {}{damaged}\n", object.kind, object.id);
        let (bytes, stored) = (size(object.bytes), size(object.stored_bytes));
        text += &format!("  {bytes}, {stored} in frame {} of {}\n", object.frame, object.pack);
    }
    for path in &reply.needed_by {
        text += &format!("needed by {}\n", shown(path));
    }
    if reply.needed_by.is_empty() {
        text += "no baseline needs it\n";
    }
    if reply.truncated {
        text += "there are more\n";
    }
    text
}

/// `pyro store mount`
pub fn mounted(reply: &StoreMountReply) -> String {
    let at = shown(&reply.mount_path.lossy());
    format!("mounted {} on {at}; Ctrl-C unmounts\n", short(&reply.baseline))
}

/// `pyro store export-bundle`
pub fn exported(reply: &StoreExportBundleReply) -> String {
    let at = shown(&reply.output_path.lossy());
    let baselines = count(reply.baselines.len() as u64, "baseline", "baselines");
    let objects = count(reply.object_count, "object", "objects");
    format!("wrote {at}: {baselines}, {objects}, {}\n", size(reply.bytes_written))
}

/// `pyro store import-bundle`
pub fn imported(reply: &StoreImportBundleReply) -> String {
    let line = |id: &String| {
        let known = if reply.known.contains(id) { " (known already)" } else { "" };
        format!("imported {id}{known}\n")
    };
    let added = format!("added to the packs: {}\n", size(reply.bytes_stored));
    reply.baselines.iter().map(line).collect::<String>() + &added
}

/// `pyro store delete`
pub fn deleted(reply: &StoreDeleteReply) -> String {
    reply.deleted.iter().map(|baseline| format!("forgot {baseline}\n")).collect()
}

/// `pyro store gc`
pub fn collected(reply: &StoreGcReply) -> String {
    let unused = count(reply.unused_object_count, "object", "objects");
    let mut lines = vec![
        ("packs", format!("{} in {}", size(reply.pack_bytes), reply.pack_count)),
        ("unused", format!("{} in {unused}", size(reply.unused_bytes))),
    ];
    let packs = format!("{} removed, {} written again", reply.packs_removed, reply.packs_rewritten);
    if reply.dry_run {
        lines.push(("would free", size(reply.reclaimable_bytes)));
        lines.push(("plan", packs));
    } else {
        let freed = u64::try_from(reply.reclaimed_bytes).unwrap_or(0);
        lines.push(("freed", size(freed)));
        lines.push(("done", packs));
    }
    if reply.packs_in_use > 0 {
        lines.push(("kept whole", format!("{} young or in use", reply.packs_in_use)));
    }
    fields(lines)
}

/// `pyro store rebuild-index`
pub fn rebuilt(reply: &StoreRebuildIndexReply) -> String {
    let objects = count(reply.object_count, "object", "objects");
    let packs = count(reply.pack_count, "pack", "packs");
    let mut text = format!("indexed {objects} in {packs}\n");
    for damage in &reply.damage {
        let pack = damage.pack.as_deref().unwrap_or_default();
        text += &format!("DAMAGED: {} (pack {})\n", damage.message, shown(pack));
    }
    text
}

/// Leaves out what lies deeper than was asked for.
pub fn to_depth(mut reply: StoreLsReply, args: &StoreTreeArgs) -> StoreLsReply {
    let Some(depth) = args.depth else { return reply };
    let levels = |path: &str| path.split('/').filter(|name| !name.is_empty()).count();
    let top = args.path.as_ref().map_or(0, |path| levels(&path.to_string_lossy()));
    reply.entries.retain(|entry| levels(&entry.path) <= top + depth);
    reply
}

/// `pyro store tree`
pub fn tree(reply: &StoreLsReply, args: &StoreTreeArgs) -> String {
    let top = args.path.as_ref().map_or(".".into(), |path| path.to_string_lossy());
    let mut text = shown(&top) + "\n";
    let parent =
        |entry: &StoreEntry| entry.path.rfind('/').map_or("", |at| &entry.path[..at]).to_owned();
    // The last entry of each directory closes its line.
    let mut last = HashMap::new();
    for (at, entry) in reply.entries.iter().enumerate() {
        last.insert(parent(entry), at);
    }
    let skipped = reply.entries.first().map_or(0, |entry| entry.path.matches('/').count());
    for (at, entry) in reply.entries.iter().enumerate() {
        let names: Vec<&str> = entry.path.split('/').collect();
        let mut line = String::new();
        for level in skipped + 1..names.len() {
            // Whether the directory above has more entries below this one.
            let above = names[..level].join("/");
            let end = above.rfind('/').map_or("", |at| &above[..at]);
            let open = last.get(end).is_some_and(|last| *last > at);
            line += if open { "│   " } else { "    " };
        }
        line += if last.get(&parent(entry)) == Some(&at) { "└── " } else { "├── " };
        line += &shown(names.last().copied().unwrap_or_default());
        match entry.artifact_type {
            ArtifactType::Directory => line.push('/'),
            ArtifactType::Symlink => {
                line += &format!(" -> {}", shown(entry.target.as_deref().unwrap_or_default()));
            }
            ArtifactType::File => {}
        }
        text += &(line + "\n");
    }
    text
}

/// `pyro store verify`
pub fn verified(reply: &StoreVerifyReply) -> String {
    let mut text = String::new();
    for damage in &reply.damage {
        let place = [("object", &damage.object), ("pack", &damage.pack)];
        let place = place.into_iter().filter_map(|(what, which)| {
            which.as_deref().map(|which| format!(" ({what} {})", shown(which)))
        });
        text += &format!("DAMAGED: {}{}\n", damage.message, place.collect::<String>());
        for path in damage.reaches.iter().take(REACHED_SHOWN) {
            text += &format!("  reaches {}\n", shown(path));
        }
        if damage.reaches.len() > REACHED_SHOWN {
            let more = damage.reaches.len() - REACHED_SHOWN;
            text += &format!("  reaches {more} more; --json lists them\n");
        }
    }
    let read = format!(
        "{} in {}, {}",
        count(reply.object_count, "object", "objects"),
        count(reply.pack_count, "pack", "packs"),
        size(reply.bytes_checked)
    );
    if reply.healed_count > 0 {
        let copies = count(reply.healed_count, "damaged copy", "damaged copies");
        text +=
            &format!("{copies} of objects that are sound elsewhere; 'pyro store gc' drops them\n");
    }
    text += &match reply.damage.len() {
        0 if reply.clean => format!("clean: {read}\n"),
        n => format!("{} found: {read}\n", count(n as u64, "damage", "damages")),
    };
    text
}
