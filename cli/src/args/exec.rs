//! `pyro run` and `pyro workspace exec`

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand, value_parser};
use pyro_api::BytesText;

use super::{MachineArgs, parse};

/// Bytes of each stream of a command that are kept.
pub const KEPT: u64 = 4 << 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro run debian:12 -- git --version
  pyro run debian:12 --timeout-seconds 30 -- python3 -c 'print(6 * 7)'
  pyro run debian:12 --json -- uname -a
  pyro run localhost:5000/app:1               an OCI image that was pulled; its own program

The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
The VM is removed whatever happens, Ctrl-C included.")]
pub struct RunArgs {
    /// Environment, such as debian:12 or an OCI image
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Program and arguments; those of the image, if it is an OCI image and there are none here
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  pyro workspace exec fix -- make test
  pyro workspace exec fix --cwd src --env RUST_LOG=debug -- cargo run
  pyro workspace exec fix -- sh -c 'echo $HOME > where.txt'
  pyro workspace exec fix --detach -- make all      then: pyro workspace exec wait fix 4

The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
Ctrl-C kills the command and everything it started. It is logged: see 'pyro workspace logs'."
)]
pub struct ExecArgs {
    #[command(flatten)]
    pub start: Option<ExecStartArgs>,
    #[command(subcommand)]
    pub command: Option<ExecCommand>,
}

#[derive(Debug, Args)]
pub struct ExecStartArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Start the command and leave it running; prints its number
    #[arg(long)]
    pub detach: bool,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Working directory, absolute or below /workspace [default: /workspace]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<OsString>,
    /// Who runs it: NAME or UID, perhaps :GROUP [default: the workspace's]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Set an environment variable; may be repeated
    #[arg(
        long = "env",
        value_name = "NAME=VALUE",
        value_parser = OsStringValueParser::new().try_map(parse::variable)
    )]
    pub env: Vec<(String, BytesText)>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub enum ExecCommand {
    /// Print what a command has printed so far, running or ended
    Read(ExecReadArgs),
    /// Wait until a command has ended, then print what it printed
    Wait(ExecWaitArgs),
    /// Kill a command and everything it started
    Kill(ExecRef),
}

#[derive(Debug, Args)]
pub struct ExecRef {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// The command's number, as --detach and 'pyro workspace logs' show it
    #[arg(value_name = "SEQUENCE")]
    pub sequence: u64,
}

#[derive(Debug, Args)]
pub struct CursorArgs {
    /// First byte of standard output wanted [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub stdout_cursor: u64,
    /// First byte of standard error wanted [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub stderr_cursor: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace exec read fix 4
  pyro workspace exec read fix 4 --json | jq '.state, .stdout_next_cursor'
  pyro workspace exec read fix 4 --stdout-cursor 65536

Prints the bytes of both streams as they are. --json has the state and the cursors of the next
read. The first 4 MiB of each stream are kept; where they end, the next cursor jumps to the end.")]
pub struct ExecReadArgs {
    #[command(flatten)]
    pub exec: ExecRef,
    #[command(flatten)]
    pub cursors: CursorArgs,
    /// Most bytes of each stream, 1 to 4194304 [default: 65536]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=KEPT))]
    pub max_bytes: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace exec wait fix 4
  pyro workspace exec wait fix 4 --wait-seconds 30 --json

The command's output and exit code pass through, as if it had not been detached; 124 when it still
runs after --wait-seconds (and after its own timeout), 125 for a failure of pyro itself. Ctrl-C ends
the waiting and not the command.")]
pub struct ExecWaitArgs {
    #[command(flatten)]
    pub exec: ExecRef,
    /// Wait no longer than so many seconds [default: until it has ended]
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub wait_seconds: Option<f64>,
    #[command(flatten)]
    pub cursors: CursorArgs,
    /// Most bytes of each stream, 1 to 4194304 [default: 4194304, all that is kept]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=KEPT))]
    pub max_bytes: Option<u64>,
}
