//! Commands of workspaces over MCP: cancelled, waited for, read in parts, and fifty in a row.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mcp::workspace;
use crate::mcp_client::{Mcp, until};
use crate::support::Home;

#[test]
fn a_cancelled_exec_kills_its_command() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let workspace = workspace(&mut mcp);
    let exec = json!({ "workspace_id": workspace, "command": "touch started; sleep 1000" });
    let id = mcp.start_call("workspace_exec", exec);
    until("the command runs", || {
        home.output(["workspace", "exec", &workspace, "--", "test", "-e", "started"])
            .status
            .success()
            .then_some(())
    });
    mcp.notify("notifications/cancelled", json!({ "requestId": id }));
    let entry = until("it is killed", || {
        let logs = home.json(["workspace", "logs", &workspace]);
        assert!(logs["running"].as_array().unwrap().len() <= 1, "{logs}");
        logs["entries"].as_array().unwrap().iter().find(|entry| entry["sequence"] == 1).cloned()
    });
    assert_eq!((&entry["killed"], &entry["exit_code"]), (&json!(true), &json!(137)), "{entry}");
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace }));
}

#[test]
fn a_long_command_is_waited_for_read_and_killed() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let workspace_id = workspace(&mut mcp);
    let command = "echo first; until [ -e go ]; do sleep 0.1; done; echo last; exit 5";
    let exec = |command: &str, wait: u32| json!({ "workspace_id": workspace_id, "command": command, "wait_seconds": wait });
    let view = mcp.ok("workspace_exec", exec(command, 0));
    assert_eq!(view["state"], "running", "{view}");
    let sequence = view["sequence"].clone();
    let of = |sequence: &Value, cursor: &Value| json!({ "workspace_id": workspace_id, "sequence": sequence, "stdout_cursor": cursor });
    let view = until("its first line", || {
        let view = mcp.ok("exec_read", of(&sequence, &json!(0)));
        (view["stdout"] == "first\n").then_some(view)
    });
    let cursor = view["stdout_next_cursor"].clone();
    mcp.ok("workspace_exec", exec("touch go", 45));
    let view = until("its end", || {
        let view = mcp.ok("exec_wait", of(&sequence, &cursor));
        (view["state"] == "exited").then_some(view)
    });
    assert_eq!((&view["stdout"], &view["exit_code"]), (&json!("last\n"), &json!(5)), "{view}");
    let past = mcp.refused("exec_read", of(&sequence, &json!(1u64 << 40)));
    assert_eq!(past["code"], "invalid_argument", "{past}");
    assert!(past["message"].as_str().unwrap().contains("past the end"), "{past}");

    let view = mcp.ok("workspace_exec", exec("sleep 1000", 0));
    let kill = json!({ "workspace_id": workspace_id, "sequence": view["sequence"] });
    let view = mcp.ok("exec_kill", kill.clone());
    assert_eq!((&view["state"], &view["killed"]), (&json!("exited"), &json!(true)), "{view}");
    assert_eq!(mcp.ok("exec_kill", kill)["state"], "exited", "one that has ended is no error");
    let who = json!({ "workspace_id": workspace_id, "command": "id -un", "user": "nobody" });
    assert_eq!(mcp.ok("workspace_exec", who)["stdout"], "nobody\n");
    let unknown = json!({ "workspace_id": workspace_id, "sequence": 99 });
    assert_eq!(mcp.refused("exec_read", unknown)["code"], "unknown_command");
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace_id }));
}

