//! Commands, through the calls that a host makes.

use pyro_proto::{
    ByteString, Call, ErrorKind, ExecId, ExecRequest, ExecState, Exit, Reply, Stream,
};

use crate::host::Item;
use crate::world::{World, with_world};

fn shell(id: ExecId, script: &str) -> ExecRequest {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    ExecRequest {
        id,
        argv: ["sh", "-c", script].map(bytes).to_vec(),
        cwd: bytes("/tmp"),
        env: vec![(bytes("GREETING"), bytes("hello"))],
        timeout_ms: None,
        keep_bytes: 1 << 20,
    }
}

fn attach(world: &World, id: ExecId) -> (Vec<u8>, Vec<u8>, Exit) {
    let mut connection = world.connect();
    connection.send(&Call::Attach { id, stdout_from: 0, stderr_from: 0 });
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match connection.next() {
            Some(Reply::Output { stream: Stream::Stdout, data, .. }) => stdout.extend(data),
            Some(Reply::Output { stream: Stream::Stderr, data, .. }) => stderr.extend(data),
            Some(Reply::Exited(exit)) => return (stdout, stderr, exit),
            other => panic!("{other:?}"),
        }
    }
}

fn run(world: &World, request: ExecRequest) -> (Vec<u8>, Vec<u8>, Exit) {
    let id = request.id;
    assert_eq!(world.call(Call::Exec(request)), Reply::Started);
    attach(world, id)
}

fn with_empty_world(test: impl FnOnce(World) + Send + 'static) {
    with_world(Item::dir([]), test);
}

#[test]
fn outputs_are_kept_apart_until_they_are_forgotten() {
    with_empty_world(|world| {
        let script = "echo $GREETING $PWD; echo oops >&2; umask; exit 3";
        let (stdout, stderr, exit) = run(&world, shell(1, script));
        assert_eq!(stdout, b"hello /tmp\n0022\n");
        assert_eq!(stderr, b"oops\n");
        assert_eq!((exit.code, exit.stdout_bytes, exit.stderr_bytes), (3, 16, 5));
        assert_eq!(attach(&world, 1), (stdout, stderr, exit), "attaching again differs");
        assert_eq!(world.call(Call::Forget { id: 1 }), Reply::Done);
        let gone = world.call(Call::Forget { id: 1 });
        assert!(matches!(gone, Reply::Error(error) if error.kind == ErrorKind::NotFound));
    });
}

#[test]
fn codes_follow_the_shell() {
    with_empty_world(|world| {
        assert_eq!(run(&world, shell(1, "kill -TERM $$")).2.code, 128 + 15);
        assert_eq!(run(&world, shell(2, "kill -40 $$")).2.code, 128 + 40);
        let mut missing = shell(3, "");
        missing.argv[0] = ByteString(b"no-such-program".to_vec());
        let reply = world.call(Call::Exec(missing));
        assert!(
            matches!(&reply, Reply::Error(error) if error.kind == ErrorKind::NotFound
            && error.message.contains("no-such-program")),
            "{reply:?}"
        );
        assert_eq!(attach(&world, 3).2.code, 127);
        let mut not_executable = shell(4, "");
        not_executable.argv[0] = ByteString(b"/etc/passwd".to_vec());
        assert!(matches!(world.call(Call::Exec(not_executable)), Reply::Error(_)));
        assert_eq!(attach(&world, 4).2.code, 126);
        let mut nowhere = shell(5, "");
        nowhere.cwd = ByteString(b"/no/such/dir".to_vec());
        let reply = world.call(Call::Exec(nowhere));
        assert!(
            matches!(&reply, Reply::Error(error) if error.kind == ErrorKind::NotFound
            && error.message.contains("/no/such/dir")),
            "{reply:?}"
        );
    });
}

#[test]
fn a_timeout_kills_the_whole_tree() {
    with_empty_world(|world| {
        let script = "setsid sh -c 'sleep 1000; echo never' & sleep 1000";
        let request = ExecRequest { timeout_ms: Some(200), ..shell(1, script) };
        let (_, _, exit) = run(&world, request);
        assert_eq!((exit.code, exit.timed_out), (124, true));
        let again = run(&world, shell(2, "exit 0")).2;
        assert!(!again.timed_out);
    });
}

#[test]
fn killing_ends_a_command_and_a_dead_one_may_be_killed_again() {
    with_empty_world(|world| {
        assert_eq!(world.call(Call::Exec(shell(1, "sleep 1000"))), Reply::Started);
        let Reply::Execs(list) = world.call(Call::ListExecs) else { panic!() };
        assert_eq!(list[0].state, ExecState::Running);
        assert_eq!(world.call(Call::Kill { id: 1 }), Reply::Done);
        let (_, _, exit) = attach(&world, 1);
        assert_eq!((exit.code, exit.killed), (137, true));
        assert_eq!(world.call(Call::Kill { id: 1 }), Reply::Done);
    });
}

#[test]
fn processes_left_behind_do_not_hold_a_command_open_and_live_on() {
    with_empty_world(|world| {
        let script = "(while echo tick; do sleep 0.05; done) & echo $!";
        let (stdout, _, exit) = run(&world, shell(1, script));
        assert_eq!(exit.code, 0);
        let text = String::from_utf8(stdout).unwrap();
        let pid = text.lines().find(|line| *line != "tick").unwrap();
        let check = format!("sleep 0.3; kill -0 {pid}");
        assert_eq!(run(&world, shell(2, &check)).2.code, 0, "the server was killed");
        assert_eq!(world.call(Call::Kill { id: 1 }), Reply::Done);
        let check = format!("while kill -0 {pid}; do sleep 0.05; done");
        assert_eq!(run(&world, shell(3, &check)).2.code, 0);
    });
}

#[test]
fn a_reader_of_much_output_misses_nothing() {
    with_empty_world(|world| {
        let request = ExecRequest { keep_bytes: 1000, ..shell(1, "head -c 20000000 /dev/zero") };
        assert_eq!(world.call(Call::Exec(request)), Reply::Started);
        let mut connection = world.connect();
        connection.send(&Call::Attach { id: 1, stdout_from: 0, stderr_from: 0 });
        let mut next = None;
        loop {
            match connection.next().unwrap() {
                Reply::Output { offset, data, .. } => {
                    // Only before the first byte arrived may something have been dropped.
                    assert!(next.is_none_or(|next| next == offset || next == 1000));
                    next = Some(offset + data.len() as u64);
                }
                Reply::Exited(exit) => {
                    assert_eq!(Some(exit.stdout_bytes), next);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(next, Some(20_000_000));
    });
}
