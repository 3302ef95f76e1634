//! Taking a part of `/workspace` out: verified, whole or not at all.

use pyro_api::{Export, ExportReply};
use pyro_format::TimesEntry;
use pyro_store::{CheckoutItem, CheckoutOptions};

use super::capture::{Capture, Captured, Content};
use super::{Workspace, entries, hazards, path};
use crate::error::Result;
use crate::events::{Events, StoreProgress, blocking};
use crate::seed;

impl Workspace {
    /// Writes a path of `/workspace`, as it is now or as it was in a tree that was reviewed, to
    /// the host.
    pub async fn export(&self, call: &Export, events: &Events) -> Result<ExportReply> {
        let path = path::parse(&call.path.0)?;
        let output = seed::absolute(&call.output_path, "output path")?;
        if !call.force && output.symlink_metadata().is_ok() {
            return Err(pyro_store::Error::Exists(output).into());
        }
        let _hold = self.store.hold();
        let content = Content::Below(path.clone());
        let captured = match &call.tree {
            Some(name) => {
                let _present = self.present().await?;
                self.named(name, &content).await?
            }
            None => {
                let _in_use = self.in_use().await?;
                let how = Capture { full: false, freeze: !call.no_freeze, content };
                self.capture(&how, events).await?.steady()?
            }
        };
        let Captured { tree, deltas, skipped, stats, .. } = captured;
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
        let absolute = path::absolute(&path);
        Ok(ExportReply {
            workspace_id: self.id(),
            workspace_path: String::from_utf8_lossy(&absolute).into_owned(),
            workspace_path_b64: entries::b64(&absolute),
            output_path: call.output_path.clone(),
            artifact_type: kind,
            entry_count: written.entry_count,
            bytes_written: written.bytes_written,
            bytes_fetched: stats.fetched_bytes,
            tree: tree.id.to_string(),
            frozen: stats.frozen,
            paused_us: stats.paused_us,
            skipped,
            warnings: hazards::warnings(&deltas, &path),
            execution_mode: self.record().backend.name().to_owned(),
        })
    }
}
