//! Commands that belong to no caller: started, read, awaited and killed by their number.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::process::{Beside, assert_nothing_remains, kill_daemon, until};
use crate::support::{Home, told};
use crate::tree::str_of;

fn workspace(home: &Home) -> String {
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    home.workspace(&seed)
}

/// Starts a shell script; its number.
fn detach(home: &Home, id: &str, script: &str) -> String {
    let view = home.json(["workspace", "exec", id, "--detach", "--", "sh", "-c", script]);
    view["sequence"].to_string()
}

fn read(home: &Home, id: &str, sequence: &str, stdout: u64, stderr: u64, max: u64) -> Value {
    let (stdout, stderr, max) = (stdout.to_string(), stderr.to_string(), max.to_string());
    let cursors = ["--stdout-cursor", &stdout, "--stderr-cursor", &stderr, "--max-bytes", &max];
    let [a, b, c, d, e, f] = cursors;
    home.json(["workspace", "exec", "read", id, sequence, a, b, c, d, e, f])
}

fn bytes(view: &Value, stream: &str) -> Vec<u8> {
    match view[format!("{stream}_b64")].as_str() {
        Some(exact) => STANDARD.decode(exact).unwrap(),
        None => str_of(view, stream).as_bytes().to_vec(),
    }
}

/// Everything a reader gets who follows the cursors until the command has ended and nothing is left.
fn follow(
    home: &Home,
    id: &str,
    sequence: &str,
    max: u64,
    mut between: impl FnMut(u32),
) -> [Vec<u8>; 2] {
    let (mut stdout, mut stderr, mut at) = (Vec::new(), Vec::new(), (0, 0));
    for turn in 0.. {
        let view = read(home, id, sequence, at.0, at.1, max);
        assert_eq!((&view["stdout_cursor"], &view["stderr_cursor"]), (&json!(at.0), &json!(at.1)));
        stdout.extend(bytes(&view, "stdout"));
        stderr.extend(bytes(&view, "stderr"));
        let next = |stream: &str| view[format!("{stream}_next_cursor")].as_u64().unwrap();
        let moved = at != (next("stdout"), next("stderr"));
        at = (next("stdout"), next("stderr"));
        if view["state"] == "exited" && !moved {
            assert_eq!(
                (&view["stdout_truncated"], &view["stderr_truncated"]),
                (&json!(false), &json!(false))
            );
            break;
        }
        between(turn);
    }
    [stdout, stderr]
}

#[test]
fn a_detached_command_is_read_without_gap_or_repetition_through_a_daemons_death() {
    let home = Home::new();
    let id = workspace(&home);
    let script = "for n in $(seq 1 400); do echo line-$n-é; echo oops-$n >&2; \
                  [ $((n % 40)) = 0 ] && sleep 0.3; done; printf '\\377\\0\\342\\202'; exit 5";
    let sequence = detach(&home, &id, script);
    assert_eq!(home.json(["workspace", "logs", &id])["running"], json!([1]));
    let [stdout, stderr] = follow(&home, &id, &sequence, 517, |turn| {
        if turn == 3 {
            kill_daemon(&home);
        }
    });
    let lines = |text: &dyn Fn(u32) -> String| (1..=400).map(text).collect::<String>().into_bytes();
    let mut expected = lines(&|n| format!("line-{n}-é\n"));
    expected.extend(b"\xff\0\xe2\x82");
    assert_eq!(stdout, expected);
    assert_eq!(stderr, lines(&|n| format!("oops-{n}\n")));

    // As it came, without JSON; and the exit code passes through.
    let waited = home.output(["workspace", "exec", "wait", &id, &sequence]);
    assert_eq!((waited.status.code(), waited.stdout), (Some(5), expected));
    let logs = home.json(["workspace", "logs", &id]);
    assert_eq!((&logs["running"], &logs["entries"][0]["exit_code"]), (&json!([]), &json!(5)));
    assert_eq!(logs["entries"][0]["killed"], false);
    home.ok(["workspace", "delete", &id]);
    assert_nothing_remains(&home);
}

#[test]
fn a_reader_of_more_output_than_is_kept_comes_to_the_end() {
    let home = Home::new();
    let id = workspace(&home);
    let sequence = detach(&home, &id, "head -c 6000000 /dev/zero; echo end");
    let [stdout, _] = follow(&home, &id, &sequence, 4 << 20, |_| ());
    assert_eq!(stdout, vec![0; 4 << 20]);
    let last = read(&home, &id, &sequence, 4 << 20, 0, 1);
    assert_eq!(
        (&last["stdout_next_cursor"], &last["stdout_truncated"]),
        (&json!(6_000_004), &json!(true))
    );
    kill_daemon(&home);
    assert_eq!(read(&home, &id, &sequence, 4 << 20, 0, 1), last, "the log knows as much");
}

