//! Shells, through the calls that a host makes.

use std::time::{Duration, Instant};

use pyro_proto::{
    ByteString, Call, ErrorKind, Reply, ShellId, ShellInfo, ShellRequest, TerminalSize,
};

use crate::host::Item;
use crate::world::{World, with_world};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: TerminalSize = TerminalSize { cols: 80, rows: 24 };

fn with_empty_world(test: impl FnOnce(World) + Send + 'static) {
    with_world(Item::dir([]), test);
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn request(id: ShellId) -> ShellRequest {
    // No home, so that no start-up file of this machine's user has a say.
    let env = [("PS1", "$ "), ("GREETING", "hello"), ("HOME", "/nonexistent")];
    let env = env.map(|(name, value)| (bytes(name), bytes(value)));
    ShellRequest { id, cwd: bytes("/tmp"), size: SIZE, env: env.to_vec() }
}

fn shell(reply: Reply) -> ShellInfo {
    let Reply::Shell(info) = reply else { panic!("{reply:?}") };
    info
}

#[track_caller]
fn refused(reply: Reply, kind: ErrorKind) -> String {
    match reply {
        Reply::Error(error) if error.kind == kind => error.message,
        other => panic!("{other:?}"),
    }
}

fn open(world: &World, id: ShellId) -> ShellInfo {
    shell(world.call(Call::OpenShell(request(id))))
}

fn write(world: &World, id: ShellId, input: &str) -> Reply {
    world.call(Call::WriteShell { id, data: input.as_bytes().to_vec() })
}

fn read(world: &World, id: ShellId, from: u64) -> (ShellInfo, u64, Vec<u8>) {
    match world.call(Call::ReadShell { id, from, max: 1 << 20, idle_ms: 0 }) {
        Reply::ShellOutput { shell, offset, data } => (shell, offset, data),
        other => panic!("{other:?}"),
    }
}

/// Reads until `wanted` was printed behind `from`; the position behind it.
#[track_caller]
fn expect(world: &World, id: ShellId, from: u64, wanted: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (info, offset, data) = read(world, id, from);
        let found = data.windows(wanted.len()).position(|found| found == wanted.as_bytes());
        if let Some(at) = found {
            return offset + (at + wanted.len()) as u64;
        }
        let text = String::from_utf8_lossy(&data);
        assert!(Instant::now() < deadline, "{wanted:?} was not printed: {info:?} {text:?}");
    }
}

#[track_caller]
fn ended(world: &World, id: ShellId) -> ShellInfo {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (info, ..) = read(world, id, 0);
        if info.exit.is_some() {
            return info;
        }
        assert!(Instant::now() < deadline, "shell {id} goes on");
    }
}

#[test]
fn a_shell_has_a_terminal_of_its_own() {
    with_empty_world(|world| {
        let info = open(&world, 1);
        assert_eq!((info.id, info.size, info.cwd, info.exit), (1, SIZE, bytes("/tmp"), None));
        write(&world, 1, "tty; stty size; echo $TERM-$GREETING-$PWD; test -t 0 && echo is-a-tty\n");
        let at = expect(&world, 1, 0, "/dev/pts/");
        let at = expect(&world, 1, at, "24 80\r\n");
        let at = expect(&world, 1, at, "xterm-256color-hello-/tmp\r\n");
        let at = expect(&world, 1, at, "is-a-tty\r\n");
        let size = TerminalSize { cols: 100, rows: 50 };
        assert_eq!(shell(world.call(Call::ResizeShell { id: 1, size })).size, size);
        write(&world, 1, "stty size\n");
        expect(&world, 1, at, "50 100\r\n");
        let closed = shell(world.call(Call::CloseShell { id: 1 }));
        assert_eq!(closed.exit.map(|exit| exit.code), Some(137));
        refused(world.call(Call::CloseShell { id: 1 }), ErrorKind::NotFound);
        refused(write(&world, 1, "x"), ErrorKind::NotFound);
    });
}

#[test]
fn reading_takes_nothing_away_and_an_ended_shell_can_be_read() {
    with_empty_world(|world| {
        open(&world, 7);
        write(&world, 7, "echo last; exit 3\n");
        let info = ended(&world, 7);
        assert_eq!(info.exit.map(|exit| exit.code), Some(3));
        let first = read(&world, 7, 0);
        assert!(first.2.windows(6).any(|found| found == b"last\r\n"), "{first:?}");
        assert_eq!(read(&world, 7, 0), first);
        assert_eq!(read(&world, 7, info.printed).2, b"");
        let past = Call::ReadShell { id: 7, from: info.printed + 1, max: 1, idle_ms: 0 };
        let message = refused(world.call(past), ErrorKind::Invalid);
        assert!(message.contains(&info.printed.to_string()), "{message}");
        refused(write(&world, 7, "x"), ErrorKind::Ended);
        refused(world.call(Call::SignalShell { id: 7, signal: 2 }), ErrorKind::Ended);
        refused(world.call(Call::ResizeShell { id: 7, size: SIZE }), ErrorKind::Ended);
        let Reply::Shells(list) = world.call(Call::ListShells) else { panic!() };
        assert_eq!(list, std::slice::from_ref(&info));
        assert_eq!(shell(world.call(Call::CloseShell { id: 7 })), info);
        assert_eq!(world.call(Call::ListShells), Reply::Shells(vec![]));
    });
}

