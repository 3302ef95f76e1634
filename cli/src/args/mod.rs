//! The command line as types. Nothing here looks at the world; `resolve` turns these into calls.

mod detach;
mod environment;
mod exec;
mod here;
mod mcp;
mod parse;
mod shared;
mod shell;
mod snapshot;
mod store;
mod vm;
mod workspace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use detach::DetachKey;
pub use environment::{
    EnvCommand, EnvCreate, EnvImport, EnvInspect, EnvPrune, EnvPull, KernelCommand,
};
pub use exec::{
    ExecArgs, ExecCommand, ExecReadArgs, ExecRef, ExecStartArgs, ExecWaitArgs, KEPT, RunArgs,
};
pub use here::{Ending, HereArgs};
pub use mcp::{McpCommand, ProfileArg, ServeArgs};
pub use shared::{MachineArgs, SeedArgs};
pub use shell::{
    ShellAttachArgs, ShellCommand, ShellInput, ShellOpenArgs, ShellReadArgs, ShellRef,
    ShellSignalArgs, ShellWriteArgs,
};
pub use snapshot::{
    ForkArgs, FreezeArgs, ResetArgs, SnapshotCommand, SnapshotCreateArgs, StoredArgs,
};
pub use store::{
    StoreCatArgs, StoreCheckoutArgs, StoreCommand, StoreDiffArgs, StoreExportBundleArgs,
    StoreGcArgs, StoreImportBundleArgs, StoreIngestArgs, StoreLsArgs, StoreMountArgs,
    StoreTreeArgs,
};
pub use vm::{VmCommand, VmCreateArgs, VmExecArgs};
pub use workspace::{
    ApplyArgs, CreateArgs, DiffArgs, DiffForm, ExportArgs, ExportFormat, GitCommand, GitFetchArgs,
    PushArgs, SyncCommand, WorkspaceCommand, WorkspaceRef,
};

const EXAMPLES: &str = "\
The first minute:
  pyro doctor                                 can this machine do it?
  pyro here -- make test                      run it on a copy of this directory, in a microVM
  pyro run debian:12 -- git --version         one command, one VM, nothing left behind

A workspace that stays:
  pyro workspace create debian:12 --seed-path . --name fix
  pyro workspace exec fix -- ./build.sh
  pyro workspace diff fix
  pyro workspace export fix out --output ./out
  pyro workspace delete fix

Data goes to standard output, everything else to standard error. With --json, standard output
is exactly one JSON document, for failures too. PYRO_HOME says where everything is kept
(default: ~/.local/share/pyro).";

/// Runs commands in microVMs, on copies of your directories, and shows what changed.
#[derive(Debug, Parser)]
#[command(
    name = "pyro",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Print one JSON document on standard output instead of text
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether this machine can run microVMs, and what to do if it cannot
    ///
    /// Exit code 0: ready. 5: something that is needed is missing; each line says what helps.
    Doctor,
    /// Build, list and remove environments: the systems that guests boot
    #[command(subcommand)]
    Env(EnvCommand),
    /// Run one command in a VM of its own and remove the VM afterwards
    Run(RunArgs),
    /// Run a command on a copy of the current directory, then export, keep or discard the result
    Here(HereArgs),
    /// Work in workspaces: VMs that start from a directory and remember what was changed
    #[command(subcommand, visible_alias = "ws")]
    Workspace(WorkspaceCommand),
    /// Give MCP clients tools to run commands in microVMs
    #[command(subcommand)]
    Mcp(McpCommand),
    /// Make, start and use VMs step by step: one command each, where 'pyro run' does it all at once
    #[command(subcommand)]
    Vm(VmCommand),
    /// Look into the content-addressed store: baselines, files, sizes, health
    #[command(subcommand)]
    Store(StoreCommand),
    /// Show the whole job on a small project: create, exec, sync, diff, export, delete
    ///
    /// Every step is the pyro command that you would type, followed by what it prints.
    Demo,
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  pyro completions bash > ~/.local/share/bash-completion/completions/pyro
  pyro completions zsh  > \"${fpath[1]}/_pyro\"
  pyro completions fish > ~/.config/fish/completions/pyro.fish")]
    Completions(CompletionsArgs),
    /// The process that owns the store and the workspaces
    #[command(subcommand, hide = true)]
    Daemon(DaemonCommand),
    /// The process that owns one VM
    #[command(hide = true)]
    Shim {
        /// Directory of the machine
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

/// Shells that completions exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Be the daemon, until told to stop
    ///
    /// Says `ready` on standard output once it listens; its log goes to standard error.
    Run,
    /// Tell who answers, without starting anyone
    Status,
    /// End the daemon; VMs go on, and the next command starts a daemon that finds them
    Stop {
        /// Do not wait for calls under way
        #[arg(long)]
        now: bool,
    },
}
