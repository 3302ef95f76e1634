//! The store.

use pyro_api::{
    ArtifactType, BaselineSummary, StoreCheckoutReply, StoreEntry, StoreIngestReply,
    StoreListReply, StoreLsReply, StoreStatsReply, StoreVerifyReply,
};

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
    let head = ["BASELINE", "CREATED", "ENTRIES", "SIZE", "SOURCE"].map(String::from).to_vec();
    let row = |baseline: &BaselineSummary| {
        vec![
            short(&baseline.baseline),
            baseline.created_at.clone(),
            baseline.entry_count.to_string(),
            size(baseline.bytes_total),
            shown(&baseline.source),
        ]
    };
    table([head].into_iter().chain(reply.baselines.iter().map(row)).collect())
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
    fields([
        ("path", shown(&reply.path.lossy())),
        ("baselines", reply.baseline_count.to_string()),
        ("content shown", size(reply.baseline_bytes)),
        ("content stored", format!("{} in {chunks}", size(reply.chunk_bytes))),
        ("packs on disk", format!("{} in {packs}", size(reply.pack_bytes))),
        ("objects", reply.object_count.to_string()),
    ])
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
    text += &match reply.damage.len() {
        0 if reply.clean => format!("clean: {read}\n"),
        n => format!("{} found: {read}\n", count(n as u64, "damage", "damages")),
    };
    text
}
