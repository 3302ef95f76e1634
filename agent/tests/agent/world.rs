//! A mounted workspace in a mount namespace of its own.

use std::path::PathBuf;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pyro_agent::exec::{Cgroups, Execs, Groups, Inside, Marks, Place};
use pyro_agent::lower::Content;
use pyro_agent::push::{Pushes, recover};
use pyro_agent::serve::{Agent, serve};
use pyro_agent::shell::Shells;
use pyro_agent::workspace::{Marking, Places, Workspace};
use pyro_format::Mode;
use pyro_proto::{Call, Change, Reply, ReportEnd, Source, Welcome, read_frame, write_frame};
use tokio::io::DuplexStream;
use tokio::runtime::{Builder, Runtime};

use crate::host::{Host, InProcess, Item};
use crate::model::{Shape, apply};

pub struct World {
    pub agent: Arc<Agent>,
    pub host: Arc<Host>,
    pub lower: Shape,
    /// `/workspace`.
    pub top: PathBuf,
    /// The scratch directory's upper layer.
    pub upper: PathBuf,
    runtime: Runtime,
    lower_runtime: Runtime,
    mounts: Mounts,
}

/// Unmounts when everything else is gone.
struct Mounts(tempfile::TempDir);

impl Mounts {
    fn detach(&self) {
        for mounted in ["merged", "lower"] {
            let at = self.0.path().join(mounted);
            let _ = nix::mount::umount2(&at, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.detach();
        let _ = std::fs::remove_dir(test_cgroup());
    }
}

/// Runs `test` over a workspace with this baseline, or says why it cannot.
pub fn with_world(baseline: Item, test: impl FnOnce(World) + Send + 'static) {
    let usable = nix::unistd::geteuid().is_root() && std::path::Path::new("/dev/fuse").exists();
    if !usable {
        eprintln!("skipped: needs root and /dev/fuse");
        return;
    }
    // Namespaces belong to threads; those started from here on inherit this one.
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        test(World::new(baseline));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl World {
    fn new(baseline: Item) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = Arc::new(Host::default());
        host.trees.lock().unwrap().insert(Source::Lower, baseline.clone());
        let (runtime, lower_runtime) = (new_runtime(), new_runtime());
        let agent = Self::agent(&dir, &host, &lower_runtime, &baseline);
        Self {
            agent,
            host,
            lower: Shape::of(&baseline),
            top: dir.path().join("merged/ws"),
            upper: dir.path().join("scratch/upper"),
            runtime,
            lower_runtime,
            mounts: Mounts(dir),
        }
    }

    fn agent(
        dir: &tempfile::TempDir,
        host: &Arc<Host>,
        lower_runtime: &Runtime,
        baseline: &Item,
    ) -> Arc<Agent> {
        let places = Places {
            lower: dir.path().join("lower"),
            merged: dir.path().join("merged"),
            scratch: dir.path().join("scratch"),
            marking: Marking::Trusted,
        };
        let Item::Dir { mode, mtime, .. } = baseline else { panic!("the top is a directory") };
        let welcome = Welcome {
            now_ns: 0,
            hostname: "test".into(),
            root_mode: Mode::new(*mode),
            root_mtime: *mtime,
        };
        let _inside = lower_runtime.enter();
        let content = Content::start(InProcess(host.clone()));
        let workspace = Workspace::mount(&places, &content, &welcome).unwrap();
        recover(&workspace).unwrap();
        let groups = Cgroups::new(test_cgroup())
            .map_or_else(|_| Groups::Marks(Marks::default()), Groups::Cgroups);
        let terminals = std::fs::File::open("/dev/pts").unwrap().into();
        let root = std::fs::File::open("/").unwrap().into();
        let inside = Inside { namespace: None, root, terminals, confinement: None };
        let place = Arc::new(Place::new(inside, groups));
        let execs = Execs::new(place.clone(), dir.path().join("spool")).unwrap();
        Arc::new(Agent {
            workspace: Arc::new(workspace),
            execs: Arc::new(execs),
            shells: Arc::new(Shells::new(place.clone())),
            place,
            content,
            pushes: Pushes::default(),
            hashes: Default::default(),
        })
    }

    /// The same workspace after the VM was stopped and started.
    pub fn reboot(self, baseline: &Item) -> Self {
        let Self { agent, host, lower, top, upper, runtime, lower_runtime, mounts } = self;
        // Ends what connections are left, and with them what holds the mounts.
        drop((agent, runtime));
        mounts.detach();
        let runtime = new_runtime();
        let agent = Self::agent(&mounts.0, &host, &lower_runtime, baseline);
        Self { agent, host, lower, top, upper, runtime, lower_runtime, mounts }
    }

    /// Opens a connection to the agent.
    pub fn connect(&self) -> Connection<'_> {
        let (guest, host) = tokio::io::duplex(1 << 16);
        self.runtime.spawn(serve(self.agent.clone(), guest));
        Connection { stream: host, runtime: &self.runtime }
    }

    /// Makes a call that has one answer.
    pub fn call(&self, call: Call) -> Reply {
        let mut connection = self.connect();
        connection.send(&call);
        connection.next().expect("an answer")
    }

    pub fn report(&self, full: bool) -> (Vec<Change>, ReportEnd) {
        let mut connection = self.connect();
        connection.send(&Call::Report { full });
        let mut changes = Vec::new();
        loop {
            match connection.next() {
                Some(Reply::Changes(batch)) => changes.extend(batch),
                Some(Reply::ReportEnd(end)) => return (changes, end),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The tree that the report gives; it must be what a full scan sees.
    pub fn tree(&self) -> Shape {
        let reported = apply(&self.lower, self.report(false).0);
        let scanned = apply(&self.lower, self.report(true).0);
        assert_eq!(reported, scanned);
        reported
    }
}

fn new_runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn test_cgroup() -> PathBuf {
    let top = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|top| std::path::Path::new(top).join("cgroup.procs").exists());
    let name = format!("pyro-test-{}", std::process::id());
    PathBuf::from(top.unwrap_or("/nonexistent")).join(name)
}

pub struct Connection<'a> {
    stream: DuplexStream,
    runtime: &'a Runtime,
}

impl Connection<'_> {
    pub fn send(&mut self, call: &Call) {
        self.runtime.block_on(write_frame(&mut self.stream, call)).unwrap();
    }

    pub fn next(&mut self) -> Option<Reply> {
        self.runtime.block_on(read_frame(&mut self.stream, 4 << 20)).unwrap()
    }
}
