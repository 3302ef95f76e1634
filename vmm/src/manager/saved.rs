//! Saved machines: guests that have booted and wait, one of each kind. The next workspaces of that kind begin
//! as it, instead of booting.
//!
//! ```text
//! a workspace was made ─▶ a machine like its own boots ─▶ its guest says hello ─▶ saved, ended
//! the next one ─▶ restored, with a copy of the saved scratch disk ─▶ its guest says hello anew ─▶ welcome
//! ```
//!
//! They are a cache, and hold for one boot of the host, whose processor and clock they have seen. One that
//! does not work is forgotten, and the workspace boots. Only Firecracker can save what it runs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use pyro_machine::{boot_id, firecracker_facts};

use super::Manager;
use crate::error::{Error, Result};
use crate::events::blocking;
use crate::workspace::Workspace;
use crate::workspace::boot::BootPlan;
use crate::workspace::record::{Phase, Record};

/// How many are kept: each has what memory its guest has touched, some tens of MiB.
const MOST: usize = 4;

/// The saved machines of one home.
pub struct SavedMachines {
    dir: PathBuf,
    /// Held while one is made.
    saving: tokio::sync::Mutex<()>,
    /// Saving failed, and would fail again for each workspace that is made.
    given_up: AtomicBool,
}

impl SavedMachines {
    /// Those in `dir`. What is left there from earlier boots of the host, or half done, goes.
    pub fn open(dir: PathBuf) -> Result<Self> {
        let saving = tokio::sync::Mutex::default();
        let saved = Self { dir, saving, given_up: AtomicBool::default() };
        let current = boot()?;
        for (path, _) in saved.entries()? {
            if !path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(&current)) {
                pyro_store::remove_tree(&path)?;
            }
        }
        Ok(saved)
    }

    /// The saved machine as which this workspace can begin. Only one that is being made: what it has done
    /// since is on its own disk.
    pub async fn find(&self, plan: &BootPlan, record: &Record) -> Result<Option<PathBuf>> {
        if record.phase != Phase::Creating || record.backend.check_saving().is_err() {
            return Ok(None);
        }
        Ok(Some(self.place(plan, record).await?).filter(|path| path.exists()))
    }

    /// Where a machine like this one is, once it is saved.
    async fn place(&self, plan: &BootPlan, record: &Record) -> Result<PathBuf> {
        let firecracker = blocking(|_| Ok(firecracker_facts()?)).await?;
        let Record { vcpu_count, mem_mib, disk_mib, .. } = record;
        let files = [&plan.environment.kernel.vmlinux, &plan.initrd, &plan.environment.root_image];
        let kind = format!("{firecracker:?} {files:?} {vcpu_count} {mem_mib} {disk_mib}");
        let hash = blake3::hash(kind.as_bytes()).to_hex();
        Ok(self.dir.join(format!("{}-{}", boot()?, &hash[..32])))
    }

    /// Forgets one. Machines that were restored from it go on.
    pub fn forget(&self, saved: &Path) -> Result<()> {
        Ok(pyro_store::remove_tree(saved)?)
    }

    /// Forgets all, or only tells what would go: how many there are, and how many bytes they take on disk.
    fn clear(&self, dry_run: bool) -> Result<(usize, u64)> {
        let mut saved = self.entries()?;
        // One that is being made is somebody's.
        saved.retain(|(path, _)| {
            !path.file_name().is_some_and(|it| it.as_bytes().starts_with(b"."))
        });
        let mut bytes = 0;
        for (path, _) in &saved {
            let files = fs::read_dir(path).map_err(Error::io("read", path))?.flatten();
            bytes +=
                files.flat_map(|file| file.metadata()).map(|it| it.blocks() * 512).sum::<u64>();
            if !dry_run {
                self.forget(path)?;
            }
        }
        Ok((saved.len(), bytes))
    }

    /// Takes a directory in which a machine was saved as the one in `place`, and forgets the oldest if there
    /// are too many.
    fn add(&self, made: &Path, place: &Path) -> Result<()> {
        let mut others = self.entries()?;
        others.retain(|(path, _)| path != made);
        others.sort_by_key(|(_, made)| *made);
        let many = (others.len() + 1).saturating_sub(MOST);
        others.iter().take(many).try_for_each(|(path, _)| self.forget(path))?;
        fs::rename(made, place).map_err(Error::io("create", place))
    }

    /// What is in the directory, and since when.
    fn entries(&self) -> Result<Vec<(PathBuf, SystemTime)>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("read", &self.dir))?,
        };
        let entries = entries.flatten().map(|entry| {
            let made = entry.metadata().and_then(|meta| meta.modified());
            (entry.path(), made.unwrap_or(SystemTime::UNIX_EPOCH))
        });
        Ok(entries.collect())
    }
}

/// Begins the name of what holds for this boot of the host.
fn boot() -> Result<String> {
    boot_id().map_err(Error::io("read", "/proc/sys/kernel/random/boot_id"))
}

impl Manager {
    /// Forgets the saved machines, or only tells what would go: how many, and how many bytes.
    pub async fn clear_saved(&self, dry_run: bool) -> Result<(usize, u64)> {
        let saved = self.saved.clone();
        blocking(move |_| saved.clear(dry_run)).await
    }

    /// Has a machine like this one's saved, if it can be and none is. Returns at once.
    pub fn save_ahead(self: &Arc<Self>, like: Record) {
        if like.backend.check_saving().is_err() || self.saved.given_up.load(Ordering::Relaxed) {
            return;
        }
        let manager = self.clone();
        self.detached.spawn(async move {
            // Whoever saves already, saves.
            let Ok(_saving) = manager.saved.saving.try_lock() else { return };
            let saved = tokio::select! {
                saved = manager.save_one(&like) => saved,
                () = manager.closing.wait() => Ok(()),
            };
            if let Err(error) = saved {
                manager.saved.given_up.store(true, Ordering::Relaxed);
                eprintln!("no machines are saved: {}", error.to_body().message);
            }
        });
    }

    async fn save_one(self: &Arc<Self>, like: &Record) -> Result<()> {
        let plan = self.boot_plan(&like.environment, Some(&like.image)).await?;
        let place = self.saved.place(&plan, like).await?;
        if place.exists() {
            return Ok(());
        }
        let dir = self.saved.dir.clone();
        let stage = blocking(move |_| {
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
            tempfile::tempdir_in(&dir).map_err(Error::io("create", &dir))
        });
        let stage = stage.await?;
        let workspace = self.make_waiting(like.clone()).await?;
        let model = Model { manager: self.clone(), workspace };
        model.workspace.boot_ahead(&plan).await?;
        model.workspace.save(stage.path().to_owned()).await?;
        // Before anybody goes on as it: whoever has its memory open might still write there.
        model.workspace.pull_plug().await?;
        let manager = self.clone();
        blocking(move |_| manager.saved.add(&stage.keep(), &place)).await
    }
}

/// A workspace that goes when its machine was saved, or could not be.
struct Model {
    manager: Arc<Manager>,
    workspace: Arc<Workspace>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.manager.discard(self.workspace.clone());
    }
}
