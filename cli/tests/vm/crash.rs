//! Whatever is killed, whenever: what was acknowledged is there, what was not leaves nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::{
    Beside, assert_nothing_remains, dir_of, kill_9, kill_daemon, until, workspaces_on_disk,
};
use crate::support::{Home, told};
use crate::tree::{Listing, python, str_of};

fn kill_shim(home: &Home, workspace: &str) {
    let record = fs::read(dir_of(home, workspace).join("shim.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    kill_9(i32::try_from(record["pid"].as_i64().unwrap()).unwrap());
}

fn state(home: &Home, workspace: &str) -> String {
    str_of(&home.json(["workspace", "status", workspace]), "state").to_owned()
}

fn delete(home: &Home, workspace: &str) {
    home.ok(["workspace", "delete", workspace]);
    assert!(!dir_of(home, workspace).exists());
}

fn seed(home: &Home) -> PathBuf {
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("kept.txt"), "kept\n").unwrap();
    seed
}

#[test]
fn a_command_outlives_its_daemon_and_its_whole_output_arrives() {
    let home = Home::new();
    let seed = seed(&home);
    fs::write(seed.join("large"), vec![b'x'; 3 << 20]).unwrap();
    let id = home.workspace(&seed);
    home.sh(&id, "mkfifo /tmp/go");

    // Its client goes on under the next daemon.
    let script = "echo begun; cat /tmp/go; seq 1 20000; echo oops >&2; exit 7";
    let mut exec = Beside::exec(&home, &id, script);
    exec.expect("begun");
    kill_daemon(&home);
    home.sh(&id, "echo gone on > /tmp/go");
    let (status, stdout, stderr) = exec.end();
    let numbers: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    assert_eq!(status.code(), Some(7), "{stderr}");
    assert_eq!(stdout, format!("gone on\n{numbers}"));
    assert!(stderr.contains("oops"), "{stderr}");

    // Nobody follows, and the guest's own wish for content brings a daemon back.
    home.sh(&id, "(sleep 3; echo > /tmp/go) > /dev/null 2>&1 &");
    let mut exec = Beside::exec(&home, &id, "echo begun; cat /tmp/go; md5sum < large; exit 3");
    exec.expect("begun");
    exec.signal(Signal::SIGSTOP);
    kill_daemon(&home);
    exec.signal(Signal::SIGKILL);
    exec.child.wait().unwrap();
    until("a daemon is back", || home.output(["daemon", "status"]).status.success());
    let last = || home.json(["workspace", "logs", &id])["entries"].as_array().unwrap().clone();
    let ended = |entry: &Value| entry["command"].as_str().unwrap().contains("md5sum");
    until("the command is logged", || last().iter().any(ended));
    let entry = last().into_iter().find(|entry| ended(entry)).unwrap();
    let sum = python("import hashlib; print(hashlib.md5(b'x' * (3 << 20)).hexdigest())", [""; 0]);
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(entry["exit_code"], 3);
    assert_eq!(str_of(&entry, "stdout"), format!("begun\n\n{}  -\n", sum.trim()));

    let whole = last().into_iter().find(|entry| entry["exit_code"] == 7).unwrap();
    assert_eq!(str_of(&whole, "stdout"), format!("begun\ngone on\n{numbers}"));
    assert_eq!(str_of(&whole, "stderr"), "oops\n");
    delete(&home, &id);
    assert_nothing_remains(&home);
}

#[test]
fn a_daemon_killed_in_a_call_loses_nothing() {
    let home = Home::new();
    let seed = seed(&home);
    for n in 0..200 {
        fs::write(seed.join(format!("f{n}")), format!("{n}").repeat(2000)).unwrap();
    }
    let id = home.workspace(&seed);
    home.sh(&id, "echo new > new; head -c 4000000 /dev/urandom > random; rm f7; sync");
    let tree = home.json(["workspace", "diff", &id])["tree"].clone();
    let output = home.scratch("out/target");
    fs::create_dir(home.scratch("out")).unwrap();
    let calls: [&[&str]; 3] = [
        &["workspace", "diff", &id, "--full", "--json"],
        &["workspace", "export", &id, ".", "--output", output.to_str().unwrap()],
        &["workspace", "create", "debian:12", "--seed-path", seed.to_str().unwrap()],
    ];
    for call in calls {
        for moment in [0, 100, 300, 700, 1500] {
            let daemon = home.daemon_pid();
            let beside = Beside::start(home.command(call));
            // The moment is what is tried, not what is waited for.
            sleep(Duration::from_millis(moment));
            kill_9(daemon);
            let (status, stdout, stderr) = beside.end();
            let context = format!("{call:?} after {moment} ms: {status} {stdout} {stderr}");
            if call[1] == "export" {
                assert_eq!(output.exists(), status.success(), "{context}");
                let beside = fs::read_dir(home.scratch("out")).unwrap().count();
                if status.success() {
                    Listing::host(&output).is(&Listing::guest(&home, &id));
                    fs::remove_dir_all(&output).unwrap();
                    assert_eq!(beside, 1, "{context}");
                }
            }
            if call[1] == "create" && status.success() {
                let made = home.json(["workspace", "list"])["workspaces"].clone();
                for other in made.as_array().unwrap() {
                    let other = str_of(other, "workspace_id");
                    if other != id {
                        assert_eq!(state(&home, other), "started", "{context}");
                        delete(&home, other);
                    }
                }
            }
            assert_eq!(state(&home, &id), "started", "{context}");
            assert_eq!(home.json(["workspace", "diff", &id])["tree"], tree, "{context}");
            until("what was half made goes", || workspaces_on_disk(&home) == 1);
        }
    }
    assert_eq!(home.sh(&id, "cat kept.txt new"), "kept\nnew\n");
    delete(&home, &id);
    assert_nothing_remains(&home);
}

#[test]
fn a_run_that_is_cut_off_leaves_nothing() {
    let home = Home::new();
    let run = || {
        let script = "echo up; sleep 1000";
        let mut run = Beside::start(home.command(["run", "debian:12", "--", "sh", "-c", script]));
        run.expect("up");
        run
    };

    let interrupted = run();
    interrupted.signal(Signal::SIGINT);
    assert_eq!(interrupted.end().0.code(), Some(130));
    until("its VM goes", || workspaces_on_disk(&home) == 0);

    let vanished = run();
    vanished.signal(Signal::SIGKILL);
    vanished.end();
    until("its VM goes", || workspaces_on_disk(&home) == 0);

    let orphaned = run();
    kill_daemon(&home);
    let (status, _, stderr) = orphaned.end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    until("its VM goes", || workspaces_on_disk(&home) == 0);
    assert_nothing_remains(&home);
}

#[test]
fn a_command_whose_caller_was_killed_is_killed_too() {
    let home = Home::new();
    let id = home.workspace(&seed(&home));
    for json in [&[][..], &["--json"]] {
        // It prints nothing: only its standard output can tell that nobody is left.
        let words = ["workspace", "exec", &id].into_iter().chain(json.iter().copied());
        let mut command = home.command(words.chain(["--", "sleep", "1000"]));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let running = || {
            let logs = home.json(["workspace", "logs", &id]);
            logs["running"].as_array().unwrap().len()
        };
        until("the command runs", || !home.sh(&id, "pgrep -x sleep || true").is_empty());
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(141));
        until("the command is dead", || running() == 0);
    }
    let logs = home.json(["workspace", "logs", &id]);
    let entries = logs["entries"].as_array().unwrap();
    let mut sleeps = entries.iter().filter(|entry| entry["argv"][0] == "sleep");
    assert!(sleeps.all(|entry| entry["killed"] == true), "{logs}");
}

