//! The small kernel: built once, on request, and from then on booted by every environment.

use std::path::PathBuf;

use super::Catalog;
use crate::kernel::store;
use crate::{Error, Kernel, Progress, Result, build, durable};

/// Its directory's name, which is no version: pulls and prunes leave it alone.
const SMALL: &str = "small";

impl Catalog {
    /// The small kernel, built unless it is there and whole, or if `anew`.
    ///
    /// # Errors
    /// As [`Catalog::pull`]. What was there stays.
    pub fn build_kernel(&self, anew: bool, progress: &dyn Progress) -> Result<Kernel> {
        let _lock = self.lock(progress)?;
        self.sweep()?;
        let dir = self.small();
        let is_whole = || store::load(&dir, Some(progress)).is_ok();
        if anew || !is_whole() {
            let stage = self.stage()?;
            let built = build::build_kernel(stage.path(), progress)?;
            self.place(&built, &dir, stage.path(), |_| false)?;
        }
        store::load(&dir, None).map_err(Error::Kernel)
    }

    /// Fetches Debian's kernel if there is none yet: environments that are not built here bring none.
    ///
    /// # Errors
    /// As [`Catalog::pull`].
    pub fn ensure_kernel(&self, progress: &dyn Progress) -> Result<()> {
        if self.newest_kernel()?.is_some() {
            return Ok(());
        }
        let _lock = self.lock(progress)?;
        self.sweep()?;
        // Another pull may have brought one while this one waited.
        if self.newest_kernel()?.is_none() {
            let stage = self.stage()?;
            let (version, kernel) = build::fetch_kernel(stage.path(), progress)?;
            self.place(&kernel, &self.kernel_directory(&version), stage.path(), |dir| {
                store::is_complete(dir)
            })?;
        }
        Ok(())
    }

    /// The version of the newest kernel that is here.
    pub(super) fn newest_kernel(&self) -> Result<Option<String>> {
        let newest = self.installed_kernels().into_iter().max();
        Ok(newest.or(self.small_kernel()?.map(|kernel| kernel.version)))
    }

    /// The small kernel, if it was built.
    ///
    /// # Errors
    /// [`Error::Kernel`] when it is damaged.
    pub fn small_kernel(&self) -> Result<Option<Kernel>> {
        let dir = self.small();
        let kernel = dir.is_dir().then(|| store::load(&dir, None));
        kernel.transpose().map_err(Error::Kernel)
    }

    /// Removes the small kernel, so that environments boot their own; whether there was one. Machines
    /// that run have it in their memory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_kernel(&self, progress: &dyn Progress) -> Result<bool> {
        let _lock = self.lock(progress)?;
        let there = self.small().is_dir();
        durable::remove_tree(&self.small())?;
        durable::sync_dir(self.root())?;
        Ok(there)
    }

    /// The kernel that an environment boots whose own has this version; the error is what is wrong.
    /// A small kernel that is damaged is no reason not to boot: [`Catalog::small_kernel`] tells.
    pub(super) fn kernel_for(
        &self,
        version: &str,
        verify: Option<&dyn Progress>,
    ) -> Result<Kernel, String> {
        match store::load(&self.small(), verify) {
            Ok(small) => Ok(small),
            Err(_) => store::load(&self.kernel_directory(version), verify),
        }
    }

    fn small(&self) -> PathBuf {
        self.kernels().join(SMALL)
    }
}
