//! One of each message, byte for byte. A released generation never changes: guests that were
//! started before an upgrade still speak it.

use std::fmt::{Debug, Write};

use pyro_format::{ChunkId, EntryName, FileId, LinkTarget, Mode, Mtime, TreePath};
use pyro_proto::*;
use serde::Serialize;

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

struct Vectors(String);

impl Vectors {
    fn add<T: Serialize + Debug>(&mut self, message: &T) {
        let frame = encode_frame(message).unwrap();
        writeln!(self.0, "{message:?}").unwrap();
        frame.iter().for_each(|byte| write!(self.0, "{byte:02x}").unwrap());
        self.0.push('\n');
    }
}

/// What generation 1 has.
fn generation_1() -> String {
    let name = || EntryName::parse(b"n").unwrap();
    let (mode, mtime, content) = (Mode::new(0o644), Mtime { secs: 3, nanos: 4 }, FileId::of(b"x"));
    let mut out = Vectors(String::new());
    for role in [Role::Control, Role::Content] {
        out.add(&Hello { generation: 1, role });
    }
    out.add(&Welcome { now_ns: 5, hostname: "h".into(), root_mode: mode, root_mtime: mtime });
    out.add(&Booted::Ready { agent_version: "0".into() });
    out.add(&Booted::Failed { message: "m".into() });
    for (source, body) in [
        (Source::Lower, FetchBody::Nodes { paths: vec![path("a")] }),
        (Source::Push(9), FetchBody::Range { path: path("a/b"), offset: 1, len: 2 }),
    ] {
        out.add(&Fetch { tag: 7, source, body });
    }
    for body in [
        FetchedBody::Nodes(vec![NodeBytes { path: path("a"), tree: vec![1], times: vec![2] }]),
        FetchedBody::Bytes(vec![3]),
        FetchedBody::Error(2),
    ] {
        out.add(&Fetched { tag: 7, body });
    }
    let exec = ExecRequest {
        id: 1,
        argv: vec![bytes("sh")],
        cwd: bytes("/workspace"),
        env: vec![(bytes("K"), bytes("V"))],
        timeout_ms: Some(6),
        keep_bytes: 8,
    };
    let file = PushItem::File { name: name(), into: true };
    for call in [
        Call::Ping,
        Call::Exec(exec),
        Call::Attach { id: 1, stdout_from: 2, stderr_from: 3 },
        Call::Kill { id: 1 },
        Call::ListExecs,
        Call::Forget { id: 1 },
        Call::Report { full: true },
        Call::Cut { paths: vec![path("a")] },
        Call::Read { pieces: vec![Piece { path: path("a"), offset: 1, len: 2 }] },
        Call::StagePush { id: 1, dest: path("a"), item: PushItem::Directory { mode } },
        Call::StagePush { id: 1, dest: path("a"), item: file },
        Call::CommitPush,
        Call::AbortPush,
        Call::PowerOff,
    ] {
        out.add(&call);
    }
    let exit = Exit {
        code: 1,
        timed_out: false,
        killed: true,
        duration_ms: 2,
        stdout_bytes: 3,
        stderr_bytes: 4,
    };
    let changes = vec![
        Change::Enter { name: None, mode, mtime, base: Base::Same },
        Change::Enter { name: Some(name()), mode, mtime, base: Base::Empty },
        Change::Enter { name: Some(name()), mode, mtime, base: Base::Moved { from: path("a") } },
        Change::Leave,
        Change::Remove { name: name() },
        Change::File { name: name(), mode, mtime, size: 1, content },
        Change::Symlink { name: name(), mtime, target: LinkTarget::parse(b"t").unwrap() },
        Change::Skipped { name: name(), kind: Special::Fifo },
        Change::Skipped { name: name(), kind: Special::Socket },
        Change::Skipped { name: name(), kind: Special::Device },
    ];
    let end = ReportEnd { records: 1, visited: 2, hashed_bytes: 3, cached_files: 4 };
    let chunks = FileChunks { size: 1, content, mtime, chunks: vec![(ChunkId::of(b"x"), 1)] };
    let execs = vec![
        ExecInfo { id: 1, state: ExecState::Running },
        ExecInfo { id: 2, state: ExecState::Exited(exit) },
    ];
    for reply in [
        Reply::Alive,
        Reply::Started,
        Reply::Output { stream: Stream::Stdout, offset: 1, data: vec![2] },
        Reply::Output { stream: Stream::Stderr, offset: 1, data: vec![2] },
        Reply::Exited(exit),
        Reply::Execs(execs),
        Reply::Changes(changes),
        Reply::ReportEnd(end),
        Reply::Chunks(chunks),
        Reply::Data(vec![1]),
        Reply::Unreadable { message: "m".into() },
        Reply::Staged { entries: 1, fetched_bytes: 2 },
        Reply::Done,
    ] {
        out.add(&reply);
    }
    use ErrorKind::*;
    for kind in [NotFound, Invalid, Conflict, NoSpace, Busy, Io] {
        out.add(&Reply::Error(AgentError { kind, message: "m".into() }));
    }
    out.0
}

