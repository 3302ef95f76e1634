//! All workspaces of one home, and what they share: the store, environments, the choice of backend.

mod backend;
mod reaper;
pub mod saved;
mod upkeep;
mod warm;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use pyro_api::Home;
use pyro_apply::Journals;
use pyro_image::{Catalog, ImageDigest};
use pyro_machine::{Machine, MachineState};
use pyro_store::{Store, StoreOptions};
use tokio_util::task::TaskTracker;

use reaper::Reaped;
use saved::SavedMachines;
use upkeep::Upkeep;
use warm::Warm;

use crate::agent;
use crate::daemon::closing::Closing;
use crate::daemon::images;
use crate::error::{Error, Result};
use crate::events::blocking;
use crate::workspace::Workspace;
use crate::workspace::boot::BootPlan;
use crate::workspace::record::{Kind, Phase, Record};

/// Everything the daemon owns.
pub struct Manager {
    home: Home,
    store: Store,
    catalog: Arc<Catalog>,
    journals: Arc<Journals>,
    workspaces: RwLock<BTreeMap<String, Arc<Workspace>>>,
    /// Held while names are compared and a workspace is added.
    naming: Mutex<()>,
    program: PathBuf,
    closing: Closing,
    /// Work that nobody waits for, but the daemon's end does.
    detached: TaskTracker,
    reaped: Mutex<Reaped>,
    upkeep: Upkeep,
    warm: Warm,
    saved: Arc<SavedMachines>,
    /// Held by whoever fetches or takes in an environment.
    pulling: tokio::sync::Mutex<()>,
}

