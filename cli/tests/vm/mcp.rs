//! The MCP server on standard streams, message by message.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::mcp_client::{Mcp, initialize, until};
use crate::support::{ENVIRONMENT, Home};

pub fn workspace(mcp: &mut Mcp) -> String {
    let created = mcp.ok("workspace_create", json!({ "environment": ENVIRONMENT }));
    created["workspace_id"].as_str().unwrap().to_owned()
}

#[test]
fn every_protocol_version_is_spoken() {
    let home = Home::new();
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        // The newest one has no handshake: whoever begins with one gets the last that has.
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut mcp = Mcp::start(&home, &home.project(), []);
        let answer = mcp.request("initialize", initialize(asked));
        assert_eq!(answer["result"]["protocolVersion"], answered, "{answer}");
        assert!(answer["result"]["instructions"].as_str().unwrap().contains("vm_run"));
        let listed = mcp.request("tools/list", json!({}));
        assert_eq!(listed["result"]["tools"][0]["name"], "vm_run", "{asked}");
    }
    let mut mcp = Mcp::start(&home, &home.project(), []);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let found = mcp.request("server/discover", json!({ "_meta": meta }));
    assert!(found["result"]["supportedVersions"].to_string().contains("2026-07-28"), "{found}");
    let listed = mcp.request("tools/list", json!({ "_meta": meta }));
    assert_eq!(listed["result"]["tools"][0]["name"], "vm_run", "{listed}");
    let call = json!({ "_meta": meta, "name": "vm_list_environments", "arguments": {} });
    let answer = mcp.request("tools/call", call);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}

#[test]
fn a_profile_hides_the_other_tools() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), ["--profile", "vm-run"]);
    let listed = mcp.request("tools/list", json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1);
    let answer = mcp.request("tools/call", json!({ "name": "workspace_list", "arguments": {} }));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("workspace-core") && message.contains("vm-run"), "{message}");
}

#[test]
fn what_is_no_request_is_answered_or_passed_over_and_never_fatal() {
    let home = Home::new();
    let mut mcp = Mcp::start(&home, &home.project(), []);
    // Before the handshake, and after it.
    for round in 0..2 {
        for line in [
            &b""[..],
            b"no JSON",
            b"{",
            b"[]",
            b"7",
            b"null",
            b"\xff\xfe\x00",
            br#"{"jsonrpc":"2.0"}"#,
            br#"{"jsonrpc":"2.0","id":1000,"method":42}"#,
            br#"{"jsonrpc":"2.0","method":"notifications/none"}"#,
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
            br#"{"jsonrpc":"2.0","id":99,"result":{}}"#,
        ] {
            mcp.line(line);
        }
        if round == 0 {
            let id = mcp.ask("initialize", initialize("2025-11-25"));
            until("the handshake", || (mcp.next()["id"] == id).then_some(()));
        }
    }
    let id = mcp.ask("ping", json!({}));
    until("an answer", || (mcp.next()["id"] == id).then_some(()));
    for (call, word) in [
        (json!({ "name": "no_such_tool" }), "no_such_tool"),
        (json!({ "name": "vm_run", "arguments": [] }), ""),
        (json!({ "name": 7 }), ""),
        (json!({}), ""),
    ] {
        let id = mcp.ask("tools/call", call.clone());
        let error = until("an error", || {
            let message = mcp.next();
            (message["id"] == id || message["error"].is_object()).then_some(message)
        });
        assert!(error["error"]["message"].as_str().unwrap().contains(word), "{call}: {error}");
    }
    assert_eq!(mcp.request("tools/list", json!({ "cursor": "x" }))["error"]["code"], -32602);
    assert!(mcp.request("no/such/method", json!({}))["error"].is_object());
    for arguments in [
        json!({ "environment": 7, "command": "true" }),
        json!({ "environment": ENVIRONMENT, "command": { "a": 1 } }),
        json!({ "environment": ENVIRONMENT, "command": [] }),
        json!({ "environment": ENVIRONMENT, "command": "true", "mem_mib": -1 }),
        json!({ "environment": ENVIRONMENT, "command": "true", "timeout_seconds": "soon" }),
        json!({ "environment": ENVIRONMENT, "command": "true", "max_chars": 0 }),
    ] {
        let error = mcp.refused("vm_run", arguments);
        assert_eq!(error["code"], "invalid_argument", "{error}");
    }
    assert!(home.machines().is_empty());
}

