//! Programs of the host: finding them, and running them so that they end with us.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, fs, thread};

use crate::{Error, Progress, Result};

/// A program that building environments needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub name: &'static str,
    /// The package's name.
    pub package: &'static str,
    /// Only needed when the caller is not root.
    pub rootless_only: bool,
}

const TOOLS: &[Tool] = &[
    Tool { name: "mmdebstrap", package: "mmdebstrap", rootless_only: false },
    Tool { name: "mkfs.erofs", package: "erofs-utils", rootless_only: false },
    Tool { name: "mkfs.ext4", package: "e2fsprogs", rootless_only: false },
    Tool { name: "newuidmap", package: "uidmap", rootless_only: true },
];

/// Every program this crate runs, for a check of the host.
pub fn required_tools() -> &'static [Tool] {
    TOOLS
}

/// The path of the program `name`: looked up in `PATH` and then in the system's `sbin` directories,
/// which ordinary users often have not in their `PATH`.
///
/// # Errors
/// [`Error::ToolMissing`] with the Debian package to install.
pub fn find_tool(name: &str) -> Result<PathBuf> {
    let runs = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let found = env::split_paths(&search_path()).map(|dir| dir.join(name)).find(runs);
    found.ok_or_else(|| Error::ToolMissing {
        tool: name.to_owned(),
        package: match name {
            "fsck.erofs" => "erofs-utils".to_owned(),
            _ => TOOLS
                .iter()
                .find(|tool| tool.name == name)
                .map_or(name, |tool| tool.package)
                .to_owned(),
        },
    })
}

fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push("/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// Leads the process group: starts the program and, when standard input (a pipe that only we hold open)
/// ends, kills the whole group. So nothing survives a cancelled pull or a killed daemon. mmdebstrap
/// alone would not do: killed, it leaves its children running.
const LEADER: &str = r#"
"$@" </dev/null & child=$!
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec 3<&-
wait "$child"
"#;

/// What of the caller's environment reaches the programs: how to reach the network, no more.
const PASSED_ON: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// How many of the last lines of output an error carries.
const TAIL_LINES: usize = 12;
const TAIL_WIDTH: usize = 300;

/// One run of a program.
pub(crate) struct Run {
    tool: String,
    command: Command,
}

impl Run {
    /// Will run `program`; errors call it `tool`.
    pub fn new(tool: &str, program: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LEADER, "sh"]).arg(program);
        command.env_clear().env("PATH", search_path()).env("LC_ALL", "C.UTF-8");
        command.env("HOME", env::var_os("HOME").unwrap_or_else(|| "/".into()));
        for name in PASSED_ON {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command.current_dir("/").process_group(0);
        Self { tool: tool.to_owned(), command }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, giving each line of its output (both streams) to `line`.
    pub fn finish(mut self, progress: &dyn Progress, mut line: impl FnMut(&str)) -> Result<()> {
        let program = PathBuf::from(self.command.get_program());
        let started = |error| Error::io("run", &program)(error);
        let (output, sink) = std::io::pipe().map_err(started)?;
        // Its closing, by us or by our death, ends the group.
        let (lifeline, life) = std::io::pipe().map_err(started)?;
        let stdout = sink.try_clone().map_err(started)?;
        self.command.stdin(OwnedFd::from(lifeline)).stdout(stdout).stderr(sink);
        let mut child = self.command.spawn().map_err(started)?;
        // The command holds our copies of the child's ends.
        drop(self.command);

        let (lines, heard) = sync_channel(64);
        let reader = thread::spawn(move || read_lines(output, &lines));
        let mut life = Some(life);
        let mut tail = VecDeque::new();
        let cancelled = listen(&heard, &mut child, progress, |text| {
            line(text);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(text.chars().filter(|c| !c.is_control()).take(TAIL_WIDTH).collect());
        });
        if cancelled {
            life = None;
        }
        let status = child.wait().map_err(started)?;
        drop(life);
        drop(heard);
        // It ends with the last holder of the pipe, all of which are in the group.
        let _ = reader.join();
        if cancelled {
            Err(Error::Cancelled)
        } else if status.success() {
            Ok(())
        } else {
            Err(Error::ToolFailed { tool: self.tool, status, tail: tail.into() })
        }
    }
}

/// Hands lines on until the child has ended (false) or the caller cancels (true).
fn listen(
    heard: &Receiver<String>,
    child: &mut Child,
    progress: &dyn Progress,
    mut line: impl FnMut(&str),
) -> bool {
    loop {
        if progress.cancelled() {
            return true;
        }
        match heard.recv_timeout(Duration::from_millis(100)) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return false,
            // A straggler may hold the pipe open after the program itself has ended.
            Err(RecvTimeoutError::Timeout) if matches!(child.try_wait(), Ok(None)) => {}
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

fn read_lines(output: PipeReader, lines: &SyncSender<String>) {
    let mut output = BufReader::new(output);
    let mut bytes = Vec::new();
    while output.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        // Programs redraw a line after a carriage return: its last state counts.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default();
        // Nobody listens any more: read on, so that the program does not die of a broken pipe.
        let _ = lines.send(text.to_owned());
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::Silent;

    fn sh(script: &str) -> Run {
        let mut run = Run::new("script", Path::new("/bin/sh"));
        run.args(["-c", script]);
        run
    }

    #[test]
    fn output_of_both_streams_arrives_by_lines() {
        let mut lines = Vec::new();
        sh("echo one; echo 1%\r2%; echo two >&2")
            .finish(&Silent, |l| lines.push(l.to_owned()))
            .unwrap();
        assert_eq!(lines, ["one", "2%", "two"]);
    }

    #[test]
    fn a_failure_carries_the_last_lines_and_the_status() {
        let error = sh("seq 100; exit 3").finish(&Silent, |_| ()).unwrap_err();
        let Error::ToolFailed { status, tail, .. } = &error else { panic!("{error}") };
        assert_eq!(status.code(), Some(3));
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().map(String::as_str), Some("100"));
    }

    #[test]
    fn programs_inherit_no_environment_and_no_input() {
        let mut lines = Vec::new();
        sh("env | grep -c CARGO; cat; exit 0")
            .finish(&Silent, |l| lines.push(l.to_owned()))
            .unwrap();
        assert_eq!(lines, ["0"]);
    }

    #[test]
    fn cancelling_ends_children_of_children() {
        struct Stop(AtomicBool);
        impl Progress for Stop {
            fn phase(&self, _: &str, _: &str) {}
            fn advance(&self, _: u64, _: Option<u64>) {}
            fn cancelled(&self) -> bool {
                self.0.load(Ordering::SeqCst)
            }
        }
        let stop = Stop(AtomicBool::new(false));
        let mut inner = None;
        let result = sh("sh -c 'echo $$; exec sleep 1000' & wait").finish(&stop, |line| {
            inner = line.parse::<u32>().ok();
            stop.0.store(true, Ordering::SeqCst);
        });
        assert!(matches!(result, Err(Error::Cancelled)));
        // Gone, or waiting for whoever adopted it to notice: soon, for it is nobody's to wait for.
        let stat = format!("/proc/{}/stat", inner.unwrap());
        let stat = || fs::read_to_string(&stat).unwrap_or_default();
        let ended =
            || stat().is_empty() || [") Z ", ") X "].iter().any(|dead| stat().contains(dead));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !ended() && Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(ended(), "{}", stat());
    }

    #[test]
    fn missing_tools_name_their_package() {
        let error = find_tool("pyro-no-such-tool").unwrap_err();
        assert!(matches!(error, Error::ToolMissing { .. }));
        assert!(find_tool("sh").unwrap().ends_with("sh"));
    }
}
