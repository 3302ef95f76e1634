//! Calls about the small kernel.

use pyro_api::{KernelBuild, KernelInfo, KernelReply};
use pyro_image::Kernel;

use crate::error::{Error, Result};
use crate::events::{Events, PullProgress, blocking};
use crate::manager::Manager;

/// [`KernelBuild`]
pub async fn build(manager: &Manager, call: KernelBuild, events: &Events) -> Result<KernelReply> {
    let (catalog, events) = (manager.catalog(), events.clone());
    blocking(move |cancelled| {
        let kernel = catalog.build_kernel(call.force, &PullProgress::new(&events, cancelled))?;
        Ok(KernelReply { small: Some(info(kernel)?), removed: false })
    })
    .await
}

/// [`pyro_api::KernelShow`]
pub async fn show(manager: &Manager) -> Result<KernelReply> {
    let catalog = manager.catalog();
    blocking(move |_| {
        let small = catalog.small_kernel()?.map(info).transpose()?;
        Ok(KernelReply { small, removed: false })
    })
    .await
}

/// [`pyro_api::KernelRemove`]
pub async fn remove(manager: &Manager, events: &Events) -> Result<KernelReply> {
    let (catalog, events) = (manager.catalog(), events.clone());
    blocking(move |cancelled| {
        let removed = catalog.remove_kernel(&PullProgress::new(&events, cancelled))?;
        Ok(KernelReply { small: None, removed })
    })
    .await
}

fn info(kernel: Kernel) -> Result<KernelInfo> {
    let meta = kernel.vmlinux.metadata().map_err(Error::io("read", &kernel.vmlinux))?;
    Ok(KernelInfo {
        version: kernel.version,
        release: kernel.release,
        path: kernel.vmlinux.display().to_string(),
        size_bytes: meta.len(),
    })
}
