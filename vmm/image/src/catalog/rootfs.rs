//! An environment as a directory, for workspaces without a VM: an image can only be mounted by the
//! kernel's root.

use std::fs::{self, File};
use std::path::PathBuf;

use super::{Catalog, Environment};
use crate::build::tool::{Run, find_tool};
use crate::{Error, Result, Silent, durable};

/// Beside the image.
pub(super) const ROOTFS: &str = "rootfs";

impl Catalog {
    /// The directory with the files of `environment`, made from its image when it is not there yet.
    /// All of it belongs to the caller; owners of other names are not kept. Waits for a pull that is
    /// under way.
    ///
    /// # Errors
    /// [`Error::ToolMissing`] without `fsck.erofs`, [`Error::ToolFailed`], [`Error::Io`]. Nothing is
    /// left then.
    pub fn rootfs(&self, environment: &Environment) -> Result<PathBuf> {
        let image = &environment.root_image;
        let dir = image.parent().unwrap_or(self.root());
        let path = dir.join(ROOTFS);
        if path.is_dir() {
            return Ok(path);
        }
        let _lock = self.lock(&Silent)?;
        if path.is_dir() {
            return Ok(path);
        }
        let stage = self.stage()?;
        let made = stage.path().join(ROOTFS);
        let mut run = Run::new("fsck.erofs", &find_tool("fsck.erofs")?);
        run.arg(format!("--extract={}", made.display()));
        run.args(["--preserve-perms", "--no-preserve-owner"]).arg(image);
        run.finish(&Silent, |_| ())?;
        // Its name must not outlive a crash that its files do not.
        let synced = File::open(&made).and_then(|top| Ok(rustix::fs::syncfs(top)?));
        synced.map_err(Error::io("sync", &made))?;
        fs::rename(&made, &path).map_err(Error::io("create", &path))?;
        durable::sync_dir(dir)?;
        Ok(path)
    }
}
