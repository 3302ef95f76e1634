//! Snapshots, going back to them, and starting from them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::Home;
use crate::tree::{Listing, str_of};

fn paths(diff: &Value) -> Vec<(String, String)> {
    let entry = |entry: &Value| (str_of(entry, "status").into(), str_of(entry, "path").into());
    diff["entries"].as_array().unwrap().iter().map(entry).collect()
}

fn changed(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(status, path)| ((*status).into(), (*path).into())).collect()
}

fn seeded(home: &Home) -> String {
    let seed = home.scratch("seed");
    fs::create_dir_all(seed.join("src")).unwrap();
    fs::write(seed.join("src/main"), "main\n").unwrap();
    fs::write(seed.join("notes"), "notes\n").unwrap();
    home.workspace(&seed)
}

#[test]
fn a_snapshot_is_compared_with_exported_and_gone_back_to() {
    let home = Home::new();
    let id = seeded(&home);
    home.sh(&id, "echo one > src/one; rm notes");
    let made = home.json(["workspace", "snapshot", "create", &id, "first"]);
    assert_eq!(made["snapshot"]["changed_count"], 2, "{made}");
    home.sh(&id, "echo two > src/two; echo more >> src/one");
    let seen = home.json(["workspace", "diff", &id]);
    let tree = str_of(&seen, "tree");
    home.json(["workspace", "snapshot", "create", &id, "second", "--tree", tree]);
    home.sh(&id, "rm -r src; echo junk > /tmp/junk; echo junk > /usr/local/bin/junk");

    let listed = home.json(["workspace", "snapshot", "list", &id]);
    let names: Vec<_> =
        listed["snapshots"].as_array().unwrap().iter().map(|s| str_of(s, "name")).collect();
    assert_eq!(names, ["first", "second"]);
    let diff = |args: [&str; 4]| {
        paths(&home.json(["workspace", "diff", &id, args[0], args[1], args[2], args[3]]))
    };
    assert_eq!(
        diff(["--from", "first", "--to", "second"]),
        changed(&[("modified", "src/one"), ("added", "src/two")])
    );
    assert_eq!(
        diff(["--from", "second", "--to", "baseline"]),
        changed(&[("added", "notes"), ("deleted", "src/one"), ("deleted", "src/two")])
    );
    let patch = home.ok(["workspace", "diff", &id, "--from", "first", "--to", "second", "--patch"]);
    assert!(patch.contains("+more\n") && patch.contains("+two\n"), "{patch}");

    // Names that are taken, missing, or mean something else.
    let refused = |name: &str| home.fails(["workspace", "snapshot", "create", &id, name]).1;
    assert_eq!(str_of(&refused("first"), "code"), "already_exists");
    for name in ["baseline", "", "a/b", &"0".repeat(64)] {
        assert_eq!(str_of(&refused(name), "code"), "invalid_argument", "{name}");
    }
    for command in [
        ["workspace", "snapshot", "delete", &id, "third"],
        ["workspace", "reset", &id, "--snapshot", "third"],
        ["workspace", "fork", &id, "--snapshot", "third"],
        ["workspace", "diff", &id, "--from", "third"],
    ] {
        let (exit, error) = home.fails(command);
        assert_eq!((exit, str_of(&error, "code")), (3, "unknown_snapshot"), "{error}");
        assert!(str_of(&error, "hint").contains("snapshot list"), "{error}");
    }

    let before = home.json(["workspace", "status", &id]);
    // A daemon that died while it was resetting has left a disk.
    fs::write(home.path().join("workspaces").join(&id).join("scratch-1.img"), "left").unwrap();
    let after = home.json(["workspace", "reset", &id, "--snapshot", "second"]);
    for field in ["workspace_id", "name", "baseline", "baseline_tree", "created_at"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!((&after["state"], &after["command_count"]), (&"started".into(), &0.into()));
    let log = home.json(["workspace", "logs", &id]);
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(0), "{log}");
    let left =
        home.sh(&id, "cat src/one src/two; ls /tmp/junk /usr/local/bin/junk 2>/dev/null || :");
    assert_eq!(left, "one\nmore\ntwo\n");
    // The baseline is still what diffs compare with.
    let now = home.json(["workspace", "diff", &id]);
    assert_eq!(str_of(&now, "tree"), tree);
    assert_eq!(paths(&now), paths(&seen));
    assert_eq!(paths(&home.json(["workspace", "diff", &id, "--full"])), paths(&seen));

    // Again, to the start, from a stopped workspace, and across the daemon's end.
    home.sh(&id, "echo x > src/three");
    home.json(["workspace", "stop", &id]);
    home.json(["workspace", "reset", &id]);
    assert_eq!(paths(&home.json(["workspace", "diff", &id])), []);
    home.sh(&id, "echo y > y");
    home.json(["workspace", "stop", &id]);
    home.ok(["daemon", "stop"]);
    home.json(["workspace", "start", &id]);
    assert_eq!(paths(&home.json(["workspace", "diff", &id])), changed(&[("added", "y")]));
    let scratches = fs::read_dir(home.path().join("workspaces").join(&id)).unwrap();
    let is_scratch = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"scratch");
    let scratches = scratches.flatten().filter(|entry| is_scratch(&entry.file_name()));
    assert_eq!(scratches.count(), 1, "the disks of earlier sandboxes are gone");

    home.json(["workspace", "snapshot", "delete", &id, "first"]);
    let (_, error) = home.fails(["workspace", "snapshot", "delete", &id, "first"]);
    assert_eq!(str_of(&error, "code"), "unknown_snapshot");
}

