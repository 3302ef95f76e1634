//! The store, through the daemon: what it holds, what leaves it, what it is mounted as.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Home, told};

const PATIENCE: Duration = Duration::from_secs(60);

fn project(home: &Home, name: &str, lines: usize) -> PathBuf {
    let dir = home.scratch(name);
    fs::create_dir_all(dir.join("src/deep")).unwrap();
    let text: String = (0..lines).map(|n| format!("{name} line {}\n", n * 7919 % 10_007)).collect();
    fs::write(dir.join("src/deep/text"), text).unwrap();
    fs::write(dir.join("src/main"), format!("main of {name}\n")).unwrap();
    symlink("src/main", dir.join("link")).unwrap();
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is plain")
}

fn ingest(home: &Home, dir: &Path) -> String {
    home.json(["store", "ingest", text(dir)])["baseline"].as_str().unwrap().to_owned()
}

#[test]
fn deleting_a_workspace_makes_its_own_content_reclaimable_and_nothing_else() {
    let home = Home::new();
    let kept = ingest(&home, &project(&home, "kept", 3000));
    let id = home.workspace(&project(&home, "mine", 50_000));
    let baselines = home.json(["store", "log"])["baselines"].clone();
    assert_eq!(baselines.as_array().unwrap().len(), 2, "{baselines}");
    assert_eq!(
        (&baselines[0]["implicit"], &baselines[1]["implicit"]),
        (&false.into(), &true.into())
    );
    let mine = baselines[1]["baseline"].as_str().unwrap();
    assert_eq!(home.json(["store", "gc", "--dry-run"])["unused_object_count"], 0);
    let (code, error) = home.fails(["store", "delete", mine]);
    assert_eq!((code, &error["code"]), (4, &"busy".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains(&id), "{error}");

    home.json(["workspace", "delete", &id]);
    assert_eq!(home.json(["store", "list"])["baselines"].as_array().unwrap().len(), 1);
    let planned = home.json(["store", "gc", "--dry-run"]);
    let unique = baselines[1]["unique_bytes"].as_u64().unwrap();
    let reclaimable = planned["reclaimable_bytes"].as_u64().unwrap();
    assert!(reclaimable * 10 >= unique * 9, "{planned} {baselines}");
    let before = home.json(["store", "stats"])["pack_bytes"].as_u64().unwrap();
    let done = home.json(["store", "gc"]);
    let after = home.json(["store", "stats"])["pack_bytes"].as_u64().unwrap();
    assert_eq!((before - after) as i64, done["reclaimed_bytes"].as_i64().unwrap(), "{done}");
    assert_eq!(home.json(["store", "verify"])["clean"], true);
    home.json(["store", "delete", &kept]);
    home.json(["store", "gc"]);
    assert_eq!(home.json(["store", "stats"])["object_count"], 0);
}

#[test]
fn a_running_workspace_keeps_what_it_needs_through_a_collection() {
    let home = Home::new();
    let id = home.workspace(&project(&home, "seed", 5000));
    home.sh(&id, "echo changed >> src/main; echo new > new");
    home.json(["workspace", "diff", &id]);
    let push = project(&home, "pushed", 100);
    home.json(["workspace", "sync", "push", &id, text(&push), "--dest", "sub"]);
    home.json(["store", "gc"]);
    let output = home.scratch("out");
    home.json(["workspace", "export", &id, ".", "--output", text(&output)]);
    assert_eq!(fs::read(output.join("new")).unwrap(), b"new\n");
    let same = |name: &str, from: &Path| {
        assert_eq!(fs::read(output.join(name)).unwrap(), fs::read(from).unwrap(), "{name}");
    };
    same("src/deep/text", &home.scratch("seed/src/deep/text"));
    same("sub/src/deep/text", &push.join("src/deep/text"));
    assert_eq!(home.json(["store", "verify"])["clean"], true);
}

#[test]
fn a_healthy_source_heals_a_damaged_store() {
    let home = Home::new();
    let dir = project(&home, "project", 5000);
    let baseline = ingest(&home, &dir);
    let pack =
        fs::read_dir(home.path().join("store/packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[300] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let verify = home.output(["store", "verify"]);
    assert_eq!(verify.status.code(), Some(6), "{}", told(&verify));
    assert_eq!(ingest(&home, &dir), baseline);
    let verify = home.json(["store", "verify"]);
    assert_eq!((&verify["clean"], &verify["healed_count"]), (&true.into(), &0.into()), "{verify}");
    let copy = home.scratch("copy");
    home.json(["store", "checkout", &baseline, text(&copy)]);
    let file = "src/deep/text";
    assert_eq!(fs::read(copy.join(file)).unwrap(), fs::read(dir.join(file)).unwrap());
}

#[test]
fn baselines_are_looked_into_and_move_in_a_bundle() {
    let home = Home::new();
    let dir = project(&home, "project", 2000);
    let first = ingest(&home, &dir);
    fs::write(dir.join("src/main"), "another\n").unwrap();
    let second = ingest(&home, &dir);

    let tree = home.ok(["store", "tree", &first[..8], "--depth", "2"]);
    assert_eq!(tree, ".\n├── link -> src/main\n└── src/\n    ├── deep/\n    └── main\n");
    let below = home.ok(["store", "tree", &first, "src"]);
    assert_eq!(below, "src\n├── deep/\n│   └── text\n└── main\n");
    let id = blake3_of(&home, &first, "src/deep/text");
    let found = home.json(["store", "find-chunk", &id[..12]]);
    assert_eq!(found["objects"][0]["id"], id.as_str(), "{found}");
    let needed: Vec<_> = found["needed_by"].as_array().unwrap().iter().collect();
    assert_eq!(needed.len(), 2, "{found}");
    let (code, error) = home.fails(["store", "find-chunk", "0000000000000000"]);
    assert_eq!((code, &error["code"]), (3, &"path_not_found".into()), "{error}");
    let usage = home.json(["store", "du", &second]);
    let usage = &usage["baselines"][0];
    let number = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(number("unique_bytes") + number("shared_bytes"), number("stored_bytes"));
    assert!(number("shared_bytes") > number("unique_bytes"), "{usage}");

    let bundle = home.scratch("both.pyro");
    home.json(["store", "export-bundle", &first, &second, "--output", text(&bundle)]);
    let (code, error) = home.fails(["store", "export-bundle", &first, "-o", text(&bundle)]);
    assert_eq!((code, &error["code"]), (4, &"already_exists".into()), "{error}");
    let other = Home::new();
    let taken = other.json(["store", "import-bundle", text(&bundle)]);
    assert_eq!(taken["baselines"].as_array().unwrap().len(), 2, "{taken}");
    let copy = other.scratch("copy");
    other.json(["store", "checkout", &second, text(&copy)]);
    assert_eq!(fs::read(copy.join("src/main")).unwrap(), b"another\n");
    assert_eq!(other.json(["store", "rebuild-index"])["damage"], serde_json::json!([]));
    assert_eq!(other.json(["store", "verify"])["clean"], true);
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let (code, error) = other.fails(["store", "import-bundle", text(&bundle)]);
    assert_eq!((code, &error["code"]), (2, &"bad_archive".into()), "{error}");
}

fn blake3_of(home: &Home, baseline: &str, path: &str) -> String {
    let entry = home.json(["store", "ls", baseline, path])["entries"][0].clone();
    entry["hash"].as_str().unwrap().to_owned()
}

fn is_mounted(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == Some(text(dir)))
}

#[track_caller]
fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_mount_ends_with_its_caller_with_its_daemon_and_after_its_daemons_death() {
    if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
        eprintln!("skipped: /dev/fuse cannot be opened");
        return;
    }
    let home = Home::new();
    let dir = project(&home, "project", 2000);
    let baseline = ingest(&home, &dir);
    let view = home.scratch("view");
    fs::create_dir(&view).unwrap();
    let mount = || {
        let mut command = home.command(["store", "mount", &baseline, text(&view)]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(|| is_mounted(&view));
        let file = "src/deep/text";
        assert_eq!(fs::read(view.join(file)).unwrap(), fs::read(dir.join(file)).unwrap());
        child
    };
    let mut child = mount();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    until(|| !is_mounted(&view));

    let mut child = mount();
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| !is_mounted(&view));

    let mut child = mount();
    home.ok(["daemon", "stop"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!is_mounted(&view));

    let mut child = mount();
    kill(Pid::from_raw(home.daemon_pid()), Signal::SIGKILL).unwrap();
    assert_ne!(child.wait().unwrap().code(), Some(0));
    home.json(["store", "list"]);
    assert!(!is_mounted(&view));
    assert_eq!(fs::read_dir(&view).unwrap().count(), 0);
    let (code, error) = home.fails(["store", "mount", &baseline, text(&dir)]);
    assert_eq!((code, &error["code"]), (2, &"invalid_argument".into()), "{error}");
}