#[test]
fn an_interrupted_command_is_killed_with_everything_it_started() {
    let home = Home::new();
    let id = home.workspace(&seed(&home));
    let script = "sleep 1001 & setsid sleep 1002 & echo up; sleep 1003";
    let mut exec = Beside::exec(&home, &id, script);
    exec.expect("up");
    exec.signal(Signal::SIGINT);
    assert_eq!(exec.end().0.code(), Some(130));
    until("the command is gone", || home.sh(&id, "pgrep -f '^sleep 100' || echo none") == "none\n");
    let logs = home.json(["workspace", "logs", &id]);
    assert_eq!(logs["entries"][0]["killed"], true, "{logs}");
    assert_eq!(logs["running"], serde_json::json!([]));
    delete(&home, &id);
    assert_nothing_remains(&home);
}

#[test]
fn a_workspace_whose_machine_died_starts_again_with_its_files() {
    let home = Home::new();
    let id = home.workspace(&seed(&home));
    home.sh(&id, "mkdir -p d/e; seq 1 1000 > d/e/numbers; mv kept.txt moved.txt; sync");
    let before = Listing::guest(&home, &id);
    let tree = home.json(["workspace", "diff", &id])["tree"].clone();

    let mut exec = Beside::exec(&home, &id, "echo up; exec sleep 1000");
    exec.expect("up");
    kill_shim(&home, &id);
    let (status, ..) = exec.end();
    assert_eq!(status.code(), Some(137));
    assert_eq!(state(&home, &id), "stopped");
    let (code, error) = home.fails(["workspace", "exec", &id, "--", "true"]);
    assert_eq!((code, &error["code"]), (125, &"workspace_state".into()));
    assert!(error["hint"].as_str().unwrap().contains("workspace start"), "{error}");
    home.ok(["workspace", "start", &id]);
    Listing::guest(&home, &id).is(&before);

    // The guest ends it: with what was written, synced or not.
    let script = "mkfifo /tmp/go; echo up; cat /tmp/go; echo b > /proc/sysrq-trigger; sleep 1000";
    let mut exec = Beside::exec(&home, &id, script);
    exec.expect("up");
    let shell = home.ok(["workspace", "shell", "open", &id, "--id-only"]);
    // The machine may be gone before it has answered.
    home.output(["workspace", "shell", "write", &id, shell.trim(), "--input", "echo > /tmp/go"]);
    assert_eq!(exec.end().0.code(), Some(137));
    until("the machine has ended", || state(&home, &id) == "stopped");
    let status = home.json(["workspace", "status", &id]);
    assert!(str_of(&status, "stop_reason").contains("powered off"), "{status}");
    home.ok(["workspace", "start", &id]);

    home.ok(["workspace", "stop", &id]);
    assert_eq!(state(&home, &id), "stopped");
    kill_daemon(&home);
    home.ok(["workspace", "start", &id]);
    assert_eq!(home.json(["workspace", "diff", &id])["tree"], tree);
    Listing::guest(&home, &id).is(&before);
    let logs = home.json(["workspace", "logs", &id]);
    let codes: Vec<_> =
        logs["entries"].as_array().unwrap().iter().map(|e| &e["exit_code"]).collect();
    assert_eq!(codes.iter().filter(|code| **code == 137).count(), 2, "{codes:?}");
    delete(&home, &id);
    assert_nothing_remains(&home);
}

