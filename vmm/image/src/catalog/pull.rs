//! Installing environments: one pull at a time, each step either done or as if never begun.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{IMAGE, RECORD, Record};
use super::{Catalog, Environment, Origin};
use crate::build::{self, BuildRoot, Staged};
use crate::kernel::store;
use crate::recipe::Recipe;
use crate::{Error, ImageDigest, Progress, Result, durable};

/// How often a pull that waits for another one asks whether it should stop.
const LOCK_RETRY: Duration = Duration::from_millis(100);

impl Catalog {
    /// Makes sure that `name` is installed and whole: an installed one is verified to the last byte, a
    /// missing or broken one is built, and so is one from before guests could have a network. Waits for a pull that is under way elsewhere.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::ToolMissing`], [`Error::ToolFailed`], [`Error::NoSubordinateIds`] and
    /// others from the build; [`Error::Cancelled`]; [`Error::Io`]. What was installed stays installed.
    pub fn pull(&self, name: &str, progress: &dyn Progress) -> Result<Environment> {
        let recipe = Recipe::find(name)?;
        let _lock = self.lock(progress)?;
        self.sweep()?;
        match self.verify(name, progress) {
            Ok(found) if found.check_network().is_ok() => Ok(found),
            Ok(_) | Err(Error::NotInstalled { .. } | Error::Broken { .. }) => {
                self.build(recipe, progress)
            }
            other => other,
        }
    }

    /// Builds `name` anew from today's packages, installed or not. Images in use stay until pruned.
    ///
    /// # Errors
    /// As [`Catalog::pull`].
    pub fn refresh(&self, name: &str, progress: &dyn Progress) -> Result<Environment> {
        let recipe = Recipe::find(name)?;
        let _lock = self.lock(progress)?;
        self.sweep()?;
        self.build(recipe, progress)
    }

    fn build(&self, recipe: &Recipe, progress: &dyn Progress) -> Result<Environment> {
        let stage = self.stage()?;
        let kernels = self.installed_kernels();
        let staged = build::build(recipe, stage.path(), &kernels, progress)?;
        self.install(recipe.name, staged, None, stage.path())?;
        self.resolve(recipe.name)
    }

    /// A new directory for half-built things, removed when dropped.
    pub(super) fn stage(&self) -> Result<tempfile::TempDir> {
        let parent = self.stages();
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        tempfile::tempdir_in(&parent).map_err(Error::io("create a directory in", &parent))
    }

    /// Moves a finished build into place: kernel, image, then the pointer that makes them visible.
    pub(super) fn install(
        &self,
        name: &str,
        staged: Staged,
        origin: Option<Origin>,
        stage: &Path,
    ) -> Result<()> {
        if let Some(kernel) = &staged.kernel {
            self.place(kernel, &self.kernel_directory(&staged.kernel_version), stage, |dir| {
                store::is_complete(dir)
            })?;
        }
        let digest = ImageDigest::from(staged.hash);
        let built_at =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let record = Record {
            schema: 1,
            name: name.to_owned(),
            digest,
            size: staged.size,
            packages: staged.packages,
            kernel_version: staged.kernel_version,
            built_at,
            origin,
        };
        let dir = stage.join("environment");
        fs::create_dir(&dir).map_err(Error::io("create", &dir))?;
        let path = dir.join(IMAGE);
        fs::rename(&staged.root_image, &path).map_err(Error::io("create", &path))?;
        let path = dir.join(RECORD);
        let json = serde_json::to_vec_pretty(&record).map_err(Error::io("write", &path))?;
        durable::write_new(&path, &json)?;
        durable::sync_dir(&dir)?;
        // The same packages give the same image, but the kernel it belongs to may be a newer one: the
        // new record replaces the old.
        self.place(&dir, &self.directory(name, digest), stage, |_| false)?;
        self.set_current(name, digest)
    }

    /// Renames `from` to `to`. What is at `to` is kept if it is `good`, else moved out of the way; whoever
    /// has its files open keeps them.
    pub(super) fn place(
        &self,
        from: &Path,
        to: &Path,
        stage: &Path,
        good: impl Fn(&Path) -> bool,
    ) -> Result<()> {
        if to.exists() {
            if good(to) {
                return Ok(());
            }
            let aside = stage.join("replaced").join(to.file_name().unwrap_or_default());
            let parent = stage.join("replaced");
            fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
            fs::rename(to, &aside).map_err(Error::io("move", to))?;
        }
        let parent = to.parent().unwrap_or(self.root());
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        fs::rename(from, to).map_err(Error::io("create", to))?;
        durable::sync_dir(parent)?;
        durable::sync_dir(self.root())
    }

    /// The lock under which alone anything here is written.
    pub(super) fn lock(&self, progress: &dyn Progress) -> Result<File> {
        let path = self.root().join("pull.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut waiting = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if !waiting {
                progress.phase("wait", "another pull is under way");
                waiting = true;
            }
            thread::park_timeout(LOCK_RETRY);
        }
    }

    /// Removes what killed pulls left; returns the number of stages. Only under the lock, where no pull is
    /// under way, so that whatever is there is left over.
    pub(super) fn sweep(&self) -> Result<usize> {
        let stages = self.leftovers()?;
        for stage in &stages {
            drop(BuildRoot::left_by(stage));
            durable::remove_tree(stage)?;
        }
        Ok(stages.len())
    }

    /// The stages that exist.
    pub(super) fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let parent = self.stages();
        let entries = match fs::read_dir(&parent) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("read", &parent))?,
        };
        entries.map(|entry| Ok(entry.map_err(Error::io("read", &parent))?.path())).collect()
    }

    fn stages(&self) -> PathBuf {
        self.root().join("tmp")
    }
}
