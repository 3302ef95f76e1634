//! What the server tells a model before it calls anything.

use crate::options::Profile;

const VM_RUN: &str = "\
pyro runs commands in microVMs, apart from this host.

vm_run runs one command in a fresh VM and removes the VM: one tool, one command, one VM, nothing left \
behind. The VM starts empty and has no network unless network is true. Nothing of this host is in it.";

const RULE: &str = "

Which tool:
- One command that needs no files of this host and leaves nothing: vm_run.
- Several commands on the same files, or files of this host: a workspace, with workspace_* tools.";

const FLOW: &str = "

A workspace is a VM whose /workspace starts as a copy of a host directory, the baseline, which never \
changes. The flow:
1. workspace_create with environment (such as debian:12) and seed_path.
2. workspace_exec, as often as needed. workspace_sync_push copies more host files in.
3. workspace_diff shows what differs from the baseline.
4. workspace_export copies a path out to a host path that does not exist yet.
5. workspace_delete.
The host directory itself is never written to. Host paths must be under an allowed directory.

A command that still runs when workspace_exec answers has state running: go on with exec_wait, \
exec_read or exec_kill and its sequence. Long texts are cut: read on from the cursor or offset that \
the answer names.";

const FULL: &str = "

shell_* tools are for programs that want a terminal: open, write, read, close. What a shell does is \
not in workspace_logs. vm_create, vm_start and vm_exec are vm_run in steps; prefer vm_run.";

/// For the tools of a profile.
pub fn instructions(profile: Profile) -> String {
    let mut text = VM_RUN.to_owned();
    if profile >= Profile::WorkspaceCore {
        text.push_str(RULE);
        text.push_str(FLOW);
    }
    if profile >= Profile::WorkspaceFull {
        text.push_str(FULL);
    }
    text
}
