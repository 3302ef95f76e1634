//! From the first instruction of PID 1 to serving calls, and from there to the end of power.

mod early;
mod environment;
mod network;
mod sandbox;

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use pyro_proto::{Booted, Fresh, GUEST_FRAME_LIMIT, Role, Welcome, read_frame, write_frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, mpsc};

use crate::confine::Confinement;
use crate::error::{Doing, Error, Result};
use crate::exec::{Cgroups, Execs, Groups, Inside, Place};
use crate::lower::{Content, Handed, Listen, Vsock, reach};
use crate::push::{self, Pushes};
use crate::serve::{After, Agent, serve};
use crate::shell::Shells;
use crate::sys;
use crate::workspace::{Marking, Places, Workspace};

/// Connections served at once.
const CONNECTIONS: usize = 256;
/// Pause before saying hello again to a host that broke off.
const HELLO_AGAIN: Duration = Duration::from_millis(20);
/// Longest wait for killed commands and for work under way when the power goes.
const LAST_WORK: Duration = Duration::from_secs(2);

/// Mount points in the initramfs.
const SCRATCH: &str = "/scratch";
const IMAGE: &str = "/image";
const NEW_ROOT: &str = "/newroot";
const LOWER: &str = "/lower";
const MERGED: &str = "/merged";
const CGROUPS: &str = "/sys/fs/cgroup/pyro";

/// What is around the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    /// A machine of its own.
    Machine,
    /// Namespaces of the host's kernel.
    Sandbox,
}

/// Runs a VM, or a sandbox in place of one, as its PID 1. Anywhere else it only says so.
pub fn run() {
    if std::process::id() != 1 {
        eprintln!("pyro-agent: only runs as PID 1 of a workspace");
        std::process::exit(2);
    }
    let socket = sandbox::socket();
    let ended = match socket {
        None => live(),
        Some(socket) => live_in_sandbox(socket),
    };
    if let Err(error) = ended {
        eprintln!("pyro-agent: {}", error.chain());
    }
    match socket {
        None => power_off(),
        Some(_) => leave(),
    }
}

fn live() -> Result<()> {
    sys::raise_own_limits();
    early::mounts()?;
    early::load_modules("order")?;
    serve_host(Vsock, Site::Machine)
}

fn live_in_sandbox(socket: RawFd) -> Result<()> {
    sys::raise_own_limits();
    let host = sys::inherited(socket).and_then(Handed::new);
    serve_host(host.doing(|| "take the host's socket".into())?, Site::Sandbox)
}

fn serve_host(host: impl Listen, site: Site) -> Result<()> {
    let lower = start_lower_runtime()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "start the runtime".into())?;
    let ended = runtime.block_on(boot_and_serve(host, site, lower));
    // Drops every task, and with them what keeps the workspace mounted.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

/// The lower layer is served by a thread of its own: whatever the others wait for, it never waits
/// for them.
fn start_lower_runtime() -> Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "start the runtime of the lower layer".into())?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("lower".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .doing(|| "start the thread of the lower layer".into())?;
    Ok(handle)
}

async fn boot_and_serve<H: Listen>(dial: H, site: Site, lower: Handle) -> Result<()> {
    let environment = tokio::task::spawn_blocking(move || match site {
        Site::Machine => {
            environment::mount_environment()?;
            network::set_up()
        }
        Site::Sandbox => sandbox::mount_environment(),
    });
    let mut prepare = Some((environment, lower));
    let mut ready = None;
    let (agent, calls) = loop {
        // A guest that was saved while it waits here, and wakes up, finds that the host broke off.
        let mut host = reach(&dial, Role::Control).await;
        let Ok((welcome, fresh)) = welcome(&mut host).await else {
            tokio::time::sleep(HELLO_AGAIN).await;
            continue;
        };
        if let Some((environment, lower)) = prepare.take() {
            let prepared = async {
                environment.await.unwrap_or(Err(Error::HungUp))?;
                let content = dial.clone();
                let agent = move || set_up(content, site, &lower, &welcome, &fresh);
                let agent = tokio::task::spawn_blocking(agent).await;
                let agent = agent.unwrap_or(Err(Error::HungUp))?;
                Ok((Arc::new(agent), dial.listen().doing(|| "listen for calls".into())?))
            };
            match prepared.await {
                Ok(prepared) => ready = Some(prepared),
                Err(error) => {
                    let failed = Booted::Failed { message: Error::chain(&error) };
                    let _ = write_frame(&mut host, &failed).await;
                    let _ = read_frame::<Welcome>(&mut host, GUEST_FRAME_LIMIT).await;
                    return Err(error);
                }
            }
        }
        let booted = Booted::Ready { agent_version: env!("CARGO_PKG_VERSION").into() };
        if write_frame(&mut host, &booted).await.is_ok()
            && let Some(ready) = ready.take()
        {
            break ready;
        }
    };
    take_calls(agent, calls).await;
    Ok(())
}