#[test]
fn long_answers_come_in_parts_that_meet() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let workspace = workspace(&mut mcp);
    let exec = json!({ "workspace_id": workspace, "command": "seq 1 30000 | tee all; mkdir d; cd d; \
        seq 1 150 | xargs touch; seq 1 400000 > ../zz-long", "max_chars": 1000 });
    let mut view = mcp.ok("workspace_exec", exec);
    let mut stdout = String::new();
    loop {
        let part = view["stdout"].as_str().unwrap();
        assert!(part.len() <= 100_000, "{}", part.len());
        stdout.push_str(part);
        if view["stdout_truncated"] == false {
            break;
        }
        view = mcp.ok(
            "exec_read",
            json!({ "workspace_id": workspace, "sequence": 1, "max_chars": 100_000,
                "stdout_cursor": view["stdout_next_cursor"] }),
        );
    }
    assert_eq!(stdout, (1..=30_000).map(|n| format!("{n}\n")).collect::<String>());

    let logs = mcp.ok("workspace_logs", json!({ "workspace_id": workspace }));
    assert!(logs["entries"][0]["stdout"].as_str().unwrap().len() < 1100);
    assert_eq!(logs["entries"][0]["stdout_truncated"], true);
    assert_eq!(logs["next_cursor"], Value::Null);

    let mut ask = json!({ "workspace_id": workspace, "max_chars": 700_000 });
    let (mut patch, mut paths, mut parts) = (String::new(), Vec::new(), 0);
    loop {
        let diff = mcp.ok("workspace_diff", ask.clone());
        assert!(diff["patch"].as_str().unwrap().len() <= 700_000);
        patch.push_str(diff["patch"].as_str().unwrap());
        if paths.len() < diff["summary"]["total"].as_u64().unwrap() as usize {
            let entries = diff["entries"].as_array().unwrap();
            paths.extend(entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()));
        }
        parts += 1;
        ask["entries_offset"] = diff["next_entries_offset"].as_u64().unwrap_or(0).into();
        ask["patch_offset"] = diff["next_patch_offset"].clone();
        if diff["patch_truncated"] == false {
            break;
        }
    }
    assert!(parts > 3, "{parts}");
    let whole = home.ok(["workspace", "diff", &workspace, "--patch"]);
    assert!(patch == whole, "{} and {} bytes", patch.len(), whole.len());
    let all = home.json(["workspace", "diff", &workspace]);
    let all: Vec<_> =
        all["entries"].as_array().unwrap().iter().map(|e| e["path"].clone()).collect();
    assert_eq!(paths.into_iter().map(Value::from).collect::<Vec<_>>(), all);
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace }));
}

/// Open descriptors of a process, and its memory in KiB. The store keeps packs open, up to a number.
fn holds(pid: u32) -> (usize, u64) {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let is_pack = |path: &Path| path.extension().is_some_and(|extension| extension == "pack");
    let opened = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let descriptors = opened.filter(|path| !is_pack(path)).count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, rss.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn fifty_calls_leave_no_descriptor_no_process_and_no_memory() {
    let home = Home::new();
    let mut mcp = Mcp::begin(&home, &home.project(), []);
    let workspace = workspace(&mut mcp);
    let of = |more: Value| {
        let mut arguments = json!({ "workspace_id": workspace });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let round = |mcp: &mut Mcp| {
        mcp.ok("workspace_exec", of(json!({ "command": "seq 1 5000; echo x >> log" })));
        mcp.ok("workspace_diff", of(json!({})));
        mcp.ok("workspace_status", of(json!({})));
        mcp.ok("workspace_logs", of(json!({ "limit": 3 })));
        mcp.refused("workspace_exec", of(json!({ "command": 7 })));
    };
    round(&mut mcp);
    round(&mut mcp);
    let daemon = home.daemon_pid() as u32;
    let server = mcp.child.id();
    let settled = |pid| {
        // Connections close a moment after their answer.
        let mut last = holds(pid).0;
        until("descriptors stand still", || {
            std::thread::sleep(Duration::from_millis(200));
            let now = holds(pid);
            let stands = now.0 == last;
            last = now.0;
            stands.then_some(now)
        })
    };
    let (before, processes) = ([settled(server), settled(daemon)], home.processes().len());
    for _ in 0..10 {
        round(&mut mcp);
    }
    let after = [settled(server), settled(daemon)];
    assert_eq!(home.processes().len(), processes, "{:?}", home.processes());
    for (before, after) in before.into_iter().zip(after) {
        assert!(after.0 <= before.0 + 2, "descriptors: {before:?} {after:?}");
        assert!(after.1 < before.1 + (16 << 10), "KiB: {before:?} {after:?}");
    }
    mcp.ok("workspace_delete", json!({ "workspace_id": workspace }));
    until("the VM is gone", || home.machines().is_empty().then_some(()));
}
