//! `pyro vm ...`

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::{MachineArgs, parse};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  id=$(pyro vm create debian:12 --id-only)
  pyro vm start $id
  pyro vm exec $id -- uname -a       the VM is gone afterwards

'pyro run' does all of it at once; a workspace takes any number of commands.")]
pub enum VmCommand {
    /// Make a VM without starting it; it is deleted after --ttl-seconds [default: 600]
    Create(VmCreateArgs),
    /// List all VMs
    List,
    /// Show one VM
    Status(VmRef),
    /// Boot a VM
    Start(VmRef),
    /// Run one command in a started VM, then delete the VM, whatever came of it
    Exec(VmExecArgs),
    /// End a VM and keep its files
    Stop(VmRef),
    /// End a VM and remove everything that belongs to it
    Delete(VmRef),
    /// Show what network a VM's guest has
    Network(VmRef),
    /// Delete VMs and workspaces whose time is over, and tell which have been
    ///
    /// The daemon does so by itself within a second. What it deleted since the last reap is
    /// listed, too.
    Reap,
}

#[derive(Debug, Args)]
pub struct VmRef {
    /// VM id
    #[arg(value_name = "VM_ID")]
    pub vm_id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro vm create debian:12
  pyro vm create debian:12 --mem-mib 2048 --ttl-seconds 3600 --json")]
pub struct VmCreateArgs {
    /// Environment, such as debian:12
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Print the VM id and nothing else
    #[arg(long)]
    pub id_only: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro vm exec 7dd519cfffb1 -- git --version
  pyro vm exec 7dd519cfffb1 --timeout-seconds 30 -- python3 -c 'print(6 * 7)'

The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
The VM is deleted whatever happens, Ctrl-C included; only a VM that is not started stays.")]
pub struct VmExecArgs {
    #[command(flatten)]
    pub vm: VmRef,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}
