//! Making a workspace: seed, directory, machine. What fails half-way undoes itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pyro_api::{SeedMode, WorkspaceCreate, WorkspaceInfo, WorkspaceSeed};
use pyro_format::BaselineId;
use pyro_image::SCRATCH_MIB;
use pyro_machine::BackendKind;
use pyro_proto::GENERATION;
use pyro_store::{IngestOptions, IngestSource, Pin};

use super::boot::BootPlan;
use super::merge::TimedTree;
use super::record::{Kind, Phase, Record};
use super::{MOUNT, Workspace, nodes, user};
use crate::error::{Error, Result};
use crate::events::{Events, StoreProgress, blocking};
use crate::manager::Manager;
use crate::seed;

/// Virtual CPUs of a workspace that does not say.
const VCPUS: u32 = 1;
/// Memory of a workspace that does not say, in MiB.
const MEM_MIB: u32 = 1024;
/// Longest name of a workspace, in bytes; it is also the guest's host name.
const MAX_NAME: usize = 63;

/// A seed in the store.
pub(super) struct Seeded {
    /// What diffs compare with.
    pub tree: TimedTree,
    /// What `/workspace` starts as.
    pub lower: TimedTree,
    /// The baseline's record, if there is one.
    pub baseline: Option<BaselineId>,
    /// Keeps the tree until the workspace is on record.
    pub _pin: Option<Arc<Pin>>,
    /// How it came about.
    pub seed: WorkspaceSeed,
}

impl Manager {
    /// Makes a workspace and returns when its guest takes calls.
    pub async fn create(
        self: &Arc<Self>,
        call: &WorkspaceCreate,
        ephemeral: bool,
        events: &Events,
    ) -> Result<WorkspaceInfo> {
        let (unborn, plan) = self.conceive_seeded(call, Kind::Workspace, ephemeral, events).await?;
        self.bear(unborn, &plan, events).await
    }

    /// Makes a workspace of this kind whose machine was never started.
    pub async fn create_unbooted(
        self: &Arc<Self>,
        call: &WorkspaceCreate,
        kind: Kind,
        events: &Events,
    ) -> Result<Arc<Workspace>> {
        let (unborn, _) = self.conceive_seeded(call, kind, false, events).await?;
        let workspace = unborn.workspace().clone();
        unborn.born()?;
        Ok(workspace)
    }

    async fn conceive_seeded(
        self: &Arc<Self>,
        call: &WorkspaceCreate,
        kind: Kind,
        ephemeral: bool,
        events: &Events,
    ) -> Result<(Unborn, BootPlan)> {
        let plan = self.prepare(call, None, events).await?;
        let _seeding = self.seeding().await;
        let _hold = self.store().hold();
        let seeded = self.seed(call, events).await?;
        let unborn = self.conceive(call, kind, ephemeral, &plan, seeded).await?;
        Ok((unborn, plan))
    }

    /// Refuses everything that can be refused before the seed is read. `image`: the environment's
    /// newest unless this one is named.
    pub(super) async fn prepare(
        &self,
        call: &WorkspaceCreate,
        image: Option<&str>,
        events: &Events,
    ) -> Result<BootPlan> {
        check_options(call)?;
        events.progress("prepare", &call.environment, 0, None);
        let plan = self.boot_plan(&call.environment, image).await?;
        let backend = self.choose_backend(&plan, call.allow_host_compat).await?;
        if backend == BackendKind::HostCompat {
            events.warn_of_host_compat().await;
        }
        if call.network {
            backend.check_network()?;
            plan.environment.check_network()?;
        }
        user::of_workspace(call.user.as_deref(), &plan.environment.startup(), backend)?;
        Ok(plan)
    }

    /// Boots a workspace and acknowledges it.
    pub(super) async fn bear(
        self: &Arc<Self>,
        unborn: Unborn,
        plan: &BootPlan,
        events: &Events,
    ) -> Result<WorkspaceInfo> {
        let workspace = unborn.workspace().clone();
        events.progress("boot", "", 0, None);
        let alone = workspace.lifecycle.write().await;
        let like = workspace.record();
        workspace.boot(plan).await?;
        unborn.born()?;
        drop(alone);
        // Not before: the boot that somebody waits for comes first.
        self.warm_up(like.clone());
        self.save_ahead(like);
        Ok(workspace.info())
    }