impl Manager {
    /// Opens the store and the environments of `home`. `program` is the `pyro` executable.
    pub fn open(home: Home, program: PathBuf) -> Result<Arc<Self>> {
        for dir in [home.workspaces(), home.cache()] {
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(Arc::new(Self {
            store: Store::open(&home.store(), StoreOptions::default())?,
            catalog: Arc::new(Catalog::open(home.path())?),
            journals: Arc::new(Journals::new(home.applied())),
            workspaces: RwLock::default(),
            naming: Mutex::default(),
            program,
            closing: Closing::default(),
            detached: TaskTracker::new(),
            reaped: Mutex::default(),
            upkeep: Upkeep::new()?,
            warm: Warm::new()?,
            saved: Arc::new(SavedMachines::open(home.cache().join("saved"))?),
            pulling: tokio::sync::Mutex::default(),
            home,
        }))
    }

    /// Finds the workspaces that an earlier daemon left: goes on with those that were
    /// acknowledged, removes those that were not. Takes back what it was applying.
    pub async fn recover(self: &Arc<Self>) -> Result<()> {
        let journals = self.journals();
        for (dir, outcome) in blocking(move |_| Ok(journals.recover())).await? {
            match outcome {
                Ok(()) => eprintln!("{dir:?}: an interrupted apply was taken back"),
                Err(error) => eprintln!("{dir:?}: {}", Error::from(error).to_body().message),
            }
        }
        let dir = self.home.workspaces();
        for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = entry.map_err(Error::io("read", &dir))?.path();
            match Record::load(&path) {
                Ok(Some(record)) => {
                    let gone = record.ephemeral || record.phase != Phase::Ready;
                    let workspace = Workspace::new(path, record, self.store(), self.closing());
                    self.write().insert(workspace.id(), workspace.clone());
                    if gone {
                        self.discard(workspace);
                    } else {
                        if workspace.is_running() {
                            workspace.reopen_door()?;
                        }
                        workspace.resume_execs();
                    }
                }
                // Never acknowledged: the record is the first thing in a workspace's directory.
                Ok(None) => {
                    Machine::open(&path).stop().await?;
                    pyro_store::remove_tree(&path)?;
                }
                // Somebody's work: left alone, for a person to look at.
                Err(error) => {
                    eprintln!("{}: {}", path.display(), error.to_body().message);
                    self.upkeep.cannot_read(path);
                }
            }
        }
        Ok(())
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The store.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// The environments.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    /// What was applied to directories of the host.
    pub fn journals(&self) -> Arc<Journals> {
        self.journals.clone()
    }

    /// Set when the daemon is about to end.
    pub fn closing(&self) -> Closing {
        self.closing.clone()
    }

    /// Waits for the work that nobody else waits for.
    pub async fn settle(&self) {
        self.detached.close();
        self.detached.wait().await;
    }

    /// How much of that work there is.
    pub fn unsettled(&self) -> usize {
        self.detached.len()
    }

    /// All workspaces, oldest first.
    pub fn workspaces(&self) -> Vec<Arc<Workspace>> {
        let map = self.workspaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = map.values().cloned().collect();
        all.sort_by_cached_key(|workspace| workspace.record().created_at);
        all
    }

    /// The workspace with this id or name.
    pub fn find(&self, id: &str) -> Result<Arc<Workspace>> {
        let shown = || pyro_format::escape(id.as_bytes());
        match self.lookup(id) {
            Some(workspace) if workspace.record().kind == Kind::Workspace => Ok(workspace),
            Some(_) => Err(Error::NotAWorkspace(shown())),
            None => Err(Error::UnknownWorkspace(shown())),
        }
    }

    /// Whatever has this id or name.
    pub fn lookup(&self, id: &str) -> Option<Arc<Workspace>> {
        let map = self.workspaces.read().unwrap_or_else(PoisonError::into_inner);
        let named = || map.values().find(|w| w.record().name.as_deref() == Some(id));
        map.get(id).or_else(named).cloned()
    }

    /// Digests of the images that workspaces need.
    pub fn images_in_use(&self) -> Vec<ImageDigest> {
        self.workspaces().iter().filter_map(|w| w.record().image.parse().ok()).collect()
    }

    /// Adds a workspace; its name must be free.
    pub fn insert(&self, workspace: Arc<Workspace>) -> Result<()> {
        let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let record = workspace.record();
        if let Some(name) = &record.name {
            let taken = |other: &Arc<Workspace>| {
                let other = other.record();
                other.name.as_ref() == Some(name) || other.id == *name
            };
            if self.workspaces().iter().any(taken) {
                return Err(Error::NameTaken(name.clone()));
            }
        }
        self.write().insert(record.id, workspace);
        Ok(())
    }

    /// Takes a workspace off the list.
    pub fn forget(&self, id: &str) {
        self.write().remove(id);
    }

    /// Deletes a workspace that nobody waits for.
    pub fn discard(self: &Arc<Self>, workspace: Arc<Workspace>) {
        let manager = self.clone();
        self.detached.spawn(async move {
            if let Err(error) = manager.delete(&workspace).await {
                eprintln!("workspace {}: {}", workspace.id(), error.to_body().message);
            }
        });
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Workspace>>> {
        self.workspaces.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody else fetch or take in an environment while the guard lives.
    pub async fn pulling(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.pulling.lock().await
    }

    /// The name under which an environment is installed that a user calls like this: an image reference
    /// has a long form. What is not installed keeps its name.
    pub fn environment_name(&self, called: &str) -> String {
        let whole = || Some(pyro_oci::parse_reference(called).ok()?.whole());
        let catalog = &self.catalog;
        match whole() {
            Some(whole) if !catalog.knows(called) && catalog.knows(&whole) => whole,
            _ => called.to_owned(),
        }
    }

    /// What a boot needs: of an environment's newest image, or of the one a workspace was made with.
    pub async fn boot_plan(&self, environment: &str, image: Option<&str>) -> Result<BootPlan> {
        let (catalog, store) = (self.catalog.clone(), self.store.clone());
        let name = self.environment_name(environment);
        let digest = image.map(str::parse::<ImageDigest>).transpose();
        let digest = digest.map_err(|error| Error::Invalid(error.to_string()))?;
        let (cache, saved) = (self.home.cache(), self.saved.clone());
        let program = self.program.clone();
        blocking(move |_| {
            let resolve = || match digest {
                Some(digest) => catalog.resolve_digest(&name, digest),
                None => catalog.resolve(&name),
            };
            let environment = match resolve() {
                Err(error @ pyro_image::Error::Evicted { .. }) => {
                    images::restore(&catalog, &store, error)?;
                    resolve()?
                }
                resolved => resolved?,
            };
            let initrd = agent::initramfs(&cache, &environment.kernel)?;
            let argv = |words: &[&str]| -> Vec<OsString> {
                let program = std::iter::once(program.clone().into_os_string());
                program.chain(words.iter().map(OsString::from)).collect()
            };
            Ok(BootPlan {
                environment,
                initrd,
                catalog,
                cache,
                saved,
                shim_argv: argv(&["shim"]),
                daemon_argv: argv(&["daemon", "run"]),
            })
        })
        .await
    }

    /// Workspaces whose machines run.
    pub fn running(&self) -> usize {
        let running =
            |w: &Arc<Workspace>| matches!(w.machine.state(), Ok(MachineState::Running { .. }));
        self.workspaces().iter().filter(|w| running(w)).count()
    }
}
