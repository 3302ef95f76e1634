//! Bringing a workspace's machine up, and finding one that runs already.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pyro_format::escape;
use pyro_image::{Catalog, Environment};
use pyro_machine::{
    BackendKind, GATEWAY_IP, GUEST_IP, GUEST_PREFIX, Machine, MachineSpec, NAMESERVER_IP,
};
use pyro_proto::{Booted, Call, HOST_PORT};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::record::Phase;
use super::{Workspace, locked};
use crate::agent;
use crate::error::{Error, Result};
use crate::events::blocking;
use crate::guest::door::{Boot, Door};
use crate::guest::link::ask;
use crate::manager::saved::SavedMachines;

/// Longest boot. Under emulation on a busy host a boot takes seconds; ten times that is a hang.
pub(super) const BOOT: Duration = Duration::from_secs(120);
/// Longest wait for a guest to power off by itself.
pub(super) const POWER_OFF: Duration = Duration::from_secs(10);
/// Bytes from the end of the console that an error shows.
const CONSOLE_TAIL: u64 = 2048;
/// The last console lines that an error shows.
const CONSOLE_LINES: usize = 12;

/// What a boot needs beside the record.
pub struct BootPlan {
    /// Root image and kernel.
    pub environment: Environment,
    /// The initramfs with the agent.
    pub initrd: PathBuf,
    /// Where the environment is, as a directory, too.
    pub catalog: Arc<Catalog>,
    /// Where the agent itself is.
    pub cache: PathBuf,
    /// Machines that need not boot.
    pub saved: Arc<SavedMachines>,
    /// Program and arguments that run a shim.
    pub shim_argv: Vec<OsString>,
    /// Program and arguments that run a daemon.
    pub daemon_argv: Vec<OsString>,
}

impl BootPlan {
    /// The agent and the environment as this backend takes them.
    async fn files(&self, backend: BackendKind) -> Result<(PathBuf, PathBuf)> {
        if backend != BackendKind::HostCompat {
            return Ok((self.initrd.clone(), self.environment.root_image.clone()));
        }
        let (catalog, cache) = (self.catalog.clone(), self.cache.clone());
        let environment = self.environment.clone();
        blocking(move |_| Ok((agent::executable(&cache)?, catalog.rootfs(&environment)?))).await
    }
}

impl Workspace {
    /// Boots the machine, unless that was begun ahead or it can begin as one that was saved, and waits until
    /// its agent takes calls. Nothing runs after a failure, or when the future is dropped.
    pub async fn boot(self: &Arc<Self>, plan: &BootPlan) -> Result<()> {
        let guard = StopOnDrop { workspace: self.clone(), armed: true };
        let ready = match self.begin_boot(plan).await {
            Ok(()) => self.set_owner().await,
            Err(error) => Err(error),
        };
        guard.disarm();
        if ready.is_err() {
            self.pull_plug().await?;
        }
        ready
    }

    async fn begin_boot(self: &Arc<Self>, plan: &BootPlan) -> Result<()> {
        let ahead = locked(&self.ahead).take();
        if let Some(boots) = ahead {
            return self.welcome(boots, BOOT).await;
        }
        let record = self.record();
        if let Some(saved) = plan.saved.find(plan, &record).await? {
            let Err(error) = self.restore(plan, &saved).await else { return Ok(()) };
            self.pull_plug().await?;
            if self.record().phase != Phase::Creating {
                return Err(error);
            }
            eprintln!("workspace {}: {}; it boots", record.id, error.to_body().message);
            let (machines, catalog) = (plan.saved.clone(), plan.catalog.clone());
            self.replace_scratch(move |scratch| {
                machines.forget(&saved)?;
                Ok(catalog.make_scratch(scratch, record.disk_mib)?)
            })
            .await?;
        }
        let boots = self.launch(plan, None).await?;
        self.welcome(boots, BOOT).await
    }

    /// Tells the guest how to begin, and waits until its agent takes calls.
    pub(super) async fn welcome(
        self: &Arc<Self>,
        mut boots: mpsc::Receiver<Boot>,
        limit: Duration,
    ) -> Result<()> {
        self.tell_beginning();
        let booted = tokio::select! {
            booted = timeout(limit, boots.recv()) => match booted {
                Ok(Some(Ok((generation, Booted::Ready { .. })))) => Ok(generation),
                Ok(Some(Ok((_, Booted::Failed { message })))) => Err(escape(message.as_bytes())),
                Ok(Some(Err(error))) => Err(error.to_string()),
                Ok(None) => Err("its door is shut".to_owned()),
                Err(_) => Err(format!("it said nothing within {} seconds", limit.as_secs())),
            },
            exit = self.machine.wait_exit() => Err(match exit {
                Ok(Some(exit)) => format!("its machine ended ({})", escape(exit.detail.as_bytes())),
                _ => "its machine ended".to_owned(),
            }),
        };
        match booted {
            Ok(generation) => self.update(|record| record.generation = generation),
            Err(reason) => Err(Error::Boot { reason, console: console_tail(&self.dir) }),
        }
    }