    /// Everything but the boot.
    pub(super) async fn conceive(
        self: &Arc<Self>,
        call: &WorkspaceCreate,
        kind: Kind,
        ephemeral: bool,
        plan: &BootPlan,
        seeded: Seeded,
    ) -> Result<Unborn> {
        let backend = self.choose_backend(plan, call.allow_host_compat).await?;
        let startup = plan.environment.startup();
        let record = Record {
            schema: Record::SCHEMA,
            phase: Phase::Creating,
            kind,
            id: String::new(),
            name: call.name.clone(),
            labels: call.labels.clone(),
            environment: plan.environment.name.clone(),
            image: plan.environment.digest.to_string(),
            user: user::of_workspace(call.user.as_deref(), &startup, backend)?,
            environment_variables: startup.env,
            backend,
            vcpu_count: call.vcpu_count.unwrap_or(VCPUS),
            mem_mib: call.mem_mib.unwrap_or(MEM_MIB),
            disk_mib: call.disk_mib.unwrap_or(SCRATCH_MIB),
            network: call.network,
            baseline: seeded.baseline,
            baseline_tree: seeded.tree.into(),
            lower: seeded.lower.into(),
            seed: seeded.seed,
            accounted: Vec::new(),
            reviewed: Vec::new(),
            snapshots: BTreeMap::new(),
            resets: 0,
            created_at: Timestamp::now(),
            expires_at: None,
            booted: false,
            ephemeral,
            generation: GENERATION,
            next_shell: 1,
            next_sequence: 1,
            next_push: 1,
            pending: BTreeMap::new(),
            command_count: 0,
            last_command: None,
        };
        let ttl = call.ttl_seconds.map(Duration::from_secs);
        if kind != Kind::Workspace {
            return self.register(record, ttl).await;
        }
        match self.take_warm(&record) {
            Some(warm) => self.adopt(warm, record, ttl),
            None => self.register(record, ttl).await,
        }
    }

    /// Makes an empty scratch disk in this file; without a VM a directory, which has no size.
    pub(super) async fn make_scratch(&self, scratch: PathBuf, record: &Record) -> Result<()> {
        if record.backend == BackendKind::HostCompat {
            let made = fs::DirBuilder::new().mode(0o700).create(&scratch);
            return made.map_err(Error::io("create", scratch));
        }
        let (catalog, mib) = (self.catalog(), record.disk_mib);
        blocking(move |_| Ok(catalog.make_scratch(&scratch, mib)?)).await
    }

    async fn seed(&self, call: &WorkspaceCreate, events: &Events) -> Result<Seeded> {
        let store = self.store();
        let Some(path) = call.seed_path.clone() else {
            let tree = blocking(move |_| Ok(nodes::store_empty(&store, 0o755)?)).await?;
            let seed = WorkspaceSeed {
                mode: SeedMode::Empty,
                seed_path: None,
                destination: MOUNT.to_owned(),
                entry_count: 0,
                bytes_written: 0,
                bytes_stored: 0,
                skipped: Vec::new(),
                warnings: Vec::new(),
            };
            return Ok(Seeded { tree, lower: tree, baseline: None, seed, _pin: None });
        };
        let options = IngestOptions { implicit: true, ..seed::options(&call.seed) };
        let events = events.clone();
        blocking(move |cancelled| {
            let source = IngestSource::detect(&seed::absolute(&path, "source path")?)?;
            let progress = StoreProgress::new(&events, "seed", cancelled);
            let report = store.ingest(&source, &options, &progress)?;
            let root = store.get_root(report.root)?;
            let tree = TimedTree { root, times: report.key.times, mtime: report.key.mtime };
            let seed = WorkspaceSeed {
                mode: match source {
                    IngestSource::Directory(_) => SeedMode::Directory,
                    IngestSource::Archive(_) => SeedMode::Archive,
                },
                seed_path: Some(path),
                destination: MOUNT.to_owned(),
                entry_count: report.entry_count,
                bytes_written: report.bytes_total,
                bytes_stored: report.stored_bytes,
                skipped: seed::skipped(&report),
                warnings: seed::warnings(&report),
            };
            let (baseline, pin) = (Some(report.baseline), Some(report.pin));
            Ok(Seeded { tree, lower: tree, baseline, seed, _pin: pin })
        })
        .await
    }

    /// Gives a record an id, a directory and a scratch disk, and lists it.
    async fn register(self: &Arc<Self>, record: Record, ttl: Option<Duration>) -> Result<Unborn> {
        let workspace = self.unlisted(record)?;
        let unborn = Unborn { manager: self.clone(), workspace: Some(workspace.clone()), ttl };
        self.insert(workspace.clone())?;
        self.make_scratch(workspace.scratch(), &workspace.record()).await?;
        Ok(unborn)
    }

