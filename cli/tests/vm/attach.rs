//! `shell attach` on a pseudo-terminal, as a person has it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{ENVIRONMENT, Home, told};
use crate::tree::str_of;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// A person's terminal with pyro running on it.
pub struct Desk {
    master: File,
    child: Child,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of the screen's output was looked at.
    seen: usize,
}

impl Desk {
    pub fn sit_down(home: &Home, args: &[&str], cols: u16, rows: u16) -> Self {
        Self::sit_down_in(home, &std::env::temp_dir(), args, cols, rows)
    }

    pub fn sit_down_in(home: &Home, dir: &Path, args: &[&str], cols: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let end = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let master = File::from(master);
        let end = File::from(end);
        resize(&master, cols, rows);
        let stdio = || Stdio::from(end.try_clone().unwrap());
        let mut command = home.command(args);
        command.current_dir(dir);
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, shown) = (master.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                shown.lock().unwrap().extend(&buffer[..read]);
            }
        });
        Self { master, child, screen, seen: 0 }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this was shown after what was waited for before.
    #[track_caller]
    pub fn expect(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen.lock().unwrap().clone();
            let new = &screen[self.seen..];
            if let Some(at) = new.windows(wanted.len()).position(|w| w == wanted.as_bytes()) {
                self.seen += at + wanted.len();
                return;
            }
            let text = String::from_utf8_lossy(new);
            assert!(Instant::now() < deadline, "{wanted:?} was not shown: {text:?}");
            sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Keys are passed on one by one.
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    #[track_caller]
    pub fn ends_with(mut self, code: i32) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "pyro goes on");
            sleep(Duration::from_millis(20));
        };
        let screen = self.screen.lock().unwrap();
        let text = String::from_utf8_lossy(&screen[self.seen..]);
        assert_eq!(status.code(), Some(code), "{text}");
        assert!(!self.is_raw(), "the terminal is left raw");
    }
}