    /// Whether it has no VM.
    pub fn is_unisolated(&self) -> bool {
        self.record().backend == BackendKind::HostCompat
    }

    /// Starts the machine before it is known what for: its guest boots and then waits for [`boot`].
    ///
    /// [`boot`]: Self::boot
    pub async fn boot_ahead(self: &Arc<Self>, plan: &BootPlan) -> Result<()> {
        let guard = StopOnDrop { workspace: self.clone(), armed: true };
        let boots = self.launch(plan, None).await?;
        *locked(&self.ahead) = Some(boots);
        guard.disarm();
        Ok(())
    }

    /// Starts the machine, or goes on with one that was saved; its guest waits until it is told how to begin.
    pub(super) async fn launch(
        self: &Arc<Self>,
        plan: &BootPlan,
        saved: Option<&Path>,
    ) -> Result<mpsc::Receiver<Boot>> {
        self.sweep_resets();
        let record = self.record();
        let (initrd, root_image) = plan.files(record.backend).await?;
        let spec = MachineSpec {
            backend: record.backend,
            kernel: plan.environment.kernel.vmlinux.clone(),
            initrd,
            root_image,
            scratch: self.scratch(),
            vcpu_count: record.vcpu_count,
            mem_mib: record.mem_mib,
            cmdline_extra: record.network.then(network_word).into_iter().collect(),
            daemon_argv: plan.daemon_argv.clone(),
            host_ports: vec![HOST_PORT],
            network: record.network,
            restore: saved.map(Path::to_owned),
        };
        self.beginning.send_replace(None);
        self.greeted.send_replace(false);
        let boots = self.open_door()?;
        Machine::launch(&self.dir, &spec, &plan.shim_argv).await?;
        Ok(boots)
    }

    /// Tells a guest that boots, and those that will, how to begin.
    fn tell_beginning(&self) {
        let record = self.record();
        let hostname = record.name.unwrap_or(record.id);
        self.beginning.send_replace(Some((record.lower.into(), hostname)));
    }

    /// Takes the guest's connections again after an earlier daemon's death.
    pub fn reopen_door(self: &Arc<Self>) -> Result<()> {
        self.tell_beginning();
        self.open_door().map(drop)
    }

    fn open_door(self: &Arc<Self>) -> Result<mpsc::Receiver<Boot>> {
        let listener = self.machine.listen(HOST_PORT)?;
        let (boots, booted) = mpsc::channel(1);
        let (greeted, beginning) = (self.greeted.clone(), self.beginning.subscribe());
        let door = Door::open(listener, self.content.clone(), greeted, beginning, boots);
        *locked(&self.door) = Some(door);
        Ok(booted)
    }

    fn shut_door(&self) {
        *locked(&self.door) = None;
    }

    /// Has the guest sync and power off, or pulls the plug. A machine that is off is no error.
    pub async fn power_off(self: &Arc<Self>) -> Result<()> {
        if self.is_running() {
            let asked = timeout(POWER_OFF, async {
                ask(&self.machine, &Call::PowerOff).await.ok()?;
                self.machine.wait_exit().await.ok()
            });
            let _ = asked.await;
        }
        self.pull_plug().await
    }

    /// Ends the machine as it is.
    pub async fn pull_plug(self: &Arc<Self>) -> Result<()> {
        self.machine.stop().await?;
        self.shut_door();
        Ok(())
    }
}

/// Tells the agent, by the kernel's command line, to set up the network, and how.
fn network_word() -> String {
    format!("pyro.network={GUEST_IP}/{GUEST_PREFIX},{GATEWAY_IP},{NAMESERVER_IP}")
}

/// Ends a machine whose boot was given up.
struct StopOnDrop {
    workspace: Arc<Workspace>,
    armed: bool,
}

impl StopOnDrop {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if self.armed {
            let workspace = self.workspace.clone();
            tokio::spawn(async move { workspace.pull_plug().await });
        }
    }
}

/// The last lines a guest printed, safe to show.
pub(super) fn console_tail(dir: &Path) -> String {
    let mut tail = Vec::new();
    if let Ok(mut file) = fs::File::open(dir.join("console.log")) {
        let len = file.metadata().map_or(0, |meta| meta.len());
        let _ = file.seek(SeekFrom::Start(len.saturating_sub(CONSOLE_TAIL)));
        let _ = file.take(CONSOLE_TAIL).read_to_end(&mut tail);
    }
    let lines: Vec<_> = tail
        .split(|b| *b == b'\n')
        .map(|line| escape(line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
