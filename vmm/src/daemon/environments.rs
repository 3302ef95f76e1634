//! Calls about environments.

use jiff::Timestamp;
use pyro_api::{
    EnvironmentDetail, EnvironmentInspect, EnvironmentList, EnvironmentListReply,
    EnvironmentOrigin, EnvironmentPrune, EnvironmentPruneReply, EnvironmentPull, EnvironmentRemove,
    EnvironmentState, EnvironmentSummary, Package,
};
use pyro_image::{EnvironmentInfo, Origin, PruneReport, PrunedKind};

use super::images;
use crate::error::Result;
use crate::events::{Events, PullProgress, blocking};
use crate::manager::Manager;

/// [`EnvironmentList`]
pub async fn list(manager: &Manager) -> Result<<EnvironmentList as pyro_api::Call>::Reply> {
    let catalog = manager.catalog();
    let listed = blocking(move |_| Ok(catalog.list()?)).await?;
    Ok(EnvironmentListReply { environments: listed.into_iter().map(summary).collect() })
}

/// [`EnvironmentPull`]
pub async fn pull(
    manager: &Manager,
    call: EnvironmentPull,
    events: &Events,
) -> Result<EnvironmentDetail> {
    if !pyro_image::is_built_here(&call.environment) {
        let reference = pyro_oci::parse_reference(&call.environment)?;
        let resolved = images::resolve(&reference, events).await?;
        return images::pull(manager, &reference.whole(), resolved, call.force, events).await;
    }
    if let Some(resolved) = images::resolve_own(&call.environment, events).await? {
        return images::pull(manager, &call.environment, resolved, call.force, events).await;
    }
    // It may have come from a registry before.
    let replaced = images::installed_baseline(manager, &call.environment);
    let (catalog, store, events) = (manager.catalog(), manager.store(), events.clone());
    let built = blocking(move |cancelled| {
        let progress = PullProgress::new(&events, cancelled);
        let environment = match call.force {
            true => catalog.refresh(&call.environment, &progress)?,
            false => match catalog.pull(&call.environment, &progress) {
                Ok(found) => found,
                Err(error) => {
                    images::restore(&catalog, &store, error)?;
                    catalog.resolve(&call.environment)?
                }
            },
        };
        catalog.ensure_scratch_template()?;
        Ok(detail(catalog.inspect(&environment.name)?))
    });
    let built = built.await?;
    images::forget_baselines(manager, replaced.into_iter().collect())?;
    Ok(built)
}

/// [`EnvironmentInspect`]
pub async fn inspect(manager: &Manager, call: EnvironmentInspect) -> Result<EnvironmentDetail> {
    let (catalog, name) = (manager.catalog(), manager.environment_name(&call.environment));
    blocking(move |_| Ok(detail(catalog.inspect(&name)?))).await
}

/// [`EnvironmentPrune`]
pub async fn prune(manager: &Manager, call: EnvironmentPrune) -> Result<EnvironmentPruneReply> {
    let (catalog, in_use) = (manager.catalog(), manager.images_in_use());
    let (images, dry_run) = (call.images, call.dry_run);
    let report = blocking(move |_| Ok(catalog.prune(&in_use, images, dry_run)?)).await?;
    let mut reply = pruned(manager, report)?;
    if images {
        let (count, bytes) = manager.clear_saved(dry_run).await?;
        reply.freed_bytes += bytes;
        reply.removed.extend((count > 0).then(|| format!("saved machines ({count})")));
    }
    Ok(reply)
}

/// [`EnvironmentRemove`]: with it goes whatever nothing needs any more.
pub async fn remove(
    manager: &Manager,
    call: EnvironmentRemove,
    events: &Events,
) -> Result<EnvironmentPruneReply> {
    let name = manager.environment_name(&call.environment);
    let (catalog, in_use, events) = (manager.catalog(), manager.images_in_use(), events.clone());
    let report = blocking(move |cancelled| {
        catalog.remove(&name, &PullProgress::new(&events, cancelled))?;
        Ok(catalog.prune(&in_use, false, false)?)
    });
    pruned(manager, report.await?)
}

fn pruned(manager: &Manager, report: PruneReport) -> Result<EnvironmentPruneReply> {
    if !report.dry_run {
        let baselines = report.pruned.iter().filter_map(|pruned| pruned.baseline.clone());
        images::forget_baselines(manager, baselines.collect())?;
    }
    let name = |pruned: &pyro_image::Pruned| {
        let kind = match pruned.kind {
            PrunedKind::Image => "image",
            PrunedKind::Cache => "the image, to be made again, of",
            PrunedKind::Kernel => "kernel",
            PrunedKind::Rootfs => "directory of image",
            PrunedKind::Leftover => "leftover",
        };
        let digest = pruned.digest.map(|digest| format!(" {digest}")).unwrap_or_default();
        format!("{kind} {}{digest}", pruned.name)
    };
    Ok(EnvironmentPruneReply {
        removed: report.pruned.iter().map(name).collect(),
        freed_bytes: report.freed_bytes,
        dry_run: report.dry_run,
    })
}

fn summary(info: EnvironmentInfo) -> EnvironmentSummary {
    let built_at = info.built_at.and_then(|secs| i64::try_from(secs).ok());
    EnvironmentSummary {
        name: info.name,
        description: info.description,
        state: match info.state {
            pyro_image::EnvironmentState::Installed => EnvironmentState::Installed,
            pyro_image::EnvironmentState::Absent => EnvironmentState::Absent,
            pyro_image::EnvironmentState::Broken => EnvironmentState::Broken,
        },
        size_bytes: info.size,
        digest: info.digest.map(|digest| digest.to_string()),
        built_at: built_at
            .and_then(|secs| Timestamp::from_second(secs).ok())
            .map(|at| at.to_string()),
    }
}

pub(super) fn detail(detail: pyro_image::EnvironmentDetail) -> EnvironmentDetail {
    let package = |p: pyro_image::Package| Package { name: p.name, version: p.version };
    EnvironmentDetail {
        root_image: detail.root_image.map(|path| path.display().to_string()),
        kernel: detail.kernel.map(|kernel| kernel.release),
        packages: detail.packages.into_iter().map(package).collect(),
        origin: detail.info.origin.clone().map(origin),
        summary: summary(detail.info),
    }
}

fn origin(origin: Origin) -> EnvironmentOrigin {
    let Origin { source, manifest, baseline, startup } = origin;
    EnvironmentOrigin {
        source,
        manifest,
        baseline,
        env: startup.env,
        user: startup.user,
        working_dir: startup.working_dir,
        entrypoint: startup.entrypoint,
        cmd: startup.cmd,
    }
}