#[test]
fn forks_share_everything_and_go_their_own_ways() {
    let home = Home::new();
    let id = seeded(&home);
    home.sh(&id, "seq 1 500000 > big; echo mine > src/main");
    home.json(["workspace", "snapshot", "create", &id, "base"]);
    let stored = || {
        home.ok(["store", "gc", "--json"]);
        let stats = home.json(["store", "stats"]);
        (stats["chunk_count"].clone(), stats["payload_bytes"].clone())
    };
    let before = stored();
    let view = Listing::guest(&home, &id);
    let fork = |args: &[&str]| {
        let words = ["workspace", "fork", &id, "--id-only"].into_iter().chain(args.iter().copied());
        home.ok(words).trim().to_owned()
    };
    let forks = [fork(&["--snapshot", "base", "--name", "one"]), fork(&["--name", "two"])];
    assert_eq!(stored(), before, "a fork stores nothing");
    let baseline = home.json(["workspace", "status", &id])["baseline_tree"].clone();
    for fork in &forks {
        Listing::guest(&home, fork).is(&view);
        assert_eq!(home.json(["workspace", "status", fork])["baseline_tree"], baseline);
        let diff = home.json(["workspace", "diff", fork]);
        assert_eq!(paths(&diff), changed(&[("added", "big"), ("modified", "src/main")]));
    }
    home.sh(&forks[0], "rm big; echo theirs > src/main");
    assert_eq!(home.sh(&id, "cat src/main"), "mine\n");
    assert_eq!(home.sh("two", "cat src/main; tail -n1 big"), "mine\n500000\n");

    // The fork needs its source no more: neither it, nor its snapshots, nor a stopped machine.
    home.json(["workspace", "stop", &id]);
    let late = fork(&["--snapshot", "base"]);
    let (exit, error) = home.fails(["workspace", "fork", &id]);
    assert_eq!((exit, str_of(&error, "code")), (4, "workspace_state"), "{error}");
    home.json(["workspace", "delete", &id]);
    home.ok(["store", "gc"]);
    let (_, error) = home.fails(["workspace", "fork", &id]);
    assert_eq!(str_of(&error, "code"), "unknown_workspace");
    Listing::guest(&home, &late).is(&view);
    let out = home.scratch("out");
    home.json(["workspace", "export", &late, ".", "--output", out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(out.join("src/main")).unwrap(), "mine\n");
    assert!(Path::new(&out).join("notes").exists());
}
