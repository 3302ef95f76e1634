//! From the first instruction of PID 1 to serving calls, and from there to the end of power.

mod early;
mod environment;
mod network;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use pyro_proto::{AGENT_PORT, Booted, GUEST_FRAME_LIMIT, Role, Welcome, read_frame, write_frame};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Semaphore, mpsc};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

use crate::error::{Doing, Error, Result};
use crate::exec::{Cgroups, Execs, Place};
use crate::lower::{Content, Vsock, reach};
use crate::push::{self, Pushes};
use crate::serve::{After, Agent, serve};
use crate::shell::Shells;
use crate::sys;
use crate::workspace::{Places, Workspace};

/// Connections served at once.
const CONNECTIONS: usize = 256;
/// Pause before saying hello again to a host that broke off.
const HELLO_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for killed commands and for work under way when the power goes.
const LAST_WORK: Duration = Duration::from_secs(2);

/// Mount points in the initramfs.
const SCRATCH: &str = "/scratch";
const IMAGE: &str = "/image";
const NEW_ROOT: &str = "/newroot";
const LOWER: &str = "/lower";
const MERGED: &str = "/merged";
const CGROUPS: &str = "/sys/fs/cgroup/pyro";

/// Runs a VM as its PID 1. Anywhere else it only says so.
pub fn run() {
    if std::process::id() != 1 {
        eprintln!("pyro-agent: only runs as PID 1 of a workspace VM");
        std::process::exit(2);
    }
    if let Err(error) = live() {
        eprintln!("pyro-agent: {}", error.chain());
    }
    power_off();
}

fn live() -> Result<()> {
    sys::raise_own_limits();
    early::mounts()?;
    early::load_modules("order")?;
    let lower = start_lower_runtime()?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "start the runtime".into())?;
    let ended = runtime.block_on(boot_and_serve(lower));
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

async fn boot_and_serve(lower: Handle) -> Result<()> {
    let environment = tokio::task::spawn_blocking(|| {
        environment::mount_environment()?;
        network::set_up()
    });
    let mut prepare = Some((environment, lower));
    let mut ready: Option<(Arc<Agent>, VsockListener)> = None;
    let (agent, listener) = loop {
        let mut host = reach(&Vsock, Role::Control).await;
        let Ok(Some(welcome)) = read_frame::<Welcome>(&mut host, GUEST_FRAME_LIMIT).await else {
            tokio::time::sleep(HELLO_AGAIN).await;
            continue;
        };
        if let Some((environment, lower)) = prepare.take() {
            let prepared = async {
                environment.await.unwrap_or(Err(Error::HungUp))?;
                let agent = tokio::task::spawn_blocking(move || set_up(&lower, &welcome));
                let agent = agent.await.unwrap_or(Err(Error::HungUp))?;
                let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, AGENT_PORT));
                Ok((Arc::new(agent), listener.doing(|| "listen for calls".into())?))
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
    take_calls(agent, listener).await;
    Ok(())
}

/// Serves connections until one of them asks to power off.
async fn take_calls(agent: Arc<Agent>, listener: VsockListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (power, mut off) = mpsc::channel(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = off.recv() => break,
        };
        // A connection that failed on arrival is the host's to repeat.
        let Ok((stream, _)) = accepted else { continue };
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
fn set_up(lower: &Handle, welcome: &Welcome) -> Result<Agent> {
    sys::set_clock(welcome.now_ns).doing(|| "set the clock".into())?;
    nix::unistd::sethostname(&welcome.hostname).doing(|| "set the host name".into())?;
    let _lower = lower.enter();
    let content = Content::start(Vsock);
    let places = Places {
        lower: LOWER.into(),
        merged: MERGED.into(),
        scratch: Path::new(SCRATCH).join("workspace"),
    };
    let workspace = Workspace::mount(&places, &content, welcome)?;
    push::recover(&workspace)?;
    let inside = environment::enter()?;
    let cgroups = Cgroups::new(PathBuf::from(CGROUPS)).doing(|| "make a cgroup".into())?;
    cgroups.leave_room();
    let place = Arc::new(Place::new(inside, Some(cgroups)));
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
