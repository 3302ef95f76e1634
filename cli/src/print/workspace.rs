//! Workspaces and their commands.

use pyro_api::{
    ArtifactType, ExportReply, GitFetchReply, LogEntry, SeedMode, SyncPushReply, WorkspaceInfo,
    WorkspaceListReply, WorkspaceLogsReply, WorkspaceSeed, WorkspaceState,
};

use super::{count, fields, or_dash, short, shown, shown_lines, size, table};

fn state(state: WorkspaceState) -> &'static str {
    match state {
        WorkspaceState::Creating => "creating",
        WorkspaceState::Started => "started",
        WorkspaceState::Stopped => "stopped",
    }
}

/// What to call it in the next command.
pub fn handle(info: &WorkspaceInfo) -> String {
    shown(info.name.as_deref().unwrap_or(&info.workspace_id))
}

fn seed(seed: &WorkspaceSeed) -> String {
    let from = match (&seed.mode, &seed.seed_path) {
        (SeedMode::Empty, _) | (_, None) => return "empty".to_owned(),
        (_, Some(path)) => shown(&path.lossy()),
    };
    format!(
        "{from}: {}, {} ({} new in the store)",
        count(seed.entry_count, "entry", "entries"),
        size(seed.bytes_written),
        size(seed.bytes_stored),
    )
}

/// What a guest reaches.
fn network(info: &WorkspaceInfo) -> &'static str {
    if info.network_enabled { "public addresses" } else { "none" }
}

/// `pyro workspace create`
pub fn created(info: &WorkspaceInfo) -> String {
    let handle = handle(info);
    let machine = format!(
        "{}, {} vCPU, {} MiB, {}",
        shown(&info.environment),
        info.vcpu_count,
        info.mem_mib,
        shown(&info.execution_mode)
    );
    fields([
        ("workspace", shown(&info.workspace_id)),
        ("name", or_dash(info.name.as_deref().map(shown))),
        ("machine", machine),
        ("user", shown(&info.user)),
        ("network", network(info).to_owned()),
        ("seed", seed(&info.workspace_seed)),
        ("baseline", short(&info.baseline)),
        ("next", format!("pyro workspace exec {handle} -- CMD")),
    ])
}

/// `pyro workspace status`
pub fn status(info: &WorkspaceInfo) -> String {
    let last = info.last_command.as_ref();
    let labels = info.labels.iter().map(|(key, value)| format!("{}={}", shown(key), shown(value)));
    let labels = labels.collect::<Vec<_>>().join(" ");
    let served = format!(
        "{} of content, {} of tree, {}",
        size(info.served.content_bytes),
        size(info.served.tree_bytes),
        count(info.served.requests, "request", "requests")
    );
    let mut rows = vec![
        ("workspace", shown(&info.workspace_id)),
        ("name", or_dash(info.name.as_deref().map(shown))),
        ("labels", or_dash((!labels.is_empty()).then_some(labels))),
        ("state", state(info.state).to_owned()),
    ];
    if let Some(reason) = &info.stop_reason {
        rows.push(("stopped because", shown(reason)));
    }
    rows.extend([
        ("environment", shown(&info.environment)),
        ("runs on", shown(&info.execution_mode)),
        (
            "machine",
            format!("{} vCPU, {} MiB, disk {} MiB", info.vcpu_count, info.mem_mib, info.disk_mib),
        ),
        ("user", shown(&info.user)),
        ("network", network(info).to_owned()),
        ("path", shown(&info.workspace_path)),
        ("seed", seed(&info.workspace_seed)),
        ("baseline", shown(&info.baseline)),
        ("baseline tree", shown(&info.baseline_tree)),
        ("sent to the guest", served),
        ("commands", info.command_count.to_string()),
        (
            "last command",
            or_dash(last.map(|c| format!("{} (exit code {})", shown(&c.command), c.exit_code))),
        ),
        ("created at", info.created_at.clone()),
        ("expires at", or_dash(info.expires_at.as_deref())),
    ]);
    fields(rows)
}

/// `pyro workspace list`
pub fn list(reply: &WorkspaceListReply) -> String {
    let head = ["WORKSPACE", "NAME", "STATE", "ENVIRONMENT", "COMMANDS", "CREATED"];
    let row = |info: &WorkspaceInfo| {
        vec![
            shown(&info.workspace_id),
            or_dash(info.name.as_deref().map(shown)),
            state(info.state).to_owned(),
            shown(&info.environment),
            info.command_count.to_string(),
            info.created_at.clone(),
        ]
    };
    let head = head.map(String::from).to_vec();
    table([head].into_iter().chain(reply.workspaces.iter().map(row)).collect())
}

/// `pyro workspace stop` and `start`
pub fn moved(info: &WorkspaceInfo) -> String {
    format!("{} is {}\n", handle(info), state(info.state))
}

/// `pyro workspace reset`
pub fn reset(info: &WorkspaceInfo) -> String {
    format!("{} is made anew and {}\n", handle(info), state(info.state))
}

/// `pyro workspace sync push`
pub fn pushed(reply: &SyncPushReply) -> String {
    format!(
        "pushed {} to {}: {}, {} changed, {} sent\n",
        shown(&reply.source_path.lossy()),
        shown(&reply.destination),
        count(reply.entry_count, "entry", "entries"),
        reply.changed_count,
        size(reply.bytes_sent),
    )
}

/// `pyro workspace export`
pub fn exported(reply: &ExportReply) -> String {
    let what = match reply.artifact_type {
        ArtifactType::File => size(reply.bytes_written),
        ArtifactType::Symlink => "a link".to_owned(),
        ArtifactType::Directory => {
            let entries = count(reply.entry_count, "entry", "entries");
            format!("{entries}, {}", size(reply.bytes_written))
        }
    };
    format!(
        "exported {} to {}: {what}, {} fetched from the guest\n",
        shown(&reply.workspace_path),
        shown(&reply.output_path.lossy()),
        size(reply.bytes_fetched),
    )
}

/// `pyro workspace git fetch`
pub fn fetched(reply: &GitFetchReply) -> String {
    let (branch, repository) = (shown(&reply.branch), shown(&reply.repository.lossy()));
    format!(
        "branch {branch} of {repository} is {}: {}, {} fetched from the guest\nnext: git -C {repository} log {branch}\n",
        short(&reply.commit),
        count(reply.commit_count, "new commit", "new commits"),
        size(reply.bytes_fetched),
    )
}

/// `pyro workspace logs`
pub fn logs(reply: &WorkspaceLogsReply) -> String {
    let mut text: String = reply.entries.iter().map(log_entry).collect();
    for sequence in &reply.running {
        text += &format!("#{sequence} is still running\n");
    }
    text
}

fn log_entry(entry: &LogEntry) -> String {
    let result = &entry.result;
    let ending = match (result.timed_out, entry.killed) {
        (true, _) => ", timed out",
        (false, true) => ", killed",
        (false, false) => "",
    };
    let mut text = format!(
        "#{} {} $ {}\n{}",
        entry.sequence,
        shown(&result.cwd),
        shown(&result.command),
        shown_lines(&result.stdout),
    );
    if result.stdout_truncated {
        text += "[more standard output came than is kept]\n";
    }
    if !result.stderr.is_empty() {
        text += &format!("[standard error]\n{}", shown_lines(&result.stderr));
    }
    if result.stderr_truncated {
        text += "[more standard error came than is kept]\n";
    }
    let (code, ms, at) = (result.exit_code, result.duration_ms, &entry.started_at);
    text += &format!("[exit code {code}{ending}, {ms} ms, started {at}]\n\n");
    text
}
