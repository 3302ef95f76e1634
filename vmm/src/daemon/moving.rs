//! Calls that bring baselines elsewhere: bundles and mounts.

use std::time::Duration;

use pyro_api::{
    OutputStream, StoreExportBundle, StoreExportBundleReply, StoreImportBundle,
    StoreImportBundleReply, StoreMount, StoreMountReply,
};
use pyro_format::BaselineId;

use super::inspect::{find, find_all};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::manager::Manager;
use crate::seed;

/// How often a mount is looked after: somebody else may unmount it.
const LOOK: Duration = Duration::from_millis(500);

fn texts(ids: &[BaselineId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// `store_export_bundle`
pub async fn export_bundle(
    manager: &Manager,
    call: StoreExportBundle,
    events: &Events,
) -> Result<StoreExportBundleReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        let output = seed::absolute(&call.output_path, "output path")?;
        let ids = find_all(&store, &call.baselines)?;
        let progress = StoreProgress::new(&events, "export", cancelled);
        let report = store.export_bundle(&ids, &output, call.force, &progress)?;
        Ok(StoreExportBundleReply {
            output_path: call.output_path,
            baselines: texts(&report.baselines),
            object_count: report.objects,
            bytes_written: report.bytes,
        })
    })
    .await
}

/// `store_import_bundle`
pub async fn import_bundle(
    manager: &Manager,
    call: StoreImportBundle,
    events: &Events,
) -> Result<StoreImportBundleReply> {
    let (store, events) = (manager.store(), events.clone());
    blocking(move |cancelled| {
        let path = seed::absolute(&call.path, "path")?;
        let progress = StoreProgress::new(&events, "import", cancelled);
        let report = store.import_bundle(&path, &progress)?;
        Ok(StoreImportBundleReply {
            baselines: texts(&report.baselines),
            known: texts(&report.known),
            object_count: report.objects,
            bytes_stored: report.stored_bytes,
        })
    })
    .await
}

/// `store_mount`
pub async fn mount(
    manager: &Manager,
    call: StoreMount,
    events: &Events,
) -> Result<StoreMountReply> {
    let store = manager.store();
    let (mount, reply) = blocking(move |_| {
        let dir = seed::absolute(&call.mount_path, "directory")?;
        let baseline = find(&store, &call.baseline)?.id;
        let mount = store.mount(baseline, &dir)?;
        let reply =
            StoreMountReply { baseline: baseline.to_string(), mount_path: mount.dir().into() };
        Ok((mount, reply))
    })
    .await?;
    let json = serde_json::to_vec(&reply).map_err(|error| Error::Panicked(error.to_string()))?;
    events.output(OutputStream::Stdout, 0, &json).await;
    // Ends with the caller, too: then this is dropped, and with it the mount.
    let closing = manager.closing();
    while mount.is_mounted() {
        tokio::select! {
            () = closing.wait() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    drop(mount);
    Ok(reply)
}