#[test]
fn waiting_ends_with_the_command_or_its_limit_and_disturbs_nothing() {
    let home = Home::new();
    let id = workspace(&home);
    home.sh(&id, "mkfifo /tmp/go");
    let sequence = detach(&home, &id, "echo begun; cat /tmp/go; echo ended; exit 3");
    let waited =
        home.output(["workspace", "exec", "wait", &id, &sequence, "--wait-seconds", "0.2"]);
    assert_eq!(waited.status.code(), Some(124), "{}", told(&waited));
    assert!(String::from_utf8_lossy(&waited.stderr).contains("still runs"));

    // One that waits is interrupted, another one loses its daemon.
    let wait = || Beside::start(home.command(["workspace", "exec", "wait", &id, &sequence]));
    let calls = || home.json(["daemon", "status"])["calls"].as_u64().unwrap();
    let interrupted = wait();
    until("it waits", || calls() == 1);
    interrupted.signal(Signal::SIGINT);
    assert_eq!(interrupted.end().0.code(), Some(130));
    let waiting = wait();
    until("it waits", || calls() == 1);
    kill_daemon(&home);
    until("it waits again", || home.output(["daemon", "status"]).status.success() && calls() == 1);
    home.sh(&id, "echo > /tmp/go");
    let (status, stdout, stderr) = waiting.end();
    assert_eq!((status.code(), stdout.as_str()), (Some(3), "begun\n\nended\n"), "{stderr}");
}

#[test]
fn killing_reaches_everything_that_was_started() {
    let home = Home::new();
    let id = workspace(&home);
    let sequence = detach(&home, &id, "setsid sleep 1001 & sleep 1002 & echo up; sleep 1003");
    until("it runs", || !bytes(&read(&home, &id, &sequence, 0, 0, 9), "stdout").is_empty());
    let killed = home.json(["workspace", "exec", "kill", &id, &sequence]);
    assert_eq!((&killed["state"], &killed["exit_code"]), (&json!("exited"), &json!(137)));
    assert_eq!((&killed["killed"], str_of(&killed, "stdout")), (&json!(true), "up\n"));
    let sleepers = "pgrep -f '^sleep 100' || echo none";
    until("all of it is gone", || home.sh(&id, sleepers) == "none\n");
    assert_eq!(home.json(["workspace", "exec", "kill", &id, &sequence]), killed, "once is enough");

    // What an ended command has left running.
    home.sh(&id, "sleep 1004 > /dev/null 2>&1 &");
    assert_ne!(home.sh(&id, sleepers), "none\n");
    let entries = home.json(["workspace", "logs", &id])["entries"].clone();
    let left =
        entries.as_array().unwrap().iter().find(|e| e["command"].to_string().contains("1004"));
    home.ok(["workspace", "exec", "kill", &id, &left.unwrap()["sequence"].to_string()]);
    until("that is gone too", || home.sh(&id, sleepers) == "none\n");
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    let home = Home::new();
    let id = workspace(&home);
    let sequence = detach(&home, &id, "printf abc; exec sleep 1000");
    until("it has printed", || read(&home, &id, &sequence, 0, 0, 9)["stdout"] == "abc");
    let (code, error) = home.fails(["workspace", "exec", "read", &id, "1", "--stdout-cursor", "4"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid_argument")));
    assert!(str_of(&error, "message").contains("which is 3"), "{error}");
    for what in ["read", "kill"] {
        let (code, error) = home.fails(["workspace", "exec", what, &id, "77"]);
        assert_eq!((code, &error["code"]), (3, &json!("unknown_command")), "{what}");
        assert!(str_of(&error, "hint").contains("workspace logs"), "{error}");
    }
    let (code, error) = home.fails(["workspace", "exec", "wait", &id, "77"]);
    assert_eq!((code, &error["code"]), (125, &json!("unknown_command")));
    let (code, _) = home.fails(["workspace", "exec", "read", &id, "1", "--max-bytes", "0"]);
    assert_eq!(code, 2);

    // Stopping ends it; it is logged like any other.
    home.ok(["workspace", "stop", &id]);
    assert_eq!(read(&home, &id, &sequence, 0, 0, 9)["exit_code"], 137);
    let (code, error) = home.fails(["workspace", "exec", &id, "--detach", "--", "true"]);
    assert_eq!((code, &error["code"]), (4, &json!("workspace_state")));
}

/// Somebody who follows a command and takes nothing holds up neither readers nor its end.
#[test]
fn a_stuck_follower_holds_up_nobody_else() {
    let home = Home::new();
    let id = workspace(&home);
    let mut stuck = Beside::exec(&home, &id, "echo up; yes | head -c 30000000; exec sleep 1000");
    stuck.expect("up");
    stuck.signal(Signal::SIGSTOP);
    until("it is full", || {
        let next = |_| read(&home, &id, "1", 0, 0, 1 << 20)["stdout_next_cursor"].clone();
        next(0) == next(1)
    });
    let killed = home.json(["workspace", "exec", "kill", &id, "1"]);
    assert_eq!(killed["exit_code"], 137);
    stuck.signal(Signal::SIGCONT);
    assert_eq!(stuck.end().0.code(), Some(137));
    home.ok(["workspace", "delete", &id]);
    assert_nothing_remains(&home);
}