/// What generation 2 adds.
fn generation_2() -> String {
    let mut out = Vectors(String::new());
    out.add(&Hello { generation: 2, role: Role::Control });
    let size = TerminalSize { cols: 120, rows: 30 };
    let env = vec![(bytes("K"), bytes("V"))];
    for call in [
        Call::OpenShell(ShellRequest { id: 1, cwd: bytes("/workspace"), size, env }),
        Call::ListShells,
        Call::ReadShell { id: 1, from: 2, max: 3, idle_ms: 4 },
        Call::FollowShell { id: 1, from: 2 },
        Call::WriteShell { id: 1, data: vec![2] },
        Call::SignalShell { id: 1, signal: 2 },
        Call::ResizeShell { id: 1, size },
        Call::CloseShell { id: 1 },
    ] {
        out.add(&call);
    }
    let cwd = || bytes("/workspace");
    let running = ShellInfo { id: 1, cwd: cwd(), size, started_ns: 2, exit: None, printed: 3 };
    let exit = Some(ShellExit { code: 4, ended_ns: 5 });
    let ended = ShellInfo { id: 2, cwd: cwd(), size, started_ns: 2, exit, printed: 3 };
    for reply in [
        Reply::Shell(running.clone()),
        Reply::Shells(vec![running.clone(), ended]),
        Reply::ShellOutput { shell: running, offset: 6, data: vec![7] },
    ] {
        out.add(&reply);
    }
    for kind in [ErrorKind::Ended, ErrorKind::TooMany, ErrorKind::Stuck] {
        out.add(&Reply::Error(AgentError { kind, message: "m".into() }));
    }
    out.0
}

/// What generation 3 adds.
fn generation_3() -> String {
    let mut out = Vectors(String::new());
    out.add(&Hello { generation: 3, role: Role::Control });
    out.add(&Call::Freeze { within_ms: 1, hold_ms: 2 });
    out.add(&Call::Thaw);
    out.add(&Reply::Frozen { complete: true, busy: false });
    out.add(&Reply::Thawed { lasted: true, paused_us: 3 });
    out.0
}

/// What generation 4 adds.
fn generation_4() -> String {
    let mut out = Vectors(String::new());
    out.add(&Hello { generation: 4, role: Role::Control });
    let cwd = || bytes("/workspace");
    let exec = ExecRequest {
        id: 1,
        argv: vec![bytes("sh")],
        cwd: cwd(),
        env: Vec::new(),
        timeout_ms: None,
        keep_bytes: 8,
    };
    let size = TerminalSize { cols: 120, rows: 30 };
    let shell = ShellRequest { id: 1, cwd: cwd(), size, env: Vec::new() };
    out.add(&Call::SetOwner { user: bytes("u") });
    out.add(&Call::ExecAs { request: exec, user: bytes("u:g") });
    out.add(&Call::OpenShellAs { request: shell, user: bytes("1:2") });
    let kind = ErrorKind::UnknownUser;
    out.add(&Reply::Error(AgentError { kind, message: "m".into() }));
    out.0
}

/// What generation 5 adds.
fn generation_5() -> String {
    let mut out = Vectors(String::new());
    out.add(&Hello { generation: 5, role: Role::Control });
    out.add(&Fresh { entropy: std::array::from_fn(|at| at as u8) });
    out.0
}

#[test]
fn messages_of_a_generation_never_change() {
    let generations =
        [generation_1(), generation_2(), generation_3(), generation_4(), generation_5()];
    for (number, vectors) in (1..).zip(generations) {
        let name = format!("generation-{number}");
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/protocol");
        let path = format!("{dir}/{name}.txt");
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&path, &vectors).unwrap();
        }
        assert_eq!(vectors, std::fs::read_to_string(path).unwrap(), "{name}");
    }
}