/// A push by the daemon's own protocol, which tells when the commit begins.
struct Push(BufReader<UnixStream>);

impl Push {
    /// Returns when the guest is about to be told to commit.
    fn begin(home: &Home, workspace: &str, source: &Path) -> Self {
        let body = serde_json::json!({ "workspace_id": workspace, "source_path": source });
        let body = body.to_string();
        let mut stream = UnixStream::connect(home.path().join("daemon.sock")).unwrap();
        write!(
            stream,
            "POST /v1/workspace_sync_push HTTP/1.1\r\nhost: pyro\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut push = Self(BufReader::new(stream));
        let mut line = String::new();
        while !line.contains(r#""phase":"commit""#) {
            line.clear();
            assert!(push.0.read_line(&mut line).unwrap() > 0, "the daemon hung up");
            assert!(!line.starts_with(r#"{"error""#), "{line}");
        }
        push
    }

    /// Whether it was acknowledged.
    fn succeeded(mut self) -> bool {
        let mut rest = Vec::new();
        // A daemon that died leaves an error, which is not a success either.
        let _ = self.0.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).contains(r#"{"result""#)
    }
}

/// What all files of a workspace hold, and how many they are.
const LOOK: &str = r#"
import glob
found = [open(path).read() for path in glob.glob("/workspace/d*/f*")]
print(len(found), *sorted({text[:3] for text in found}), *{len(text) for text in found})
"#;

/// Pushes again and again, kills something a while after the commit began, and expects all or
/// nothing. `revive` makes the workspace usable again.
fn kill_in_pushes(moments: &[u64], kill: fn(&Home, &str), revive: fn(&Home, &str)) {
    let home = Home::new();
    let trees = ["one", "two"].map(|text| {
        let tree = home.scratch(text);
        for n in 0..600 {
            let at = tree.join(format!("d{}", n % 7));
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join(format!("f{n}")), text.repeat(1000)).unwrap();
        }
        (format!("600 {text} 3000"), tree)
    });
    let id = home.workspace(&trees[0].1);
    let look = || home.ok(["workspace", "exec", &id, "--", "python3", "-c", LOOK]);
    assert_eq!(look().trim(), trees[0].0);
    let mut now = 0;
    let mut outcomes = Vec::new();
    for moment in moments {
        let next = 1 - now;
        let push = Push::begin(&home, &id, &trees[next].1);
        // The moment is what is tried, not what is waited for.
        sleep(Duration::from_millis(*moment));
        kill(&home, &id);
        let succeeded = push.succeeded();
        revive(&home, &id);
        let found = look();
        let done = found.trim() == trees[next].0;
        outcomes.push((moment, done));
        assert!(done || found.trim() == trees[now].0, "{outcomes:?}: {found}");
        assert!(done || !succeeded, "{outcomes:?}: acknowledged and lost");
        if done {
            now = next;
        }
    }
    eprintln!("milliseconds after the commit began, and whether it was done: {outcomes:?}");
    home.ok(["workspace", "sync", "push", &id, trees[1 - now].1.to_str().unwrap()]);
    assert_eq!(look().trim(), trees[1 - now].0);
    let diff = home.json(["workspace", "diff", &id]);
    assert_eq!(diff["tree"], home.json(["workspace", "diff", "--full", &id])["tree"]);
    delete(&home, &id);
    assert_nothing_remains(&home);
}

#[test]
fn a_machine_that_dies_in_a_push_has_all_of_it_or_nothing() {
    kill_in_pushes(&[0, 30, 60, 120, 250, 500, 1000], kill_shim, |home, id| {
        home.ok(["workspace", "start", id]);
    });
}

#[test]
fn a_daemon_that_dies_in_a_push_leaves_all_of_it_or_nothing() {
    kill_in_pushes(&[0, 10, 30, 60, 120, 250, 500, 1000], |home, _| kill_daemon(home), |_, _| ());
}

#[test]
fn a_flipped_byte_is_found_and_never_served() {
    let home = Home::new();
    let seed = seed(&home);
    let make = "import random, sys; open(sys.argv[1], 'wb').write(random.randbytes(400000))";
    python(make, [seed.join("victim")]);
    let content = fs::read(seed.join("victim")).unwrap();
    let id = home.workspace(&seed);

    // Random bytes do not compress: they are in the pack as they are.
    let packs = files_below(&home.path().join("store"));
    let piece = &content[200_000..200_032];
    let found = packs.iter().find_map(|path| {
        let bytes = fs::read(path).unwrap();
        let at = bytes.windows(piece.len()).position(|window| window == piece)?;
        Some((path, at))
    });
    let (pack, at) = found.expect("the file is in a pack");
    let flip = || {
        let mut bytes = fs::read(pack).unwrap();
        bytes[at] ^= 1;
        fs::write(pack, bytes).unwrap();
    };
    flip();

    let verify = home.output(["store", "verify", "--json"]);
    assert_eq!(verify.status.code(), Some(6), "{}", told(&verify));
    let report: Value = serde_json::from_slice(&verify.stdout).unwrap();
    let reaches = report["damage"].to_string();
    assert!(reaches.contains(":victim"), "{report}");
    let read = home.output(["workspace", "exec", &id, "--", "cat", "victim"]);
    assert_eq!(read.status.code(), Some(1));
    assert!(told(&read).contains("Input/output error"), "{}", told(&read));
    let output = home.scratch("out");
    let export = ["workspace", "export", &id, ".", "--output", output.to_str().unwrap()];
    let (code, error) = home.fails(export);
    assert_eq!((code, &error["code"]), (6, &"damaged".into()), "{error}");
    assert!(!output.exists());
    assert_eq!(home.sh(&id, "cat kept.txt"), "kept\n", "the rest is served");

    flip();
    assert_eq!(home.json(["store", "verify"])["clean"], true);
    home.ok(["workspace", "export", &id, "victim", "--output", output.to_str().unwrap()]);
    assert_eq!(fs::read(&output).unwrap(), content);
    delete(&home, &id);
    assert_nothing_remains(&home);
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}
