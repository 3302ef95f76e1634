//! The main job, as an ordinary user runs it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::process::{assert_nothing_remains, until};
use crate::support::{Home, NOBODY, check};
use crate::tree::{assert_changes, str_of};

/// Forks until it is refused, or far too often; prints how often.
const FORKS: &str = "
import os, signal
count = 0
try:
    while count < 6000:
        if not os.fork():
            signal.pause()
        count += 1
except OSError:
    pass
print(count)
";

fn the_main_job(home: &Home) {
    let seed = home.scratch("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("kept"), "kept\n").unwrap();
    fs::write(seed.join("run.sh"), "#!/bin/sh\necho \"$1\" >> log\n").unwrap();
    fs::set_permissions(seed.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(home.scratch("out")).unwrap();
    home.give(&seed);
    home.give(&home.scratch("out"));
    let id = home.workspace(&seed);
    assert_eq!(home.sh(&id, "id -u; ./run.sh one; mkdir -m 700 d; echo x > d/f; rm kept"), "0\n");
    home.ok(["workspace", "sync", "push", &id, seed.to_str().unwrap(), "--dest", "again"]);
    let wanted = [
        ("again", "added"),
        ("again/kept", "added"),
        ("again/run.sh", "added"),
        ("d", "added"),
        ("d/f", "added"),
        ("kept", "deleted"),
        ("log", "added"),
    ];
    assert_changes(&home.json(["workspace", "diff", &id]), &wanted);
    let out = home.scratch("out/d");
    home.ok(["workspace", "export", &id, "d", "--output", out.to_str().unwrap()]);
    let meta = fs::metadata(out.join("f")).unwrap();
    let me = nix::unistd::geteuid();
    assert_eq!(meta.uid(), if me.is_root() { NOBODY } else { me.as_raw() });
    // What was seeded is as it was.
    assert_eq!(fs::read_to_string(seed.join("kept")).unwrap(), "kept\n");

    // A command that never ends, with what it leaves behind, is killed.
    let started = home.json([
        "workspace",
        "exec",
        &id,
        "--detach",
        "--",
        "sh",
        "-c",
        "setsid sleep 1000 & sleep 1000",
    ]);
    let sequence = started["sequence"].to_string();
    home.ok(["workspace", "exec", "kill", &id, &sequence]);
    until("it is gone", || home.sh(&id, "pgrep -c sleep || true") == "0\n");
    home.ok(["workspace", "stop", &id]);
    home.ok(["workspace", "start", &id]);
    assert_eq!(home.sh(&id, "cat log"), "one\n");
    home.ok(["workspace", "delete", &id]);
    assert_nothing_remains(home);
}

#[test]
fn in_a_vm() {
    the_main_job(&Home::unprivileged("qemu-tcg"));
}

#[test]
fn without_a_vm() {
    let home = Home::unprivileged("host-compat");
    let told = home.json(["doctor"]);
    let check = check(&told, "host-compat").expect("it is checked");
    if check["status"] != "ok" {
        eprintln!("skipped: host-compat as an ordinary user: {}", str_of(check, "message"));
        return;
    }
    the_main_job(&home);
    let id = home.workspace(&home.scratch("seed"));
    let told = home.ok(["workspace", "exec", &id, "--", "python3", "-c", FORKS]);
    assert!((100..=4096).contains(&told.trim().parse().unwrap()), "{told}");
    assert_eq!(home.sh(&id, "echo alive"), "alive\n");
}
