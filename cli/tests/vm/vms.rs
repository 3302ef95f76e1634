//! VMs step by step, and the end of time of VMs and workspaces.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::process::{
    Beside, assert_nothing_remains, dir_of, kill_daemon, until, workspaces_on_disk,
};
use crate::support::{ENVIRONMENT, Home, told};
use crate::tree::str_of;

fn create(home: &Home) -> String {
    home.ok(["vm", "create", ENVIRONMENT, "--id-only"]).trim().to_owned()
}

fn started(home: &Home) -> String {
    let id = create(home);
    home.ok(["vm", "start", &id]);
    id
}

fn state(home: &Home, id: &str) -> String {
    str_of(&home.json(["vm", "status", id]), "state").to_owned()
}

fn seed(home: &Home) -> PathBuf {
    let seed = home.scratch("seed");
    fs::create_dir_all(&seed).unwrap();
    seed
}

fn assert_gone(home: &Home, id: &str) {
    until("the VM goes", || !dir_of(home, id).exists());
    let (code, error) = home.fails(["vm", "status", id]);
    assert_eq!((code, &error["code"]), (3, &json!("unknown_vm")), "{error}");
}

#[test]
fn a_vm_lives_as_it_is_told() {
    let home = Home::new();
    let made = home.json(["vm", "create", ENVIRONMENT, "--mem-mib", "512"]);
    let id = str_of(&made, "vm_id");
    assert_eq!((str_of(&made, "state"), &made["mem_mib"]), ("created", &json!(512)));
    let times = ["created_at", "expires_at"]
        .map(|name| str_of(&made, name).parse::<jiff::Timestamp>().unwrap());
    assert_eq!(times[1].duration_since(times[0]).as_secs(), 600, "nobody has to say so");

    let (code, error) = home.fails(["vm", "exec", id, "--", "true"]);
    assert_eq!((code, &error["code"]), (125, &json!("workspace_state")), "{error}");
    assert!(str_of(&error, "hint").contains("vm start"), "{error}");
    assert_eq!(state(&home, id), "created", "a VM that was refused stays");

    home.ok(["vm", "start", id]);
    home.ok(["vm", "start", id]);
    assert_eq!(state(&home, id), "started");
    kill_daemon(&home);
    assert_eq!(home.json(["vm", "list"])["vms"][0]["state"], "started");
    for _ in 0..2 {
        assert_eq!(home.json(["vm", "stop", id])["state"], "stopped");
    }
    let (code, error) = home.fails(["vm", "exec", id, "--", "true"]);
    assert_eq!((code, &error["code"]), (125, &json!("workspace_state")), "{error}");
    home.ok(["vm", "start", id]);
    assert_eq!(home.ok(["vm", "exec", id, "--", "sh", "-c", "ls -A; pwd"]), "/workspace\n");
    assert_gone(&home, id);
    assert_nothing_remains(&home);
}

#[test]
fn one_command_is_all_and_the_vm_is_gone_whatever_came_of_it() {
    let home = Home::new();
    let id = started(&home);
    let (code, error) = home.fails(["vm", "exec", &id, "--timeout-seconds", "0", "--", "true"]);
    assert_eq!((code, &error["code"]), (2, &json!("invalid_argument")));
    let script = "printf 'a\\377'; echo oops >&2; exit 9";
    let ran = home.output(["vm", "exec", &id, "--", "sh", "-c", script]);
    assert_eq!(ran.status.code(), Some(9), "{}", told(&ran));
    assert_eq!((ran.stdout, ran.stderr), (b"a\xff".to_vec(), b"oops\n".to_vec()));
    assert_gone(&home, &id);

    let id = started(&home);
    let ran =
        home.output(["vm", "exec", &id, "--timeout-seconds", "1", "--json", "--", "sleep", "1000"]);
    let reply: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &reply["timed_out"]), (Some(124), &json!(true)), "{reply}");
    assert_eq!((&reply["deleted"], str_of(&reply, "vm_id")), (&json!(true), id.as_str()));
    assert_gone(&home, &id);

    let id = started(&home);
    assert_eq!(home.output(["vm", "exec", &id, "--", "no-such-program"]).status.code(), Some(127));
    assert_gone(&home, &id);

    let exec = |id: &str| {
        let script = "echo up; sleep 1000";
        let mut exec = Beside::start(home.command(["vm", "exec", id, "--", "sh", "-c", script]));
        exec.expect("up");
        exec
    };
    let id = started(&home);
    let interrupted = exec(&id);
    let (code, error) = home.fails(["vm", "exec", &id, "--", "true"]);
    assert_eq!((code, &error["code"]), (125, &json!("busy")), "{error}");
    interrupted.signal(Signal::SIGINT);
    assert_eq!(interrupted.end().0.code(), Some(130));
    assert_gone(&home, &id);

    let id = started(&home);
    let orphaned = exec(&id);
    kill_daemon(&home);
    let (status, _, stderr) = orphaned.end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert_gone(&home, &id);
    assert_nothing_remains(&home);
}

