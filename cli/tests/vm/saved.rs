//! Machines that are saved for the next workspaces, with a stand-in for Firecracker in which no guest runs:
//! what pyro does around it. This is no run on that backend.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use serde_json::Value;

use crate::process::{assert_nothing_remains, until};
use crate::support::{ENVIRONMENT, Home};

/// A home whose daemon takes the stand-in for Firecracker, and believes in KVM. It fails in the way that the
/// file `fail` says.
fn home() -> Home {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().with_file_name("examples/firecracker-stand-in");
    assert!(program.is_file(), "build it: cargo build -p pyro-machine --examples");
    // As an ordinary user, for whom there is no jailer.
    let home = Home::unprivileged("firecracker");
    let script = home.scratch("firecracker");
    let (fail, program) = (home.scratch("fail"), program.display());
    fs::write(&fail, "\n").unwrap();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo Firecracker v1.17.0; exit; fi\n\
         read -r fail <'{}'\nSTAND_IN_GUEST=1 STAND_IN_FAIL=\"$fail\" exec '{program}' \"$@\"\n",
        fail.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // It starts the daemon, which looks whether KVM works.
    let looked = home.command(["doctor", "--json"]).env("PYRO_FIRECRACKER", script).output();
    assert!(!looked.unwrap().stdout.is_empty());
    let verdict = home.path().join("cache/kvm-verdict.json");
    let mut found: Value = serde_json::from_slice(&fs::read(&verdict).unwrap()).unwrap();
    found["verdict"]["found"] = "works".into();
    fs::write(&verdict, found.to_string()).unwrap();
    home
}

fn create(home: &Home, more: &[&str]) -> String {
    let args = [&["workspace", "create", ENVIRONMENT, "--json"], more].concat();
    let made: Value = serde_json::from_str(&home.ok(args)).unwrap();
    assert_eq!(made["execution_mode"], "firecracker");
    made["workspace_id"].as_str().unwrap().to_owned()
}

/// What the stand-in of a workspace's machine was asked, and its guest was told.
fn console(home: &Home, id: &str) -> String {
    let path = home.path().join("workspaces").join(id).join("console.log");
    until("its guest was welcomed", || {
        fs::read_to_string(&path).is_ok_and(|text| text.lines().any(|it| it.starts_with("welcome")))
    });
    fs::read_to_string(&path).unwrap()
}

fn welcome(console: &str) -> &str {
    console.lines().find(|line| line.starts_with("welcome")).unwrap()
}

/// The saved machines, those that are only half saved among them.
fn begun(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path().join("cache/saved")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The saved machines.
fn saved(home: &Home) -> Vec<PathBuf> {
    let mut saved = begun(home);
    saved.retain(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
    saved
}

#[test]
fn the_next_workspace_goes_on_as_a_machine_that_was_saved() {
    let home = home();
    let first = create(&home, &[]);
    let told = console(&home, &first);
    assert!(told.contains("PUT /actions") && !told.contains("PUT /snapshot/load"), "{told}");
    until("a machine is saved", || saved(&home).len() == 1);
    let [machine] = &saved(&home)[..] else { panic!("one machine is saved") };
    for file in ["saved.state", "saved.memory", "scratch.img"] {
        assert!(machine.join(file).is_file(), "{file}");
    }

    let second = create(&home, &["--name", "second"]);
    let told_second = console(&home, &second);
    assert!(told_second.contains("PUT /snapshot/load"), "{told_second}");
    assert!(!told_second.contains("PUT /actions"), "{told_second}");
    // It learns what it is only now, and its randomness is nobody else's.
    assert!(welcome(&told_second).starts_with("welcome second ["), "{told_second}");
    let third = create(&home, &["--name", "second-to-none"]);
    let entropy = |told: &str| welcome(told).split_once('[').unwrap().1.to_owned();
    assert_ne!(entropy(&told_second), entropy(&console(&home, &third)));
    assert_eq!(saved(&home), std::slice::from_ref(machine), "it serves any number");

    // What a workspace has done since is on its own disk: it boots from there.
    let scratch = home.path().join("workspaces").join(&second).join("scratch.img");
    let disk = fs::File::options().read(true).write(true).open(&scratch).unwrap();
    disk.write_all_at(b"written since", 0).unwrap();
    home.ok(["workspace", "stop", &second]);
    home.ok(["workspace", "start", &second]);
    let told = console(&home, &second);
    assert!(told.contains("PUT /actions") && !told.contains("PUT /snapshot/load"), "{told}");
    let mut kept = [0; 13];
    fs::File::open(&scratch).unwrap().read_exact_at(&mut kept, 0).unwrap();
    assert_eq!(&kept, b"written since");

    // Other machines are others' to be saved.
    let other = create(&home, &["--mem-mib", "256"]);
    assert!(console(&home, &other).contains("PUT /actions"));
    until("it is saved, too", || saved(&home).len() == 2);
    let pruned = home.json(["env", "prune", "--images"]);
    let removed = pruned["removed"].as_array().unwrap();
    assert!(removed.contains(&"saved machines (2)".into()), "{pruned}");
    assert!(begun(&home).is_empty());
    for id in [&first, &second, &third, &other] {
        home.ok(["workspace", "delete", id]);
    }
    assert_nothing_remains(&home);
}

#[test]
fn a_saved_machine_that_does_not_work_is_forgotten_and_the_workspace_boots() {
    let home = home();
    create(&home, &[]);
    until("a machine is saved", || saved(&home).len() == 1);
    let before = saved(&home);
    fs::write(home.scratch("fail"), "PUT /snapshot/load=400\n").unwrap();
    let second = create(&home, &[]);
    assert!(console(&home, &second).contains("PUT /actions"));
    // Another one is saved in its place; where that fails, no more are.
    until("another is saved", || saved(&home) == before);
    fs::write(home.scratch("fail"), "PUT /snapshot/create=400\n").unwrap();
    let third = create(&home, &["--mem-mib", "256"]);
    assert!(console(&home, &third).contains("PUT /actions"));
    let log = || fs::read_to_string(home.path().join("daemon.log")).unwrap();
    until("the daemon tells why", || log().contains("no machines are saved: "));
    until("nothing of it is left", || begun(&home) == before);
}