#[test]
fn signals_reach_what_is_in_the_foreground() {
    with_empty_world(|world| {
        open(&world, 1);
        // The shell's own terminal settings are away while a program runs: one signal, and no
        // input is lost to it.
        let busy = "trap \"exit 5\" INT; echo begun-$((1 + 1)); while :; do :; done";
        write(&world, 1, &format!("sh -c '{busy}'; echo code-$?\n"));
        let at = expect(&world, 1, 0, "begun-2");
        shell(world.call(Call::SignalShell { id: 1, signal: 2 }));
        let at = expect(&world, 1, at, "code-5");
        write(&world, 1, "echo after-$((2 + 2))\n");
        expect(&world, 1, at, "after-4");
        refused(world.call(Call::SignalShell { id: 1, signal: 99 }), ErrorKind::Invalid);
        shell(world.call(Call::SignalShell { id: 1, signal: 9 }));
        assert_eq!(ended(&world, 1).exit.map(|exit| exit.code), Some(137));
    });
}

#[test]
fn closing_kills_whatever_the_shell_started() {
    with_empty_world(|world| {
        open(&world, 1);
        write(&world, 1, "setsid sh -c \"echo p''id-\\$\\$.; exec sleep 1000\" &\n");
        let at = expect(&world, 1, 0, "pid-");
        expect(&world, 1, at, ".");
        let (_, _, data) = read(&world, 1, at);
        let pid: i32 = String::from_utf8_lossy(&data).split('.').next().unwrap().parse().unwrap();
        let alive = || nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
        assert!(alive());
        shell(world.call(Call::CloseShell { id: 1 }));
        let deadline = Instant::now() + PATIENCE;
        while alive() {
            assert!(Instant::now() < deadline, "process {pid} lives on");
        }
    });
}

#[test]
fn a_program_that_prints_without_end_never_waits_for_readers() {
    with_empty_world(|world| {
        open(&world, 1);
        write(&world, 1, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo done-$((1 + 1))\n");
        let deadline = Instant::now() + PATIENCE;
        let (mut info, mut offset, mut data) = read(&world, 1, 0);
        while !data.windows(6).any(|found| found == b"done-2") {
            assert!(Instant::now() < deadline, "{info:?}");
            (info, offset, data) = read(&world, 1, 0);
        }
        assert!(offset >= info.printed - (1 << 20) && offset > 1_900_000, "{offset} {info:?}");
        assert!(data.len() <= 1 << 20);
    });
}

#[test]
fn input_that_nobody_reads_is_refused_in_time_and_the_shell_lives_on() {
    with_empty_world(|world| {
        open(&world, 1);
        write(&world, 1, "stty raw -echo; echo raw-$((1 + 1)); sleep 1000\n");
        let at = expect(&world, 1, 0, "raw-2");
        let message = refused(write(&world, 1, &"x".repeat(1 << 20)), ErrorKind::Stuck);
        assert!(message.contains("of 1048576 bytes"), "{message}");
        refused(write(&world, 1, &"x".repeat((1 << 20) + 2)), ErrorKind::Invalid);
        shell(world.call(Call::SignalShell { id: 1, signal: 15 }));
        assert_eq!(read(&world, 1, at).0.exit, None);
        assert_eq!(shell(world.call(Call::CloseShell { id: 1 })).id, 1);
    });
}

#[test]
fn a_follower_gets_output_as_it_comes_and_then_the_end() {
    with_empty_world(|world| {
        open(&world, 1);
        let mut follower = world.connect();
        follower.send(&Call::FollowShell { id: 1, from: 0 });
        write(&world, 1, "echo one; exit 5\n");
        let mut printed = Vec::new();
        let info = loop {
            match follower.next().unwrap() {
                Reply::Output { offset, data, .. } => {
                    assert_eq!(offset, printed.len() as u64);
                    printed.extend(data);
                }
                Reply::Shell(info) => break info,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(info.exit.map(|exit| exit.code), Some(5));
        assert_eq!(info.printed, printed.len() as u64);
        assert_eq!(read(&world, 1, 0).2, printed);
    });
}

#[test]
fn shells_that_cannot_be_opened_leave_nothing() {
    with_empty_world(|world| {
        let nowhere = ShellRequest { cwd: bytes("/no/such/dir"), ..request(1) };
        let message = refused(world.call(Call::OpenShell(nowhere)), ErrorKind::NotFound);
        assert!(message.contains("/no/such/dir"), "{message}");
        let flat = ShellRequest { size: TerminalSize { cols: 80, rows: 0 }, ..request(1) };
        refused(world.call(Call::OpenShell(flat)), ErrorKind::Invalid);
        let bad = ShellRequest { env: vec![(bytes("A=B"), bytes("c"))], ..request(1) };
        refused(world.call(Call::OpenShell(bad)), ErrorKind::Invalid);
        assert_eq!(world.call(Call::ListShells), Reply::Shells(vec![]));
        for id in 1..=32 {
            open(&world, id);
        }
        refused(world.call(Call::OpenShell(request(1))), ErrorKind::Invalid);
        refused(world.call(Call::OpenShell(request(33))), ErrorKind::TooMany);
        for id in 1..=32 {
            shell(world.call(Call::CloseShell { id }));
        }
        open(&world, 33);
        shell(world.call(Call::CloseShell { id: 33 }));
    });
}
