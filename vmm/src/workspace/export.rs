//! Taking parts of `/workspace` out: verified, whole or not at all.
//!
//! One path becomes what it is. Several, or only what changed, become a directory or an archive in
//! which they are where they were.

use std::io::{self, Write};
use std::path::PathBuf;

use pyro_api::{ArtifactType, BytesText, Export, ExportReply, OutputStream};
use pyro_format::{Delta, TreePath, escape};
use pyro_store::{CheckoutOptions, CheckoutReport, Store};

use super::capture::{Captured, Content};
use super::merge::TimedTree;
use super::nodes::item;
use super::select::Selection;
use super::{Workspace, entries, hazards, path};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::seed;

/// Bytes of an archive in one event.
const PIECE: usize = 256 << 10;

/// Where it goes.
enum Output {
    Tree(PathBuf),
    Archive(PathBuf),
    /// An archive, to the caller.
    Stream,
}

impl Workspace {
    /// Writes parts of `/workspace`, as it is now or as it was in a tree that was shown, to the host.
    pub async fn export(&self, call: &Export, events: &Events) -> Result<ExportReply> {
        let texts = std::iter::once(&call.path).chain(&call.more);
        let paths = texts.map(|text| path::parse(&text.0)).collect::<Result<Vec<_>>>()?;
        let output = output(call)?;
        let _hold = self.store.hold();
        let content = Content::Below(paths.clone());
        let (name, freeze) = (call.tree.as_deref(), !call.no_freeze);
        let captured = self.obtain(name, content, freeze, events).await?;
        let Captured { tree, deltas, skipped, stats, .. } = captured;
        let below = |delta: &&Delta| paths.iter().any(|top| delta.path.starts_with(top));
        let warnings = paths.iter().flat_map(|path| hazards::warnings(&deltas, path)).collect();
        let gone = deltas.iter().filter(below).filter(|delta| call.changed && delta.new.is_none());
        let deleted = gone.map(|delta| escape(delta.path.as_bytes())).collect();
        let selection = match (call.changed, &paths[..]) {
            (true, paths) => Some(Selection::of_changes(&deltas, paths)),
            (false, [_]) => None,
            (false, paths) => Some(Selection::of_paths(paths)),
        };
        let single = paths[0].clone();
        let (store, force, events) = (self.store.clone(), call.force, events.clone());
        let (kind, written) = blocking(move |cancelled| {
            let progress = StoreProgress::new(&events, "write", cancelled);
            let (tree, path) = match selection {
                Some(selection) => (selection.take(&store, &tree.into())?, TreePath::root()),
                None => (tree.into(), single),
            };
            write(&store, &tree, &path, &output, force, &progress, &events)
        })
        .await?;
        let absolute = path::absolute(&paths[0]);
        Ok(ExportReply {
            workspace_id: self.id(),
            workspace_path: String::from_utf8_lossy(&absolute).into_owned(),
            workspace_path_b64: entries::b64(&absolute),
            output_path: call.output_path.clone().unwrap_or_else(|| BytesText::from("-")),
            artifact_type: kind,
            entry_count: written.entry_count,
            bytes_written: written.bytes_written,
            bytes_fetched: stats.fetched_bytes,
            tree: tree.id.to_string(),
            frozen: stats.frozen,
            paused_us: stats.paused_us,
            deleted,
            skipped,
            warnings,
            execution_mode: self.record().backend.name().to_owned(),
        })
    }
}

fn output(call: &Export) -> Result<Output> {
    let Some(to) = &call.output_path else {
        let text = "only an archive can be sent to the caller: name an output path";
        return if call.archive {
            Ok(Output::Stream)
        } else {
            Err(Error::Invalid(text.to_owned()))
        };
    };
    let to = seed::absolute(to, "output path")?;
    if !call.force && to.symlink_metadata().is_ok() {
        return Err(pyro_store::Error::Exists(to).into());
    }
    Ok(if call.archive { Output::Archive(to) } else { Output::Tree(to) })
}

/// Writes what a tree has at a path.
fn write(
    store: &Store,
    tree: &TimedTree,
    path: &TreePath,
    output: &Output,
    force: bool,
    progress: &StoreProgress,
    events: &Events,
) -> Result<(ArtifactType, CheckoutReport)> {
    let mut taken = store.resolve(&item(tree), path)?;
    let kind = entries::kind(&taken.node);
    // An archive of one file holds it under its name.
    if kind != ArtifactType::Directory && !matches!(output, Output::Tree(_)) {
        let alone = Selection::of_paths(std::slice::from_ref(path)).take(store, tree)?;
        let parent = path.ancestors().next().unwrap_or_default();
        taken = store.resolve(&item(&alone), &parent)?;
    }
    let written = match output {
        Output::Tree(to) => {
            let options = CheckoutOptions { force, ..CheckoutOptions::default() };
            store.checkout(&taken, to, &options, progress)?
        }
        Output::Archive(to) => store.archive_to(&taken, to, force, progress)?,
        Output::Stream => {
            let mut out = io::BufWriter::with_capacity(PIECE, Sent { events, offset: 0 });
            let report = store.archive(&taken, &mut out, progress)?;
            out.flush().map_err(|_| Error::Cancelled)?;
            report
        }
    };
    Ok((kind, written))
}

/// Writes to the caller.
struct Sent<'a> {
    events: &'a Events,
    offset: u64,
}

impl Write for Sent<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(PIECE) {
            if !self.events.blocking_output(OutputStream::Stdout, self.offset, piece) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.offset += piece.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
