//! Environments from OCI images and directories: their files go into the store, the image that guests
//! mount is made from there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pyro_api::{EnvironmentCreate, EnvironmentDetail, EnvironmentImport};
use pyro_image::{Catalog, EnvironmentState, Origin, Startup};
use pyro_oci::{BlobCache, Digest, Image, ImageFile, Reference, Registry};
use pyro_store::{IngestReport, Store};

use super::environments::detail;
use crate::error::{Error, Result};
use crate::events::{Events, PullProgress, StoreProgress, blocking};
use crate::manager::Manager;
use crate::seed;

/// Longest name of an environment.
const MAX_NAME: usize = 200;

/// An image that a registry has.
pub struct Resolved {
    registry: Registry,
    source: String,
    digest: Digest,
}

/// Asks a registry what a reference names now.
pub async fn resolve(reference: &Reference, events: &Events) -> Result<Resolved> {
    let source = reference.whole();
    events.progress("resolve", &source, 0, None);
    // A credential helper is a program that takes its time.
    let wanted = reference.clone();
    let registry = blocking(move |_| Ok(Registry::open(&wanted)?)).await?;
    let digest = registry.digest().await?;
    Ok(Resolved { registry, source, digest })
}

/// The registry that has the environments which pyro can build, and where in it.
const CATALOG: &str = "PYRO_ENV_REGISTRY";

