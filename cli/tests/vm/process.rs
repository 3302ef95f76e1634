//! Processes of a test: begun beside it, killed, and gone at the end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Home;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("a killed process ends", || !is_alive(pid));
}

pub fn kill_daemon(home: &Home) {
    kill_9(home.daemon_pid());
}

pub fn dir_of(home: &Home, workspace: &str) -> PathBuf {
    home.path().join("workspaces").join(workspace)
}

pub fn workspaces_on_disk(home: &Home) -> usize {
    fs::read_dir(home.path().join("workspaces")).map_or(0, Iterator::count)
}

/// Nothing of any workspace is left.
#[track_caller]
pub fn assert_nothing_remains(home: &Home) {
    until("directories of workspaces go", || workspaces_on_disk(home) == 0);
    assert_eq!(home.json(["workspace", "list"])["workspaces"], serde_json::json!([]));
    assert_eq!(home.json(["store", "verify"])["clean"], true);
    home.ok(["daemon", "stop"]);
    until("processes end", || home.processes().is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(home.path().to_str().unwrap()), "{mounts}");
    assert!(!home.path().join("daemon.sock").exists());
}

/// A command of pyro's that runs beside the test.
pub struct Beside {
    pub child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Beside {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    pub fn exec(home: &Home, workspace: &str, script: &str) -> Self {
        Self::start(home.command(["workspace", "exec", workspace, "--", "sh", "-c", script]))
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        let mut found = String::new();
        self.stdout.read_line(&mut found).unwrap();
        assert_eq!(found.trim_end(), line);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Its end: status, the rest of its output, what it complained about.
    pub fn end(mut self) -> (ExitStatus, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap(), stdout, stderr)
    }
}
