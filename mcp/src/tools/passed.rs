//! Tools that are a call of the daemon and nothing more: arguments and answer are the call's.

use pyro_api::{
    Call, EnvironmentList, ErrorBody, ShellClose, ShellList, ShellSignal, SnapshotCreate,
    SnapshotDelete, SnapshotList, VmCreate, VmDelete, VmNetworkInfo, VmReapExpired, VmStart,
    VmStatus, VmStop, WorkspaceDelete,
};

use crate::server::Calling;
use crate::tool::{Hints, Tool};

macro_rules! passed {
    ($($call:ty: $name:literal, $title:literal, $hints:expr, $description:literal;)*) => {
        $(impl Tool for $call {
            const NAME: &'static str = $name;
            const TITLE: &'static str = $title;
            const DESCRIPTION: &'static str = $description;
            const HINTS: Hints = $hints;
            type Output = <$call as Call>::Reply;

            async fn run(self, call: &Calling) -> Result<Self::Output, ErrorBody> {
                call.daemon(&self).await
            }
        })*
    };
}

passed! {
    EnvironmentList: "vm_list_environments", "List environments", Hints::LOOKS,
    "List the environments (root file systems) that VMs and workspaces can boot, such as debian:12, \
     and whether each is installed. Use an installed one.";

    VmCreate: "vm_create", "Create a VM", Hints::MAKES,
    "Make a VM without starting it; vm_start and vm_exec come next. For one command prefer vm_run, \
     which does all of it and cleans up. The VM is deleted after ttl_seconds, whatever it does.";

    VmStart: "vm_start", "Start a VM", Hints::BRINGS,
    "Boot a VM that vm_create made, or that was stopped, and wait until it takes commands. One that \
     runs already is no error.";

    VmStop: "vm_stop", "Stop a VM", Hints::ENDS,
    "End a VM and keep its files; vm_start boots it again. One that is stopped is no error.";

    VmDelete: "vm_delete", "Delete a VM", Hints::ENDS,
    "End a VM and remove everything it had.";

    VmStatus: "vm_status", "Show a VM", Hints::LOOKS,
    "Show one VM: its state, size, environment and when it will be deleted.";

    VmNetworkInfo: "vm_network_info", "Show a VM's network", Hints::LOOKS,
    "Show whether a VM's guest has a network, its policy and its addresses. Without network it can \
     reach nothing; with it, public addresses only.";

    VmReapExpired: "vm_reap_expired", "Delete what has expired", Hints::ENDS,
    "Delete VMs and workspaces whose time is over now, and tell which were deleted since the last \
     such call. This happens by itself within a second; call it only to learn what is gone.";

    WorkspaceDelete: "workspace_delete", "Delete a workspace", Hints::ENDS,
    "End a workspace and remove everything it had: files, logs, shells. Export first what is still \
     needed. The host directory that it was seeded from is not touched.";

    SnapshotCreate: "snapshot_create", "Name a state of a workspace", Hints::MAKES,
    "Give /workspace as it is now a name, to compare with (workspace_diff from), go back to \
     (workspace_reset) or start from (workspace_fork). Costs what changed. With tree, exactly the state \
     that a workspace_diff showed gets the name, whatever was done since.";

    SnapshotList: "snapshot_list", "List snapshots", Hints::LOOKS,
    "List the snapshots of a workspace, oldest first.";

    SnapshotDelete: "snapshot_delete", "Forget a snapshot", Hints::ENDS,
    "Forget a snapshot of a workspace. What started from it keeps its files.";

    ShellList: "shell_list", "List shells", Hints::LOOKS,
    "List the shells of a workspace that were not closed.";

    ShellSignal: "shell_signal", "Signal a shell", Hints::ENDS,
    "Send a signal to what runs in the foreground of a shell: INT is Ctrl-C. The shell itself goes \
     on after INT.";

    ShellClose: "shell_close", "Close a shell", Hints::ENDS,
    "End a shell with all that it started, and forget it. Its workspace goes on.";
}
