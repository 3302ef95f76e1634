//! One command in a VM of its own.

use pyro_api::{CommandResult, ErrorBody, Run, VmExec, VmExecReply};
use schemars::JsonSchema;
use serde::Deserialize;

use super::words::Words;
use crate::bounds::{self, LAST_CHARS};
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Seconds that a command may take when the caller does not say: many clients give up after a
/// minute, and then nobody has the output.
const TIMEOUT: f64 = 45.0;

/// Arguments of `vm_run`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOnce {
    /// Environment name, such as `debian:12` (has git, python3 and everyday tools).
    environment: String,
    /// What to run.
    command: Words,
    /// Virtual CPUs; 1 when absent.
    vcpu_count: Option<u32>,
    /// Memory in MiB; 1024 when absent.
    mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; 16384 when absent.
    disk_mib: Option<u32>,
    /// Who runs commands: NAME or UID, perhaps with :GROUP; the image's user, or root, when absent.
    user: Option<String>,
    /// Kill the command after so many seconds; 45 when absent. What it printed until then is in
    /// the answer.
    timeout_seconds: Option<f64>,
    /// End the VM after so many seconds, whatever it does.
    ttl_seconds: Option<u64>,
    /// Give the guest a network: public addresses only, never this host or its networks.
    #[serde(default)]
    network: bool,
    /// Allow running without a VM where no VM can run. Weaker isolation: only if the user agreed.
    #[serde(default)]
    allow_host_compat: bool,
    /// Most characters of each of stdout and stderr; 32768 when absent. Of longer ones head and
    /// tail are kept.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

impl Tool for RunOnce {
    const NAME: &'static str = "vm_run";
    const TITLE: &'static str = "Run one command in a fresh VM";
    const DESCRIPTION: &'static str = "\
        Run one command in a fresh microVM and remove the VM afterwards, whatever happens. The first \
        choice for a one-shot command: one tool, one command, one VM, nothing left behind. The VM \
        holds no files of this host and keeps nothing: for repeated commands on the same files, or \
        for host files, use workspace_create and workspace_exec. Answers exit_code (124 after the \
        timeout), stdout and stderr.";
    const HINTS: Hints = Hints::RUNS_APART;
    type Output = CommandResult;

    async fn run(self, call: &Calling) -> Result<CommandResult, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, LAST_CHARS)?;
        let run = Run {
            environment: self.environment,
            command: self.command.argv()?,
            vcpu_count: self.vcpu_count,
            mem_mib: self.mem_mib,
            disk_mib: self.disk_mib,
            user: self.user,
            timeout_seconds: self.timeout_seconds.or(Some(TIMEOUT)),
            ttl_seconds: self.ttl_seconds,
            network: self.network,
            allow_host_compat: self.allow_host_compat,
        };
        Ok(bounded(call.daemon(&run).await?, max))
    }
}

/// Arguments of `vm_exec`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecOnce {
    /// VM id, from `vm_create`.
    vm_id: String,
    /// What to run.
    command: Words,
    /// Kill the command after so many seconds; 45 when absent.
    timeout_seconds: Option<f64>,
    /// Most characters of each of stdout and stderr; 32768 when absent. Of longer ones head and
    /// tail are kept.
    #[schemars(range(min = 1, max = 1048576))]
    max_chars: Option<u32>,
}

impl Tool for ExecOnce {
    const NAME: &'static str = "vm_exec";
    const TITLE: &'static str = "Run a command in a VM and delete the VM";
    const DESCRIPTION: &'static str = "\
        Run one command in a VM that vm_start has booted, then delete the VM, whatever came of it. \
        A second command needs a second VM: for several commands use a workspace.";
    const HINTS: Hints = Hints::RUNS;
    type Output = VmExecReply;

    async fn run(self, call: &Calling) -> Result<VmExecReply, ErrorBody> {
        let max = bounds::max_chars(self.max_chars, LAST_CHARS)?;
        let exec = VmExec {
            vm_id: self.vm_id,
            command: self.command.argv()?,
            timeout_seconds: self.timeout_seconds.or(Some(TIMEOUT)),
        };
        let reply = call.daemon(&exec).await?;
        Ok(VmExecReply { result: bounded(reply.result, max), ..reply })
    }
}

/// Cut to what a model can take. Exact bytes stay where they are not more than that.
fn bounded(result: CommandResult, max: usize) -> CommandResult {
    let exact = |b64: Option<String>, cut: bool| b64.filter(|b64| !cut && b64.len() <= max);
    let (stdout, out_cut) = bounds::head_and_tail(result.stdout, max);
    let (stderr, err_cut) = bounds::head_and_tail(result.stderr, max);
    let (command, _) = bounds::head_and_tail(result.command, max);
    CommandResult {
        command,
        stdout,
        stderr,
        stdout_b64: exact(result.stdout_b64, out_cut),
        stderr_b64: exact(result.stderr_b64, err_cut),
        stdout_truncated: result.stdout_truncated || out_cut,
        stderr_truncated: result.stderr_truncated || err_cut,
        ..result
    }
}
