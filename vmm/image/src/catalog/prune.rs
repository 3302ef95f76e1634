//! Removing images and kernels that nothing refers to any more.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Catalog;
use super::record::{IMAGE, Record};
use super::rootfs::ROOTFS;
use crate::kernel::store;
use crate::recipe;
use crate::{Error, ImageDigest, Result, Silent, durable};

/// What kind of thing was pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrunedKind {
    /// A root image that a newer one replaced, or whose environment was removed.
    Image,
    /// A root image that is made again when it is needed.
    Cache,
    /// A kernel that no image needs.
    Kernel,
    /// The directory made from an image for workspaces without a VM; it is made again when needed.
    Rootfs,
    /// What a killed pull left.
    Leftover,
}

/// One pruned thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// What it was.
    pub kind: PrunedKind,
    /// The environment's name, the kernel's version or the leftover's directory name.
    pub name: String,
    /// The image's digest.
    pub digest: Option<ImageDigest>,
    /// Bytes it took on disk.
    pub bytes: u64,
    /// The baseline that the image was made of.
    pub baseline: Option<String>,
}

/// What a prune removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Nothing was removed, this is only the plan.
    pub dry_run: bool,
    /// The things.
    pub pruned: Vec<Pruned>,
    /// The bytes of all of them.
    pub freed_bytes: u64,
}

impl Catalog {
    /// Removes images that are neither the newest of their environment nor among `in_use`, kernels that
    /// no remaining image needs, directories of images that no workspace uses, and leftovers of killed
    /// pulls; with `caches` also images that can be made again and are not among `in_use`. With `dry_run`
    /// it only says which.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(
        &self,
        in_use: &[ImageDigest],
        caches: bool,
        dry_run: bool,
    ) -> Result<PruneReport> {
        let _lock = self.lock(&Silent)?;
        let plan = self.plan(in_use, caches)?;
        if !dry_run {
            // The stages first: it is there that a build root outside the home is recorded.
            self.sweep()?;
            for (_, path) in &plan {
                durable::remove(path)?;
                // That of an environment of which nothing is left.
                path.parent().map(fs::remove_dir);
            }
        }
        let pruned: Vec<_> = plan.into_iter().map(|(pruned, _)| pruned).collect();
        let freed_bytes = pruned.iter().map(|pruned| pruned.bytes).sum();
        Ok(PruneReport { dry_run, pruned, freed_bytes })
    }

    fn plan(&self, in_use: &[ImageDigest], caches: bool) -> Result<Vec<(Pruned, PathBuf)>> {
        let mut plan = Vec::new();
        let mut kernels_in_use = BTreeSet::new();
        // An image that stays but does not say which kernel it needs keeps all of them.
        let mut keep_kernels = false;
        for environment in self.names()? {
            let current = self.current(&environment)?;
            for (name, path) in entries(&self.root().join(recipe::directory(&environment)))? {
                let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let record = Record::load(&path);
                let origin = record.as_ref().ok().and_then(|record| record.origin.as_ref());
                let baseline = origin.map(|origin| origin.baseline.clone());
                let used = in_use.contains(&digest);
                if current == Some(digest) || used {
                    let rootfs = path.join(ROOTFS);
                    if !used && rootfs.is_dir() {
                        let name = environment.clone();
                        plan.push(planned(PrunedKind::Rootfs, name, Some(digest), rootfs)?);
                    }
                    match record {
                        Ok(record) => _ = kernels_in_use.insert(record.kernel_version),
                        Err(_) => keep_kernels = true,
                    }
                    let image = path.join(IMAGE);
                    if caches && !used && baseline.is_some() && image.exists() {
                        let name = environment.clone();
                        plan.push(planned(PrunedKind::Cache, name, Some(digest), image)?);
                    }
                } else {
                    let name = environment.clone();
                    let (mut pruned, path) = planned(PrunedKind::Image, name, Some(digest), path)?;
                    pruned.baseline = baseline;
                    plan.push((pruned, path));
                }
            }
        }
        for (name, path) in entries(&self.kernels())? {
            let name = name.to_string_lossy().into_owned();
            // The small kernel was asked for, and is no environment's.
            let unused = store::is_version(&name) && !kernels_in_use.contains(&name);
            if unused && !keep_kernels {
                plan.push(planned(PrunedKind::Kernel, name, None, path)?);
            }
        }
        for path in self.leftovers()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            plan.push(planned(PrunedKind::Leftover, name, None, path)?);
        }
        Ok(plan)
    }
}

fn planned(
    kind: PrunedKind,
    name: String,
    digest: Option<ImageDigest>,
    path: PathBuf,
) -> Result<(Pruned, PathBuf)> {
    let bytes = disk_usage(&path)?;
    Ok((Pruned { kind, name, digest, bytes, baseline: None }, path))
}

/// The entries of a directory that may not exist.
fn entries(dir: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read", dir)(error)),
        Ok(entries) => entries
            .map(|entry| {
                let entry = entry.map_err(Error::io("read", dir))?;
                Ok((entry.file_name(), entry.path()))
            })
            .collect(),
    }
}

fn disk_usage(path: &Path) -> Result<u64> {
    let meta = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        for (_, path) in entries(path)? {
            bytes += disk_usage(&path)?;
        }
    }
    Ok(bytes)
}