/// What the host says to a guest that said hello.
async fn welcome(host: &mut (impl AsyncRead + Unpin)) -> Result<(Welcome, Fresh)> {
    let hung_up = |_| Error::HungUp;
    let welcome = read_frame(host, GUEST_FRAME_LIMIT).await.map_err(hung_up)?;
    let fresh = read_frame(host, GUEST_FRAME_LIMIT).await.map_err(hung_up)?;
    welcome.zip(fresh).ok_or(Error::HungUp)
}

/// Serves connections until one of them asks to power off, or none will come any more.
async fn take_calls<S>(agent: Arc<Agent>, mut calls: mpsc::Receiver<S>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (power, mut off) = mpsc::channel(1);
    loop {
        let call = tokio::select! {
            call = calls.recv() => call,
            _ = off.recv() => break,
        };
        let Some(stream) = call else { break };
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let (agent, power) = (agent.clone(), power.clone());
        tokio::spawn(async move {
            let after = serve(agent, stream).await;
            drop(place);
            if after == After::PowerOff {
                let _ = power.send(()).await;
            }
        });
    }
    let place = agent.place.clone();
    drop(agent);
    let _ = tokio::task::spawn_blocking(move || place.shut_down(LAST_WORK)).await;
}

/// Everything that needs the host's welcome. Blocks.
fn set_up(
    host: impl Listen,
    site: Site,
    lower: &Handle,
    welcome: &Welcome,
    fresh: &Fresh,
) -> Result<Agent> {
    if site == Site::Machine {
        sys::set_clock(welcome.now_ns).doing(|| "set the clock".into())?;
        sys::stir(&fresh.entropy).doing(|| "renew the randomness".into())?;
    }
    nix::unistd::sethostname(&welcome.hostname).doing(|| "set the host name".into())?;
    let _lower = lower.enter();
    let content = Content::start(host);
    let places = Places {
        lower: LOWER.into(),
        merged: MERGED.into(),
        scratch: Path::new(SCRATCH).join("workspace"),
        marking: match site {
            Site::Machine => Marking::Trusted,
            Site::Sandbox => Marking::User,
        },
    };
    let workspace = Workspace::mount(&places, &content, welcome)?;
    push::recover(&workspace)?;
    let (layout, confinement, groups) = match site {
        Site::Machine => {
            let cgroups = Cgroups::new(PathBuf::from(CGROUPS));
            let cgroups = cgroups.doing(|| "make a cgroup".into())?;
            cgroups.leave_room();
            (environment::LAYOUT, None, Groups::Cgroups(cgroups))
        }
        Site::Sandbox => (sandbox::LAYOUT, Some(Confinement::new()?), sandbox::groups()?),
    };
    let (namespace, terminals) = environment::enter(layout)?;
    let root = std::fs::File::open(NEW_ROOT).doing(|| "open the environment".into())?.into();
    let inside = Inside { namespace: Some(namespace), root, terminals, confinement };
    let place = Arc::new(Place::new(inside, groups));
    let spool = Path::new(SCRATCH).join("spool");
    Ok(Agent {
        workspace: Arc::new(workspace),
        execs: Arc::new(Execs::new(place.clone(), spool)?),
        shells: Arc::new(Shells::new(place.clone())),
        place,
        content,
        pushes: Pushes::default(),
        hashes: Default::default(),
    })
}

/// Writes everything to disk and ends the VM. A reset, because that ends QEMU (`-no-reboot`) and
/// Firecracker alike.
fn power_off() {
    sys::kill_everyone();
    for mounted in [NEW_ROOT, MERGED, LOWER, IMAGE] {
        let _ = umount2(mounted, MntFlags::MNT_DETACH);
    }
    nix::unistd::sync();
    // Busy when something still holds a file: synced all the same, the journal covers the rest.
    let _ = umount2(SCRATCH, MntFlags::empty());
    let _ = reboot(RebootMode::RB_AUTOBOOT);
}

/// Writes everything to disk and ends the sandbox: its namespaces, and all mounts with them, end with
/// their first process.
fn leave() {
    sys::kill_everyone();
    if let Ok(scratch) = std::fs::File::open(SCRATCH) {
        let _ = nix::unistd::syncfs(&scratch);
    }
}
