//! One workspace: a machine, its record, and the two conversations with its guest.
//!
//! ```text
//! create ─▶ boot ─▶ exec · push · diff · export ─▶ delete
//!             ▲ recover: a daemon that comes later finds the record, the machine, and goes on
//!
//! diff:   report (guest) ─▶ merge with the lower tree ─▶ Merkle diff ─▶ entries, patch
//! export: the same tree ─▶ fetch what the host lacks ─▶ check out
//! ```

pub mod accounted;
pub mod apply;
pub mod boot;
pub mod capture;
pub mod copies;
pub mod create;
pub mod diff;
pub mod entries;
pub mod exec;
pub mod expiry;
pub mod export;
pub mod feed;
pub mod fetch;
pub mod filter;
pub mod git;
pub mod hazards;
pub mod lifecycle;
pub mod log;
pub mod merge;
pub mod moment;
pub mod nodes;
pub mod patch;
pub mod path;
pub mod push;
pub mod record;
pub mod renames;
pub mod report;
pub mod reset;
mod saved;
pub mod select;
pub mod shell;
pub mod snapshot;
mod user;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyro_api::{Served, WorkspaceInfo, WorkspaceState};
use pyro_format::escape;
use pyro_machine::{Exit, ExitReason, Machine, MachineState};
use pyro_store::Store;
use tokio::sync::{mpsc, watch};

use crate::daemon::closing::Closing;
use crate::error::{Error, Result};
use crate::guest::content::ContentService;
use crate::guest::door::{Beginning, Boot, Door};
use accounted::Accounted;
use expiry::Expiry;
use feed::Feed;
use record::{Phase, Record};

/// Where the guest sees its workspace.
pub const MOUNT: &str = "/workspace";

/// A workspace that the daemon knows.
pub struct Workspace {
    /// Its directory.
    pub dir: PathBuf,
    /// Its VM.
    pub machine: Machine,
    store: Store,
    record: Mutex<Record>,
    content: Arc<ContentService>,
    door: Mutex<Option<Door>>,
    /// What a guest that boots is told.
    beginning: watch::Sender<Option<Beginning>>,
    /// Whether the guest of the machine that was started last has said hello.
    greeted: watch::Sender<bool>,
    /// Of a machine that was started ahead: where its guest will say that it is ready.
    ahead: Mutex<Option<mpsc::Receiver<Boot>>>,
    feeds: Mutex<HashMap<u64, Arc<Feed>>>,
    accounted: tokio::sync::Mutex<Accounted>,
    /// Held for writing by what starts, stops or deletes the machine, for reading by what uses it.
    lifecycle: Arc<tokio::sync::RwLock<()>>,
    /// Held by what looks at the files as of one moment, and by what changes them all at once.
    moment: tokio::sync::Mutex<()>,
    /// Held while commits are fetched.
    fetching: tokio::sync::Mutex<()>,
    closing: Closing,
    expiry: Expiry,
}

/// Data behind these locks stays consistent at every step, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workspace {
    /// Puts a workspace together from its record.
    pub fn new(dir: PathBuf, record: Record, store: Store, closing: Closing) -> Arc<Self> {
        Arc::new(Self {
            machine: Machine::open(&dir),
            content: Arc::new(ContentService::new(store.clone(), record.lower.into())),
            dir,
            store,
            record: Mutex::new(record),
            door: Mutex::default(),
            beginning: watch::Sender::default(),
            greeted: watch::Sender::default(),
            ahead: Mutex::default(),
            feeds: Mutex::default(),
            accounted: tokio::sync::Mutex::default(),
            lifecycle: Arc::default(),
            moment: tokio::sync::Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            closing,
            expiry: Expiry::default(),
        })
    }

    /// Its id.
    pub fn id(&self) -> String {
        self.record().id.clone()
    }

    /// A copy of its record.
    pub fn record(&self) -> Record {
        locked(&self.record).clone()
    }

    /// Changes the record, durably, or not at all.
    pub fn update<T>(&self, change: impl FnOnce(&mut Record) -> T) -> Result<T> {
        let mut record = locked(&self.record);
        let mut next = record.clone();
        let result = change(&mut next);
        if next != *record {
            next.save(&self.dir)?;
            *record = next;
        }
        Ok(result)
    }

    /// Keeps the machine from being stopped or deleted while the guard lives; an error if it does
    /// not run.
    pub async fn in_use(&self) -> Result<tokio::sync::OwnedRwLockReadGuard<()>> {
        let guard = self.present().await?;
        self.refuse_stopped()?;
        Ok(guard)
    }

    /// Fails for one whose machine does not run.
    fn refuse_stopped(&self) -> Result<()> {
        if self.is_running() { Ok(()) } else { Err(Error::Stopped(self.id())) }
    }

    /// Keeps the machine from being started, stopped or deleted while the guard lives, whether it
    /// runs or not.
    pub async fn present(&self) -> Result<tokio::sync::OwnedRwLockReadGuard<()>> {
        let guard = self.lifecycle.clone().read_owned().await;
        self.refuse_transition()?;
        Ok(guard)
    }

    /// Whether its VM runs.
    pub fn is_running(&self) -> bool {
        matches!(self.machine.state(), Ok(MachineState::Running { .. }))
    }

    /// As `status` shows it.
    pub fn info(&self) -> WorkspaceInfo {
        let record = self.record();
        let (state, stop_reason) = match (record.phase, self.machine.state()) {
            (Phase::Creating, _) => (WorkspaceState::Creating, None),
            (_, Ok(MachineState::Running { .. })) => (WorkspaceState::Started, None),
            (_, Ok(MachineState::Stopped { exit })) => {
                (WorkspaceState::Stopped, exit.map(|exit| stop_reason(&exit)))
            }
            (_, Err(error)) => (WorkspaceState::Stopped, Some(error.to_string())),
        };
        let counters = &self.content.counters;
        WorkspaceInfo {
            workspace_id: record.id,
            name: record.name,
            labels: record.labels,
            environment: record.environment,
            state,
            workspace_path: MOUNT.to_owned(),
            execution_mode: record.backend.name().to_owned(),
            vcpu_count: record.vcpu_count,
            mem_mib: record.mem_mib,
            disk_mib: record.disk_mib,
            network_enabled: record.network,
            user: record.user.unwrap_or_else(|| user::ROOT.to_owned()),
            command_count: record.command_count,
            last_command: record.last_command,
            workspace_seed: record.seed,
            baseline: record.baseline.map(|id| id.to_string()).unwrap_or_default(),
            baseline_tree: record.baseline_tree.id.to_string(),
            served: Served {
                content_bytes: counters.content_bytes.load(Ordering::Relaxed),
                tree_bytes: counters.tree_bytes.load(Ordering::Relaxed),
                requests: counters.requests.load(Ordering::Relaxed),
            },
            created_at: record.created_at.to_string(),
            expires_at: record.expires_at.map(|at| at.to_string()),
            stop_reason,
        }
    }
}

/// Why a machine ended, for people.
pub fn stop_reason(exit: &Exit) -> String {
    let reason = match exit.reason {
        ExitReason::Stopped => "it was stopped",
        ExitReason::GuestShutdown => "the guest powered off",
        ExitReason::GuestPanic => "the guest's kernel panicked",
        ExitReason::BackendFailed => "its virtual machine failed",
    };
    match exit.detail.trim() {
        "" => reason.to_owned(),
        detail => format!("{reason}: {}", escape(detail.as_bytes())),
    }
}