#[test]
fn host_paths_stay_inside_and_nothing_is_overwritten() {
    let home = Home::new();
    let project = home.project();
    let outside = home.scratch("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("key"), "secret").unwrap();
    fs::write(project.join("there"), "mine").unwrap();
    symlink(&outside, project.join("link")).unwrap();
    let mut mcp = Mcp::begin(&home, &project, []);
    let seed = |path: &str| json!({ "environment": ENVIRONMENT, "seed_path": path });
    let refused = |mcp: &mut Mcp, path: &str| {
        let error = mcp.refused("workspace_create", seed(path));
        assert_eq!(error["code"], "path_not_allowed", "{path}: {error}");
        assert!(error["hint"].is_string(), "{path}: {error}");
    };
    for path in ["~/.ssh", "/etc", "/", "..", "link", "link/key", outside.to_str().unwrap()] {
        refused(&mut mcp, path);
    }
    refused(&mut mcp, home.path().to_str().unwrap());
    assert!(home.machines().is_empty());

    let workspace = workspace(&mut mcp);
    let push = json!({ "workspace_id": workspace, "source_path": outside.join("key") });
    assert_eq!(mcp.refused("workspace_sync_push", push)["code"], "path_not_allowed");
    home.sh(&workspace, "echo new > file");
    let export =
        |path: &Path| json!({ "workspace_id": workspace, "path": "file", "output_path": path });
    for (path, code) in [
        (outside.join("new"), "path_not_allowed"),
        (project.join("link/new"), "path_not_allowed"),
        (home.path().join("new"), "path_not_allowed"),
        (project.join("there"), "already_exists"),
        (project.join("none/new"), "path_not_found"),
    ] {
        let error = mcp.refused("workspace_export", export(&path));
        assert_eq!(error["code"], code, "{}: {error}", path.display());
    }
    assert_eq!(fs::read(project.join("there")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    mcp.ok("workspace_export", export(&project.join("new")));
    assert_eq!(fs::read(project.join("new")).unwrap(), b"new\n");
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace }));
}

#[test]
fn a_client_that_gives_up_or_goes_leaves_nothing_running() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let run =
        || json!({ "environment": ENVIRONMENT, "command": "sleep 1000", "timeout_seconds": 900 });
    let runs = || (!home.machines().is_empty()).then_some(());
    let gone = || home.machines().is_empty().then_some(());

    let id = mcp.start_call("vm_run", run());
    until("the VM runs", runs);
    let progress = |mcp: &Mcp| {
        let told = mcp.notifications.iter();
        let told = told.filter(|told| told["method"] == "notifications/progress");
        told.map(|told| told["params"]["progress"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    until("progress is told", || {
        mcp.request("ping", json!({}));
        (!progress(&mcp).is_empty()).then_some(())
    });
    mcp.notify("notifications/cancelled", json!({ "requestId": id, "reason": "test" }));
    until("the VM is gone", gone);
    assert_eq!(
        mcp.request("ping", json!({}))["result"],
        json!({}),
        "a cancelled call has no answer"
    );
    assert!(progress(&mcp).is_sorted(), "{:?}", progress(&mcp));

    mcp.start_call("vm_run", run());
    until("the VM runs", runs);
    mcp.hang_up();
    until("the VM is gone", gone);
    assert!(until("the server ends", || mcp.child.try_wait().unwrap()).success());

    let mut mcp = Mcp::begin(&home, &home.project(), []);
    mcp.start_call("workspace_create", json!({ "environment": ENVIRONMENT }));
    until("the VM runs", runs);
    kill(Pid::from_raw(mcp.child.id() as i32), Signal::SIGTERM).unwrap();
    until("the VM is gone", gone);
    assert_eq!(until("the server ends", || mcp.child.try_wait().unwrap()).code(), Some(143));
    let left = until("it is undone", || {
        let listed = home.json(["workspace", "list"]);
        listed["workspaces"].as_array().unwrap().is_empty().then_some(listed)
    });
    assert_eq!(left["workspaces"], json!([]));
}

#[test]
fn large_inputs_and_binary_outputs_are_borne() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let run = |command: Value| json!({ "environment": ENVIRONMENT, "command": command });
    let large = "x".repeat(10 << 20);
    let error =
        mcp.refused("shell_write", json!({ "workspace_id": "w", "shell_id": "s", "input": large }));
    assert_eq!(error["code"], "invalid_argument", "{error}");
    assert!(error["message"].as_str().unwrap().len() < 500);
    let ran = mcp.ok("vm_run", run(json!(format!("echo {large}"))));
    assert_eq!(ran["exit_code"], 126, "no kernel takes such an argument");
    assert!(ran.to_string().len() < 200_000);
    let id = mcp.start_call(&large, json!({}));
    assert_eq!(mcp.answer(id)["error"]["code"], -32602);

    let binary = "head -c 300 /dev/zero | tr '\\0' '\\377'; head -c 200000 /dev/urandom >&2";
    let ran = mcp.ok("vm_run", run(json!(binary)));
    assert!(ran["stdout_b64"].as_str().unwrap().starts_with("////"), "{ran}");
    assert_eq!(ran["stderr_truncated"], true);
    assert!(ran["stderr"].as_str().unwrap().chars().count() < 33_000);
    assert_eq!(ran["stderr_b64"], Value::Null);
    let long = mcp.ok("vm_run", run(json!("seq 1 100000")));
    let stdout = long["stdout"].as_str().unwrap();
    assert!(stdout.starts_with("1\n2\n") && stdout.ends_with("99999\n100000\n"), "head and tail");
    assert!(stdout.contains("characters left out"));
}

#[test]
fn the_server_outlives_daemons() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let workspace_id = workspace(&mut mcp);
    for _ in 0..2 {
        kill(Pid::from_raw(home.daemon_pid()), Signal::SIGKILL).unwrap();
        let status = mcp.ok("workspace_status", json!({ "workspace_id": workspace_id }));
        assert_eq!(status["state"], "started", "{status}");
    }
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace_id }));
}
