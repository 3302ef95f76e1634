//! A cgroup for each command and shell, below one for all of them: killing and freezing reach
//! whatever they started, however it hides.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyro_proto::{ExecId, ShellId};

/// Pause between two looks at a cgroup's state, which nothing announces to a blocking thread.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Memory that commands leave to the agent and the kernel: a tenth of all, within these bounds, in KiB.
const ROOM_KIB: (u64, u64) = (24 << 10, 96 << 10);

/// Whose cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// A command's.
    Exec(ExecId),
    /// A shell's.
    Shell(ShellId),
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(id) => write!(f, "exec-{id}"),
            Self::Shell(id) => write!(f, "shell-{id}"),
        }
    }
}

/// The cgroup that holds all commands and shells.
#[derive(Debug, Clone)]
pub struct Cgroups {
    top: PathBuf,
    /// Those whose program has ended while something it started still ran.
    lingering: Arc<Mutex<HashSet<Group>>>,
    /// How many want all commands to stand still.
    freezers: Arc<Mutex<usize>>,
}

impl Cgroups {
    /// Makes the cgroup at `top`, below a mounted cgroup2 filesystem.
    pub fn new(top: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&top)?;
        Ok(Self { top, lingering: Arc::default(), freezers: Arc::default() })
    }

    /// Leaves room for the agent, whatever commands do: memory, processes, and its turn on the
    /// processor; as far as the kernel has controllers for it (cgroups(7)).
    pub fn leave_room(&self) {
        let Some(root) = self.top.parent() else { return };
        for controller in ["+cpu", "+memory", "+pids"] {
            let _ = fs::write(root.join("cgroup.subtree_control"), controller);
        }
        let _ = fs::write(self.top.join("cgroup.subtree_control"), "+memory");
        let number = |path: &str, key: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if let Some(kib) = number("/proc/meminfo", "MemTotal:") {
            let (least, most) = ROOM_KIB;
            let most = (kib - (kib / 10).clamp(least, most).min(kib / 2)) << 10;
            let _ = fs::write(self.top.join("memory.max"), most.to_string());
        }
        if let Some(threads) = number("/proc/sys/kernel/threads-max", "") {
            let _ = fs::write(self.top.join("pids.max"), (threads / 2).to_string());
        }
    }

    fn of(&self, group: Group) -> PathBuf {
        self.top.join(group.to_string())
    }

    /// Makes a cgroup; returns its `cgroup.procs`.
    pub fn create(&self, group: Group) -> io::Result<File> {
        let path = self.of(group);
        fs::create_dir_all(&path)?;
        if let Group::Exec(_) = group {
            // When memory runs out a command ends as a whole: one that forks without end would go on.
            let _ = fs::write(path.join("memory.oom.group"), "1");
        }
        File::options().write(true).open(path.join("cgroup.procs"))
    }

    /// Kills everything in a cgroup.
    pub fn kill(&self, group: Group) {
        // A cgroup that is gone has nothing left to kill.
        let _ = fs::write(self.of(group).join("cgroup.kill"), "1");
    }

    /// Removes the cgroup of a program that has ended, and those of earlier ones, as far as nothing
    /// runs in them any more.
    pub fn sweep(&self, ended: Group) {
        let mut lingering = self.lingering.lock();
        lingering.insert(ended);
        lingering.retain(|group| !self.remove(*group));
    }

    /// Whether something still ran in this cgroup when its program had ended.
    pub fn lingers(&self, group: Group) -> bool {
        self.lingering.lock().contains(&group)
    }

    /// Removes a cgroup unless something still runs in it; `true` when it is gone.
    fn remove(&self, group: Group) -> bool {
        match fs::remove_dir(self.of(group)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Stops all commands until the answer is dropped. Goes on after `within` without those that
    /// cannot be stopped: a task that waits for the lower layer, for one. Blocks.
    pub fn freeze(&self, within: Duration) -> Frozen {
        let mut freezers = self.freezers.lock();
        *freezers += 1;
        if *freezers == 1 {
            self.set_freeze("1");
        }
        drop(freezers);
        let frozen = Frozen { cgroups: self.clone(), since: Instant::now() };
        wait_for(&self.top, "frozen 1", within);
        frozen
    }

    fn set_freeze(&self, value: &str) {
        let _ = fs::write(self.top.join("cgroup.freeze"), value);
    }

    fn is(&self, state: &str) -> bool {
        holds(&self.top, state).unwrap_or(false)
    }

    /// Kills all commands and waits until they are gone. Blocks.
    pub fn kill_all(&self, within: Duration) {
        let _ = fs::write(self.top.join("cgroup.kill"), "1");
        wait_for(&self.top, "populated 0", within);
    }
}

fn wait_for(cgroup: &Path, state: &str, within: Duration) {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        match holds(cgroup, state) {
            Ok(false) => std::thread::sleep(LOOK_AGAIN),
            _ => return,
        }
    }
}

/// Whether a cgroup is in this state, a line of its `cgroup.events`.
fn holds(cgroup: &Path, state: &str) -> io::Result<bool> {
    let events = fs::read_to_string(cgroup.join("cgroup.events"))?;
    Ok(events.lines().any(|line| line == state))
}

/// All commands stand still while this exists.
#[derive(Debug)]
pub struct Frozen {
    cgroups: Cgroups,
    since: Instant,
}

impl Frozen {
    /// Whether every one of them stands still.
    pub fn is_complete(&self) -> bool {
        self.cgroups.is("frozen 1")
    }

    /// Whether there are any.
    pub fn is_busy(&self) -> bool {
        self.cgroups.is("populated 1")
    }

    /// Time since they were told to stand still.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut freezers = self.cgroups.freezers.lock();
        *freezers -= 1;
        if *freezers == 0 {
            self.cgroups.set_freeze("0");
        }
    }
}
