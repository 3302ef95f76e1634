//! Guests that attack the host by all that they have: the daemon stays small, and other workspaces
//! notice nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{dir_of, until};
use crate::support::{Home, told};

/// Growth of the daemon, and of a shim, that an attack may cause, in KiB.
const GROWTH: u64 = 128 << 10;

/// Runs in the guest as root. Frames are those of the wire: a length, then postcard.
const ATTACK: &str = r#"
import os, random, socket, struct, sys
def connect():
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.settimeout(3)
    s.connect((2, 1025))
    return s
def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])
def frame(body):
    return struct.pack('<I', len(body)) + body
HELLO = frame(bytes([3, 1]))
def fetch(path, source=b'\0'):
    return frame(varint(7) + source + b'\1' + varint(len(path)) + path + varint(0) + varint(100))
def quietly(work):
    try:
        return work()
    except OSError:
        return None
def flood():
    held = [s for s in (quietly(connect) for _ in range(2000)) if s]
    print(len(held))
def lengths():
    for n in range(300):
        s = quietly(connect)
        if s:
            quietly(lambda: s.sendall((HELLO if n % 2 else b'') + struct.pack('<I', 0xffffffff - n) + bytes(4096)))
            s.close()
def noise():
    dice = random.Random(1)
    for _ in range(300):
        s = quietly(connect)
        if s:
            body = frame(dice.randbytes(dice.randrange(1, 3000)))
            quietly(lambda: s.sendall(HELLO + body * 20))
            s.close()
def asks():
    for path in [b'own', b'secret', b'../secret', b'/etc/passwd', b'own/../../secret', b'a\0b', b'x' * 70000]:
        for source in [b'\0', b'\1' + varint(1), b'\1' + varint(2 ** 60)]:
            s = connect()
            s.sendall(HELLO + fetch(path, source))
            head = quietly(lambda: s.recv(4, socket.MSG_WAITALL)) or b''
            answer = s.recv(struct.unpack('<I', head)[0], socket.MSG_WAITALL) if len(head) == 4 else b''
            # After the tag: 0 nodes, 1 bytes, 2 an error.
            print(path[:20], source == b'\0', 'bytes' if answer[1:2] == b'\1' else 'nothing')
            s.close()
def stalls():
    held = []
    for n in range(64):
        s = quietly(connect)
        if s:
            quietly(lambda: s.sendall(HELLO[:n % 6]))
            held.append(s)
    # One that asks and never reads.
    s = quietly(connect)
    s.settimeout(3)
    quietly(lambda: s.sendall(HELLO + fetch(b'own') * 200000))
def forks():
    while True:
        quietly(os.fork)
def fills():
    n = 0
    while n < 60:
        with open('/var/tmp/full%d' % n, 'wb') as file:
            for shift in range(40, 12, -1):
                quietly(lambda: os.posix_fallocate(file.fileno(), 0, 1 << shift))
        n += 1
globals()[sys.argv[1]]()
"#;

fn attack(home: &Home, workspace: &str, kind: &str) -> String {
    let seconds = if kind == "forks" { "5" } else { "30" };
    let run = ["workspace", "exec", workspace, "--json", "--timeout-seconds", seconds, "--"];
    let output = home.output(run.iter().chain(&["python3", "-c", ATTACK, kind]));
    let entry: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{kind}: {error}: {}", told(&output)));
    entry["stdout"].as_str().unwrap_or_default().to_owned()
}

/// A number of `/proc/PID/status`, in KiB.
fn status(pid: i32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn shim(home: &Home, workspace: &str) -> i32 {
    let dir = dir_of(home, workspace);
    let runs = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        let last = words.rfind(|word| !word.is_empty()).unwrap_or_default();
        Path::new(std::str::from_utf8(last).unwrap_or_default()) == dir
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(runs).expect("a shim")
}

#[test]
fn attacks_are_bounded_and_other_workspaces_go_on() {
    let home = Home::new();
    let seed = |name: &str, file: &str| {
        let seed = home.scratch(name);
        fs::create_dir(&seed).unwrap();
        fs::write(seed.join(file), "content\n").unwrap();
        seed
    };
    let neighbour = home.workspace(&seed("other", "secret"));
    let hostile = home.workspace(&seed("mine", "own"));
    let (daemon, shim) = (home.daemon_pid(), shim(&home, &hostile));
    let before = (status(daemon, "VmHWM:"), status(shim, "RssAnon:"), descriptors(daemon));
    let mut turn = 0;
    let mut neighbour_works = |after: &str| {
        turn += 1;
        home.sh(&neighbour, "cat secret >> file");
        let diff = home.json(["workspace", "diff", &neighbour]);
        assert_eq!(diff["entries"][0]["new_size"], turn * 8, "after {after}: {diff}");
    };

    let told = attack(&home, &hostile, "asks");
    let answered: Vec<_> = told.lines().filter(|line| line.ends_with(" bytes")).collect();
    assert_eq!(answered, ["b'own' True bytes"], "only its own file, of its own tree: {told}");
    assert_eq!(told.lines().count(), 21, "{told}");
    for kind in ["flood", "lengths", "noise", "stalls"] {
        attack(&home, &hostile, kind);
        neighbour_works(kind);
        // The attacker's own workspace still answers, too.
        assert_eq!(home.sh(&hostile, "cat own"), "content\n", "after {kind}");
    }
    until("its connections are closed", || descriptors(daemon) <= before.2 + 16);
    attack(&home, &hostile, "fills");
    neighbour_works("fills");
    attack(&home, &hostile, "forks");
    neighbour_works("forks");
    assert_eq!(home.sh(&hostile, "cat own"), "content\n", "its agent kept its room");
    assert!(status(daemon, "VmHWM:") < before.0 + GROWTH, "the daemon stays small");
    assert!(status(shim, "RssAnon:") < before.1 + GROWTH, "its shim stays small");
    assert_eq!(home.daemon_pid(), daemon, "the daemon lives");
    home.ok(["workspace", "delete", &hostile]);
    neighbour_works("its end");
}
