//! Machines that were booted before anybody asked for them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::process::{assert_nothing_remains, kill_daemon, until, workspaces_on_disk};
use crate::support::{ENVIRONMENT, Home, told};
use crate::tree::str_of;

/// The first workspace, of a daemon that keeps two machines waiting; when they do.
fn begin(home: &Home) -> String {
    let create = ["workspace", "create", ENVIRONMENT, "--id-only"];
    let output = home.command(create).env("PYRO_WARM", "2").output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    wait_for_two(home);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Two machines more than there are workspaces.
fn wait_for_two(home: &Home) {
    let listed = || home.json(["workspace", "list"])["workspaces"].as_array().unwrap().len();
    until("two machines wait", || workspaces_on_disk(home) == listed() + 2);
    until("both run", || {
        let lines = home.processes();
        lines.iter().filter(|line| line.contains(" shim ")).count() == listed() + 2
    });
}

fn on_disk(home: &Home) -> BTreeSet<String> {
    let entries = fs::read_dir(home.path().join("workspaces")).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn a_workspace_takes_over_a_machine_that_waits() {
    let home = Home::new();
    begin(&home);
    let waiting = on_disk(&home);
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("file"), "seeded\n").unwrap();
    let seed = seed.to_str().unwrap();
    let made = home.json([
        "workspace",
        "create",
        ENVIRONMENT,
        "--seed-path",
        seed,
        "--name",
        "warm",
        "--ttl-seconds",
        "900",
    ]);
    let id = str_of(&made, "workspace_id").to_owned();
    assert!(waiting.contains(&id), "{id} waited");
    assert_eq!((str_of(&made, "state"), str_of(&made, "name")), ("started", "warm"));
    assert!(made["expires_at"].is_string());
    assert_eq!(home.sh("warm", "cat file; hostname; ls -A | wc -l"), "seeded\nwarm\n1\n");
    home.sh("warm", "echo more >> file");
    let diff = home.json(["workspace", "diff", "warm", "--full"]);
    assert_eq!(diff["summary"]["modified"], 1, "{diff}");
    // It lives on as any other.
    home.json(["workspace", "stop", "warm"]);
    home.json(["workspace", "start", "warm"]);
    assert_eq!(home.sh("warm", "cat file"), "seeded\nmore\n");
    home.json(["workspace", "reset", "warm"]);
    assert_eq!(home.sh("warm", "cat file"), "seeded\n");
    wait_for_two(&home);

    // One of another shape boots by itself, and the next ones wait in its shape.
    let other = ["workspace", "create", ENVIRONMENT, "--mem-mib", "512"];
    let before = on_disk(&home);
    let small = home.json(other);
    assert!(!before.contains(str_of(&small, "workspace_id")), "{small}");
    wait_for_two(&home);
    let before = on_disk(&home);
    let small: Value = home.json(other);
    assert!(before.contains(str_of(&small, "workspace_id")), "{small}");
    assert_eq!(home.sh(str_of(&small, "workspace_id"), "echo hello"), "hello\n");

    // A run takes one, too, and it goes with its command.
    let out = home.ok(["run", ENVIRONMENT, "--mem-mib", "512", "--", "echo", "out"]);
    assert_eq!(out, "out\n");
    for workspace in home.json(["workspace", "list"])["workspaces"].as_array().unwrap() {
        home.ok(["workspace", "delete", str_of(workspace, "workspace_id")]);
    }
    home.ok(["daemon", "stop"]);
    assert_nothing_remains(&home);
}

#[test]
fn machines_that_wait_end_with_their_daemon_however_it_ends() {
    let home = Home::new();
    let id = begin(&home);
    kill_daemon(&home);
    // The next daemon keeps none, and finds those.
    assert_eq!(home.sh(&id, "echo alive"), "alive\n");
    until("those that waited are gone", || workspaces_on_disk(&home) == 1);
    home.ok(["workspace", "delete", &id]);
    assert_nothing_remains(&home);
    let list = ["workspace", "list", "--json"];
    let output = home.command(list).env("PYRO_WARM", "many").output().unwrap();
    assert!(!output.status.success() && told(&output).contains("PYRO_WARM"), "{}", told(&output));
}