/// The image that stands for one of pyro's own environments, where a registry is named that has it. One
/// that cannot be reached, or does not have it, is told of, for then it is built.
pub async fn resolve_own(name: &str, events: &Events) -> Result<Option<Resolved>> {
    let Some(place) = std::env::var_os(CATALOG).filter(|place| !place.is_empty()) else {
        return Ok(None);
    };
    let place = place.to_string_lossy();
    let reference = pyro_oci::parse_reference(&format!("{}/{name}", place.trim_end_matches('/')))?;
    match resolve(&reference, events).await {
        Ok(resolved) => Ok(Some(resolved)),
        Err(Error::Oci(
            error @ (pyro_oci::Error::Registry { .. } | pyro_oci::Error::NotFound(_)),
        )) => {
            let message = format!("{error} ({CATALOG}): {name} is built from packages instead");
            events.warn(message).await;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Fetches an image as the environment `name`, unless that is what it is already.
pub async fn pull(
    manager: &Manager,
    name: &str,
    resolved: Resolved,
    force: bool,
    events: &Events,
) -> Result<EnvironmentDetail> {
    let Resolved { registry, source, digest } = resolved;
    let manifest = digest.to_string();
    let _pulling = manager.pulling().await;
    if !force && let Some(found) = installed(manager, name, &manifest).await? {
        return Ok(found);
    }
    let remote = registry.image(digest).await?;
    ensure_kernel(manager, events).await?;
    let cache = BlobCache::open(&manager.home().blobs());
    let fetching =
        |layer: &str, done: u64, total: u64| events.progress("fetch", layer, done, Some(total));
    registry.fetch(&remote, &cache, &fetching).await?;
    let origin = origin(source.clone(), Some(manifest), &remote.image);
    add(manager, name.to_owned(), origin, events, move |store, progress| {
        Ok(Registry::unpack(&remote.image, &cache, store, Path::new(&source), progress)?)
    })
    .await
}

/// [`EnvironmentImport`]
pub async fn import(
    manager: &Manager,
    call: EnvironmentImport,
    events: &Events,
) -> Result<EnvironmentDetail> {
    check_name(&call.name)?;
    let path = seed::absolute(&call.path, "image file")?;
    let _pulling = manager.pulling().await;
    let opened = blocking(move |_| {
        let mut file = ImageFile::open(&path)?;
        let image = file.image()?;
        Ok((path, file, image))
    });
    let (path, file, image) = opened.await?;
    ensure_kernel(manager, events).await?;
    let origin = origin(shown(&path), Some(image.manifest.to_string()), &image);
    add(manager, call.name, origin, events, move |store, progress| {
        Ok(file.unpack(&image, store, progress)?)
    })
    .await
}

/// [`EnvironmentCreate`]
pub async fn create(
    manager: &Manager,
    call: EnvironmentCreate,
    events: &Events,
) -> Result<EnvironmentDetail> {
    check_name(&call.name)?;
    let dir = seed::absolute(&call.from_dir, "directory")?;
    let _pulling = manager.pulling().await;
    ensure_kernel(manager, events).await?;
    let origin = Origin {
        source: shown(&dir),
        manifest: None,
        baseline: String::new(),
        startup: Startup::default(),
    };
    add(manager, call.name, origin, events, move |store, progress| {
        if !dir.is_dir() {
            return Err(Error::Invalid(format!("{} is no directory", shown(&dir))));
        }
        Ok(pyro_oci::ingest_directory(store, &dir, progress)?)
    })
    .await
}

/// Makes an image again that was thrown away.
pub fn restore(catalog: &Catalog, store: &Store, error: pyro_image::Error) -> Result<()> {
    let pyro_image::Error::Evicted { name, digest, origin } = error else {
        return Err(error.into());
    };
    let baseline = origin.baseline.parse().map_err(|_| {
        let problem = format!("'{}' is no baseline", origin.baseline.escape_debug());
        pyro_image::Error::Broken { name: name.clone(), problem }
    })?;
    let key = store.baseline(baseline)?.key();
    catalog.restore(&name, digest, &pyro_image::Silent, |path| {
        Ok::<_, Error>(pyro_oci::erofs::write(store, &key, path, &())?)
    })
}

/// Forgets baselines that no environment is made of any more.
pub fn forget_baselines(manager: &Manager, candidates: Vec<String>) -> Result<()> {
    let (store, kept) = (manager.store(), manager.catalog().baselines()?);
    for candidate in candidates.into_iter().filter(|it| !kept.contains(it)) {
        let Ok(id) = candidate.parse() else { continue };
        // A workspace may have been seeded from the very same tree.
        if manager.user_of(id).is_none() {
            match store.remove_baseline(id) {
                Ok(()) | Err(pyro_store::Error::NoBaseline(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// The environment, if it is installed and this is what it was made from.
async fn installed(
    manager: &Manager,
    name: &str,
    manifest: &str,
) -> Result<Option<EnvironmentDetail>> {
    let (catalog, name, manifest) = (manager.catalog(), name.to_owned(), manifest.to_owned());
    blocking(move |_| {
        let found = match catalog.inspect(&name) {
            Err(pyro_image::Error::Unknown { .. }) => return Ok(None),
            found => found?,
        };
        let known = found.info.origin.as_ref().and_then(|origin| origin.manifest.as_ref());
        let same = known == Some(&manifest) && found.info.state == EnvironmentState::Installed;
        Ok(same.then(|| detail(found)))
    })
    .await
}

/// What these environments boot. First, for without it all else is in vain.
async fn ensure_kernel(manager: &Manager, events: &Events) -> Result<()> {
    let (catalog, events) = (manager.catalog(), events.clone());
    blocking(move |cancelled| Ok(catalog.ensure_kernel(&PullProgress::new(&events, cancelled))?))
        .await
}

/// Takes the files in, writes the image, installs it. After a failure nothing of it is left.
async fn add(
    manager: &Manager,
    name: String,
    mut origin: Origin,
    events: &Events,
    ingest: impl FnOnce(&Store, &StoreProgress) -> Result<IngestReport> + Send + 'static,
) -> Result<EnvironmentDetail> {
    let (store, catalog, events) = (manager.store(), manager.catalog(), events.clone());
    let replaced = installed_baseline(manager, &name);
    let added = blocking(move |cancelled: Arc<AtomicBool>| {
        let report = ingest(&store, &StoreProgress::new(&events, "unpack", cancelled.clone()))?;
        origin.baseline = report.baseline.to_string();
        let packing = StoreProgress::new(&events, "pack image", cancelled.clone());
        let progress = PullProgress::new(&events, cancelled);
        let added = catalog.add(&name, origin, &progress, |path| {
            Ok::<_, Error>(pyro_oci::erofs::write(&store, &report.key, path, &packing)?)
        });
        let ready = added.and_then(|_| {
            catalog.ensure_scratch_template()?;
            Ok(detail(catalog.inspect(&name)?))
        });
        Ok((ready, report.baseline.to_string()))
    });
    let (ready, baseline) = added.await?;
    if ready.is_err() {
        forget_baselines(manager, vec![baseline])?;
    } else {
        forget_baselines(manager, replaced.into_iter().collect())?;
    }
    ready
}

/// The baseline that an installed environment is made of, if it was not built here.
pub fn installed_baseline(manager: &Manager, name: &str) -> Option<String> {
    Some(manager.catalog().inspect(name).ok()?.info.origin?.baseline)
}

fn origin(source: String, manifest: Option<String>, image: &Image) -> Origin {
    let config = image.config.clone();
    let startup = Startup {
        env: config.env,
        user: config.user,
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
    };
    Origin { source, manifest, baseline: String::new(), startup }
}

fn shown(path: &Path) -> String {
    pyro_format::escape(path.as_os_str().as_encoded_bytes())
}

/// Fails unless an environment can be given this name.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    let start = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !start || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(Error::Invalid(format!(
            "an environment's name has 1 to {MAX_NAME} letters, digits and '-_./:@', and starts with a letter or digit"
        )));
    }
    if pyro_image::is_built_here(name) {
        return Err(Error::Invalid(format!(
            "'{name}' is built by pyro itself: choose another name"
        )));
    }
    Ok(())
}