fn resize(master: &File, cols: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

#[test]
fn a_person_attaches_detaches_and_comes_back() {
    let home = Home::new();
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    let id = home.workspace(&seed);
    let attach = ["workspace", "shell", "attach", &id];
    let mut desk = Desk::sit_down(&home, &attach, 100, 30);
    desk.expect("attached to shell-1");
    desk.expect("# ");
    assert!(desk.is_raw());
    desk.type_in("stty size; echo $((40 + 2))-up\r");
    desk.expect("30 100\r\n42-up");
    resize(&desk.master, 80, 20);
    desk.signal(Signal::SIGWINCH);
    desk.type_in("stty size\r");
    desk.expect("20 80\r\n");

    // A full-screen program, keys that belong to the guest, and a daemon that dies.
    desk.type_in("top\r");
    desk.expect("load average");
    desk.expect("PID USER");
    desk.type_in("q");
    desk.expect("# ");
    desk.type_in("sh -c 'echo sleeping-$((1 + 1)); exec sleep 1000'\r");
    desk.expect("sleeping-2");
    kill(Pid::from_raw(home.daemon_pid()), Signal::SIGKILL).unwrap();
    // A key that meets the dying daemon may be lost; no daemon, and no key, is waited for in vain.
    home.ok(["workspace", "status", &id]);
    desk.type_in("\x03");
    desk.expect("^C");
    desk.type_in("echo $((1 + 2))-on\r");
    desk.expect("3-on");

    desk.type_in("top\r");
    desk.expect("PID USER");
    desk.type_in("\x1d");
    desk.expect("detached from shell-1, which goes on");
    desk.expect(&format!("pyro workspace shell attach {id} shell-1"));
    desk.ends_with(0);

    // What runs full-screen is painted anew.
    let mut desk = Desk::sit_down(&home, &[&attach[..], &["shell-1"]].concat(), 90, 25);
    desk.expect("load average");
    desk.expect("PID USER");
    desk.type_in("q");
    desk.expect("# ");
    desk.type_in("echo $((2 + 3))-back\r");
    desk.expect("5-back");
    desk.signal(Signal::SIGTERM);
    desk.ends_with(143);

    // The last lines are shown again; what was opened elsewhere stays after its end.
    let args = [&attach[..], &["shell-1", "--detach-key", "^a"]].concat();
    let mut desk = Desk::sit_down(&home, &args, 90, 25);
    desk.expect("Ctrl-A detaches");
    desk.expect("5-back");
    desk.type_in("exit 3\r");
    desk.expect("shell-1 has ended (exit code 3)");
    desk.ends_with(0);
    let mut desk = Desk::sit_down(&home, &[&attach[..], &["--env", "A=b"]].concat(), 90, 25);
    desk.expect("attached to shell-2");
    desk.type_in("echo $A-$((3 + 4)); exit\r");
    desk.expect("b-7");
    desk.expect("shell-2 has ended");
    desk.ends_with(0);
    let listed = home.json(["workspace", "shell", "list", &id]);
    let listed = listed["shells"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((str_of(&listed[0], "shell_id"), &listed[0]["exit_code"]), ("shell-1", &3.into()));
    assert_eq!(home.json(["workspace", "logs", &id])["entries"], serde_json::json!([]));

    // A shell that is gone is told, and the terminal is as before; so is a workspace that stops.
    let desk = Desk::sit_down(&home, &[&attach[..], &["shell-9"]].concat(), 90, 25);
    desk.ends_with(3);
    let mut desk = Desk::sit_down(&home, &attach, 90, 25);
    desk.expect("# ");
    home.ok(["workspace", "stop", &id]);
    desk.expect("is stopped");
    desk.ends_with(4);
    home.ok(["workspace", "delete", &id]);
    home.ok(["daemon", "stop"]);
    assert_eq!(home.processes(), Vec::<String>::new());
}

/// The agent hangs up before the machine has ended: whoever notices in between must not blame it.
#[test]
fn everyone_who_is_attached_is_told_of_a_stop() {
    let home = Home::new();
    let created = home.json(["workspace", "create", ENVIRONMENT]);
    let id = str_of(&created, "workspace_id");
    let attach = || Desk::sit_down(&home, &["workspace", "shell", "attach", id], 90, 25);
    let mut desks: Vec<_> = (0..8).map(|_| attach()).collect();
    desks.iter_mut().for_each(|desk| desk.expect("# "));
    home.ok(["workspace", "stop", id]);
    for mut desk in desks {
        desk.expect("is stopped");
        desk.ends_with(4);
    }
}

#[test]
fn here_without_a_command_is_a_shell_and_then_asks() {
    let home = Home::new();
    let project = home.scratch("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("file"), "one\n").unwrap();
    let mut desk = Desk::sit_down_in(&home, &project, &["here"], 90, 25);
    desk.expect("# ");
    desk.type_in("echo two >> file; exit\r");
    desk.expect("shell-1 has ended");
    desk.expect("1 entry differs");
    desk.expect("[a]pply to this directory");
    // The keyboard is the question's again, from the first key on.
    desk.type_in("d\n");
    desk.expect("the workspace is discarded");
    desk.ends_with(0);
    assert_eq!(fs::read_to_string(project.join("file")).unwrap(), "one\n");
    assert_eq!(home.json(["workspace", "list"])["workspaces"], serde_json::json!([]));

    let mut desk = Desk::sit_down_in(&home, &project, &["here"], 90, 25);
    desk.expect("# ");
    desk.type_in("\x1d");
    desk.expect("detached from shell-1, which goes on");
    desk.expect("is kept");
    desk.ends_with(0);
}

#[test]
fn attach_needs_a_terminal_and_a_person() {
    let home = Home::new();
    let output = home.output(["workspace", "shell", "attach", "any"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a terminal"));
    let (code, error) = home.fails(["workspace", "shell", "attach", "any"]);
    assert_eq!((code, str_of(&error, "code")), (2, "invalid_argument"));
    let args = ["workspace", "shell", "attach", "any", "--detach-key", "]"];
    assert_eq!(home.fails(args).0, 2);
}
