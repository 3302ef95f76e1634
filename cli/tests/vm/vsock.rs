//! The vsock device of a real VM under clients that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::support::Home;

/// Where the guest's echo server listens.
const PORT: u32 = 5000;

/// Sends back one line for each connection.
const ECHO: &str = r#"
import os, socket, threading
server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
server.bind((socket.VMADDR_CID_ANY, 5000))
server.listen(4096)
if os.fork():
    os._exit(0)
def serve(client):
    with client, client.makefile("rwb") as lines:
        try:
            lines.write(lines.readline())
            lines.flush()
        except OSError:
            pass
while True:
    try:
        client = server.accept()[0]
    except OSError:
        continue
    threading.Thread(target=serve, args=[client], daemon=True).start()
"#;

/// A VM with the echo server, and its device.
struct Device {
    home: Home,
    workspace: String,
    dir: PathBuf,
}

impl Device {
    fn start() -> Self {
        let home = Home::new();
        let seed = home.scratch("seed");
        fs::create_dir(&seed).unwrap();
        let workspace = home.workspace(&seed);
        home.ok(["workspace", "exec", &workspace, "--", "python3", "-c", ECHO]);
        let dir = home.path().join("workspaces").join(&workspace);
        Self { home, workspace, dir }
    }

    fn open(&self) -> UnixStream {
        // The path of a socket may have 108 bytes at most; a home may have more.
        let dir = fs::File::open(&self.dir).unwrap();
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join("vsock");
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn greet(&self) -> UnixStream {
        let mut stream = self.open();
        writeln!(stream, "CONNECT {PORT}").unwrap();
        stream
    }

    fn echo(&self, text: &str) -> io::Result<String> {
        let stream = self.greet();
        let mut lines = BufReader::new(&stream);
        let mut ok = String::new();
        lines.read_line(&mut ok)?;
        if !ok.starts_with("OK ") {
            return Err(io::Error::other(format!("{ok:?} instead of OK")));
        }
        writeln!(&stream, "{text}")?;
        let mut back = String::new();
        lines.read_to_string(&mut back)?;
        Ok(back)
    }

    fn shim(&self) -> PathBuf {
        let record = fs::read(self.dir.join("shim.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        Path::new("/proc").join(record["pid"].to_string())
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(self.shim().join("fd")).unwrap().count()
    }

    /// Processor time the shim has used so far, in clock ticks.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.shim().join("stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// What the guest needs to sleep is idle time for the device.
    fn is_idle(&self) {
        let before = self.ticks();
        self.home.sh(&self.workspace, "sleep 3");
        let used = self.ticks() - before;
        // A device that spins uses all of three seconds, 300 ticks; a call of the agent, few.
        assert!(used < 100, "{used} ticks of processor time");
    }
}

#[test]
fn clients_that_vanish_or_say_nothing_do_no_harm() {
    let device = Device::start();
    assert_eq!(device.echo("hello").unwrap(), "hello\n");
    for _ in 0..400 {
        // Gone between CONNECT and OK.
        drop(device.greet());
    }
    assert_eq!(device.echo("after the vanished").unwrap(), "after the vanished\n");
    for _ in 0..400 {
        drop(device.open());
    }
    assert_eq!(device.echo("after the silent").unwrap(), "after the silent\n");
    let silent: Vec<_> = (0..400).map(|_| device.open()).collect();
    assert_eq!(device.echo("beside the silent").unwrap(), "beside the silent\n");
    device.is_idle();
    drop(silent);
    device.is_idle();
    assert_eq!(device.echo("at last").unwrap(), "at last\n");
}

#[test]
fn two_thousand_connections_leak_no_descriptor() {
    let device = Device::start();
    for n in 0..10 {
        device.echo(&n.to_string()).unwrap();
    }
    let before = device.descriptors();
    for n in 0..2000 {
        let text = n.to_string();
        assert_eq!(device.echo(&text).unwrap().trim_end(), text);
    }
    // The last streams may still be closing.
    let deadline = Instant::now() + Duration::from_secs(30);
    while device.descriptors() > before {
        assert!(Instant::now() < deadline, "{before} before, {} after", device.descriptors());
        sleep(Duration::from_millis(20));
    }
}
