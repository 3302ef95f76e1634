//! Taking a part of `/workspace` out: verified, whole or not at all.

use pyro_api::{Export, ExportReply};
use pyro_format::{Delta, Node, RootId, TimesEntry, TreePath, escape};
use pyro_store::{CheckoutItem, CheckoutOptions};

use super::diff::deltas;
use super::merge::{ReportedFile, TimedTree};
use super::nodes::StoredNodes;
use super::{Workspace, entries, hazards, path, report};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::seed;

/// Times an export starts over because files changed between the report and the reading of them.
const TRIES: usize = 3;

impl Workspace {
    /// Writes a path of `/workspace`, as it is now or as it was in a tree that was reviewed, to
    /// the host.
    pub async fn export(&self, call: &Export, events: &Events) -> Result<ExportReply> {
        let path = path::parse(&call.path.0)?;
        let output = seed::absolute(&call.output_path, "output path")?;
        if !call.force && output.symlink_metadata().is_ok() {
            return Err(pyro_store::Error::Exists(output).into());
        }
        let wanted = call.tree.as_deref().map(parse_tree).transpose()?;
        let _in_use = self.in_use().await?;
        let _hold = self.store.hold();
        let mut tries = 0;
        let (tree, changes, skipped, fetched) = loop {
            tries += 1;
            events.progress("compare", "", 0, None);
            let (shown, _) = self.show(false).await?;
            let skipped = report::skipped(&shown.merged);
            let shown = self.remember(shown).await?;
            let current = shown.id();
            let (tree, changes) = match wanted {
                Some(wanted) if wanted != current => self.reviewed(wanted, current).await?,
                _ => (shown.merged.tree, shown.deltas),
            };
            let files = files_below(&changes, &path);
            events.progress("fetch", "", 0, None);
            let outcome = self.fetch(files, &changes).await?;
            match (outcome.unsteady.is_empty(), wanted) {
                (true, _) => break (tree, changes, skipped, outcome.bytes),
                // The guest no longer has what was reviewed, and the host never fetched it.
                (false, Some(wanted)) if wanted != current => {
                    return Err(Error::TreeChanged {
                        wanted: wanted.to_string(),
                        found: current.to_string(),
                        changed: outcome.unsteady,
                    });
                }
                (false, _) if tries >= TRIES => return Err(Error::Unsteady(outcome.unsteady)),
                (false, _) => {}
            }
        };
        let (store, from, to) = (self.store.clone(), path.clone(), output.clone());
        let (force, events) = (call.force, events.clone());
        let (kind, written) = blocking(move |cancelled| {
            let progress = StoreProgress::new(&events, "write", cancelled);
            let top = TimesEntry { mtime: tree.mtime, children: Some(tree.times) };
            let source = store.resolve(&CheckoutItem::root(&tree.root, Some(top)), &from)?;
            let kind = entries::kind(&source.node);
            let options = CheckoutOptions { force, ..CheckoutOptions::default() };
            Ok((kind, store.checkout(&source, &to, &options, &progress)?))
        })
        .await?;
        if path.is_root() {
            self.update(|record| record.account(tree.root.id()))?;
        }
        let absolute = path::absolute(&path);
        Ok(ExportReply {
            workspace_id: self.id(),
            workspace_path: String::from_utf8_lossy(&absolute).into_owned(),
            workspace_path_b64: entries::b64(&absolute),
            output_path: call.output_path.clone(),
            artifact_type: kind,
            entry_count: written.entry_count,
            bytes_written: written.bytes_written,
            bytes_fetched: fetched,
            tree: tree.root.id().to_string(),
            skipped,
            warnings: hazards::warnings(&changes, &path),
            execution_mode: self.record().backend.name().to_owned(),
        })
    }

    /// A tree that a diff has shown, and how it differs from the baseline.
    async fn reviewed(&self, wanted: RootId, current: RootId) -> Result<(TimedTree, Vec<Delta>)> {
        let record = self.record();
        let tree = record.reviewed.iter().find(|tree| tree.id == wanted).copied();
        let tree: TimedTree = tree
            .ok_or_else(|| Error::TreeChanged {
                wanted: wanted.to_string(),
                found: current.to_string(),
                changed: Vec::new(),
            })?
            .into();
        let (store, baseline) = (self.store.clone(), record.baseline_tree.root);
        let changes =
            blocking(move |_| Ok(deltas(&StoredNodes(&store), &baseline, &tree.root)?)).await?;
        Ok((tree, changes))
    }
}

fn parse_tree(text: &str) -> Result<RootId> {
    text.parse().map_err(|_| {
        let shown = escape(text.as_bytes());
        Error::Invalid(format!("'{shown}' is not a tree id: those have 64 hex digits"))
    })
}

/// Files that differ from the baseline, at `top` or below it: all that the store may lack.
fn files_below(changes: &[Delta], top: &TreePath) -> Vec<ReportedFile> {
    changes
        .iter()
        .filter(|delta| delta.path.starts_with(top))
        .filter_map(|delta| match delta.new {
            Some(Node::File { size, content, .. }) => {
                Some(ReportedFile { path: delta.path.clone(), size, content })
            }
            _ => None,
        })
        .collect()
}