    /// Makes a workspace of this kind that nobody sees: its machine is to wait.
    pub async fn make_waiting(self: &Arc<Self>, like: Record) -> Result<Arc<Workspace>> {
        let store = self.store();
        let empty = blocking(move |_| Ok(nodes::store_empty(&store, 0o755)?)).await?;
        let record = Record {
            phase: Phase::Creating,
            name: None,
            baseline: None,
            baseline_tree: empty.into(),
            lower: empty.into(),
            ephemeral: true,
            ..like
        };
        let workspace = self.unlisted(record)?;
        let made = self.make_scratch(workspace.scratch(), &workspace.record()).await;
        made.inspect_err(|_| self.discard(workspace.clone()))?;
        Ok(workspace)
    }

    /// Makes a waiting machine's workspace that of this record, and lists it.
    fn adopt(
        self: &Arc<Self>,
        warm: Arc<Workspace>,
        record: Record,
        ttl: Option<Duration>,
    ) -> Result<Unborn> {
        let unborn = Unborn { manager: self.clone(), workspace: Some(warm.clone()), ttl };
        warm.take_over(Record { id: warm.id(), ..record })?;
        self.insert(warm)?;
        Ok(unborn)
    }

    /// Gives a record an id and a directory.
    fn unlisted(self: &Arc<Self>, mut record: Record) -> Result<Arc<Workspace>> {
        let dir = loop {
            record.id = new_id()?;
            let dir = self.home().workspaces().join(&record.id);
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => break dir,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::io("create", dir)(source)),
            }
        };
        if let Err(error) = record.save(&dir) {
            let _ = fs::remove_dir_all(&dir);
            return Err(error);
        }
        Ok(Workspace::new(dir, record, self.store(), self.closing()))
    }
}

impl Workspace {
    /// Becomes what the record says, before its guest is told how to begin.
    fn take_over(&self, record: Record) -> Result<()> {
        let lower = record.lower.into();
        self.update(|own| *own = record)?;
        self.content.set_lower(lower);
        Ok(())
    }
}

/// A workspace that is not acknowledged yet: removed when dropped.
pub(super) struct Unborn {
    manager: Arc<Manager>,
    workspace: Option<Arc<Workspace>>,
    /// Its time from its acknowledgement on.
    ttl: Option<Duration>,
}

impl Unborn {
    fn workspace(&self) -> &Arc<Workspace> {
        self.workspace.as_ref().expect("taken only by `born` and `drop`, which end it")
    }

    /// Acknowledges it, unless somebody deletes it already. Now its time begins.
    fn born(mut self) -> Result<()> {
        let ttl = self.ttl;
        let acknowledged = self.workspace().update(|record| {
            let made = record.phase == Phase::Creating;
            if made {
                record.phase = Phase::Ready;
                record.created_at = Timestamp::now();
                let end = |ttl| record.created_at.checked_add(ttl).unwrap_or(Timestamp::MAX);
                record.expires_at = ttl.map(end);
            }
            made
        })?;
        if !acknowledged {
            let title = self.workspace().record().title();
            return Err(Error::InTransition(title, "deleted"));
        }
        self.workspace = None;
        Ok(())
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(workspace) = self.workspace.take() {
            self.manager.discard(workspace);
        }
    }
}

fn check_options(call: &WorkspaceCreate) -> Result<()> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    if !(1..=64).contains(&call.vcpu_count.unwrap_or(VCPUS)) {
        return invalid("the number of virtual CPUs must be 1 to 64");
    }
    if !(128..=1 << 20).contains(&call.mem_mib.unwrap_or(MEM_MIB)) {
        return invalid("memory must be 128 to 1048576 MiB");
    }
    if !(256..=16 << 20).contains(&call.disk_mib.unwrap_or(SCRATCH_MIB)) {
        return invalid("the disk must be 256 to 16777216 MiB");
    }
    if call.ttl_seconds == Some(0) {
        return invalid("a time to live of 0 seconds makes no sense");
    }
    call.name.as_deref().map_or(Ok(()), check_name)
}

/// Fails unless it can name a workspace or a snapshot.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let start = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !start || name.len() > MAX_NAME || !name.chars().all(plain) {
        let text = "a name has 1 to 63 letters, digits, '-', '_' and '.', and starts with a letter or digit";
        return Err(Error::Invalid(text.to_owned()));
    }
    Ok(())
}

/// Twelve random hex digits.
fn new_id() -> Result<String> {
    let mut bytes = [0u8; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Panicked(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
