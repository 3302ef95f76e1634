//! A cgroup for each command, below one for all of them: killing and freezing reach whatever a
//! command started, however it hides.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_proto::ExecId;

/// Longest wait for the commands to freeze. A task that waits for the lower layer cannot.
const FREEZE_WITHIN: Duration = Duration::from_secs(1);
/// Pause between two looks at a cgroup's state, which nothing announces to a blocking thread.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// The cgroup that holds all commands.
#[derive(Debug, Clone)]
pub struct Cgroups {
    top: PathBuf,
}

impl Cgroups {
    /// Makes the cgroup at `top`, below a mounted cgroup2 filesystem.
    pub fn new(top: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&top)?;
        Ok(Self { top })
    }

    fn of(&self, id: ExecId) -> PathBuf {
        self.top.join(format!("exec-{id}"))
    }

    /// Makes a command's cgroup; returns its `cgroup.procs`.
    pub fn create(&self, id: ExecId) -> io::Result<File> {
        let path = self.of(id);
        fs::create_dir_all(&path)?;
        File::options().write(true).open(path.join("cgroup.procs"))
    }

    /// Kills everything in a command's cgroup.
    pub fn kill(&self, id: ExecId) {
        // A cgroup that is gone has nothing left to kill.
        let _ = fs::write(self.of(id).join("cgroup.kill"), "1");
    }

    /// Removes a command's cgroup unless something still runs in it; `true` when it is gone.
    pub fn remove(&self, id: ExecId) -> bool {
        match fs::remove_dir(self.of(id)) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Stops all commands until the answer is dropped. Goes on without those that cannot be stopped
    /// in time. Blocks.
    pub fn freeze(&self) -> Frozen<'_> {
        let _ = fs::write(self.top.join("cgroup.freeze"), "1");
        wait_for(&self.top, "frozen 1", FREEZE_WITHIN);
        Frozen(self)
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
        match fs::read_to_string(cgroup.join("cgroup.events")) {
            Ok(events) if !events.lines().any(|line| line == state) => {
                std::thread::sleep(LOOK_AGAIN);
            }
            _ => return,
        }
    }
}

/// All commands stand still while this exists.
#[derive(Debug)]
pub struct Frozen<'a>(&'a Cgroups);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = fs::write(self.0.top.join("cgroup.freeze"), "0");
    }
}