#[test]
fn the_ids_of_vms_and_workspaces_do_not_mix() {
    let home = Home::new();
    let vm = create(&home);
    let workspace = home.workspace(&seed(&home));
    for words in
        [["vm", "status"], ["vm", "start"], ["vm", "stop"], ["vm", "delete"], ["vm", "network"]]
    {
        let (code, error) = home.fails([words[0], words[1], &workspace]);
        assert_eq!((code, &error["code"]), (3, &json!("unknown_vm")), "{words:?}");
        assert!(str_of(&error, "hint").contains("workspace status"), "{error}");
        let (_, error) = home.fails([words[0], words[1], "feedfeedfeed"]);
        assert!(str_of(&error, "hint").contains("vm list"), "{error}");
    }
    for words in [
        ["workspace", "status"],
        ["workspace", "start"],
        ["workspace", "delete"],
        ["workspace", "logs"],
    ] {
        let (code, error) = home.fails([words[0], words[1], &vm]);
        assert_eq!((code, &error["code"]), (3, &json!("unknown_workspace")), "{words:?}");
        assert!(str_of(&error, "hint").contains("vm status"), "{error}");
    }
    let listed = |kind: &str, name: &str, id: &str| {
        let listed = home.json([kind, "list"])[name].clone();
        listed.as_array().unwrap().iter().map(|it| str_of(it, id).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("vm", "vms", "vm_id"), [vm.as_str()]);
    assert_eq!(listed("workspace", "workspaces", "workspace_id"), [workspace.as_str()]);
    let network = home.json(["vm", "network", &vm]);
    assert_eq!(
        (&network["network_enabled"], &network["network_policy"]),
        (&json!(false), &json!("off"))
    );
    assert_eq!((&network["guest_ip"], &network["dns_ip"]), (&json!(null), &json!(null)));
    home.ok(["vm", "delete", &vm]);
    home.ok(["workspace", "delete", &workspace]);
    assert_nothing_remains(&home);
}

#[test]
fn the_end_of_time_deletes_whatever_runs_and_is_told() {
    let home = Home::new();
    let seed = seed(&home);
    let ttl = |seconds: &str| {
        let words = ["--seed-path", seed.to_str().unwrap(), "--ttl-seconds", seconds];
        let words = ["workspace", "create", ENVIRONMENT, "--id-only"].into_iter().chain(words);
        home.ok(words).trim().to_owned()
    };
    let workspace = ttl("15");
    let mut exec = Beside::exec(&home, &workspace, "echo up; sleep 1000");
    exec.expect("up");
    let (status, _, stderr) = exec.end();
    assert_eq!(status.code(), Some(125), "{stderr}");
    assert!(stderr.contains("time of workspace") && stderr.contains("--ttl-seconds"), "{stderr}");

    let run =
        home.output(["run", ENVIRONMENT, "--ttl-seconds", "3", "--json", "--", "sleep", "1000"]);
    let error: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(
        (run.status.code(), &error["error"]["code"]),
        (Some(125), &json!("workspace_state"))
    );

    // Made, never started, and no daemon at the end of its time: the next one sees to it.
    let made = home.json(["vm", "create", ENVIRONMENT, "--ttl-seconds", "30"]);
    let vm = str_of(&made, "vm_id").to_owned();
    let reaped = home.json(["vm", "reap"]);
    assert_eq!(reaped["reaped_workspace_ids"], json!([workspace]), "and no VM of 'run'");
    kill_daemon(&home);
    let at: jiff::Timestamp = str_of(&made, "expires_at").parse().unwrap();
    until("its time is over", || jiff::Timestamp::now() > at);
    let reaped = home.json(["vm", "reap"]);
    assert_eq!((&reaped["count"], &reaped["reaped_vm_ids"]), (&json!(1), &json!([vm])));
    assert_gone(&home, &vm);
    let reaped = home.json(["vm", "reap"]);
    let nothing = json!({"count": 0, "reaped_vm_ids": [], "reaped_workspace_ids": []});
    assert_eq!(reaped, nothing, "each is told once");
    until("all of it goes", || workspaces_on_disk(&home) == 0);
    assert_nothing_remains(&home);
}

#[test]
fn a_time_without_end_is_one() {
    let home = Home::new();
    let ttl = u64::MAX.to_string();
    let made = home.json(["vm", "create", ENVIRONMENT, "--ttl-seconds", &ttl]);
    assert!(str_of(&made, "expires_at").starts_with("9999-"), "{made}");
    assert_eq!(home.json(["vm", "reap"])["count"], 0);
    home.ok(["vm", "delete", str_of(&made, "vm_id")]);
    assert_nothing_remains(&home);
}
