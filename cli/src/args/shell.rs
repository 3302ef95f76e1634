//! `pyro workspace shell ...`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, builder::OsStringValueParser, builder::TypedValueParser};
use pyro_api::BytesText;

use super::detach::DetachKey;
use super::parse;
use super::workspace::WorkspaceRef;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  id=$(pyro workspace shell open fix --id-only)
  pyro workspace shell write fix $id --input 'make test'
  pyro workspace shell read fix $id --plain --wait-for-idle-ms 500
  pyro workspace shell close fix $id

A shell goes on when nobody looks: any number of callers read and write it, one after another or at
once, and it ends with its workspace's VM. Nothing that is done in it is in 'pyro workspace logs'.")]
pub enum ShellCommand {
    /// Open a shell on a terminal of its own
    Open(ShellOpenArgs),
    /// List the shells that were not closed
    List(WorkspaceRef),
    /// Print what a shell printed
    Read(ShellReadArgs),
    /// Type into a shell
    Write(ShellWriteArgs),
    /// Send a signal to what runs in a shell's foreground
    Signal(ShellSignalArgs),
    /// End a shell with everything that it started
    Close(ShellRef),
    /// Use a shell on this terminal
    Attach(ShellAttachArgs),
}

#[derive(Debug, Args)]
pub struct ShellRef {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Shell id, such as shell-1
    #[arg(value_name = "SHELL_ID")]
    pub shell_id: String,
}

/// How a shell is started.
#[derive(Debug, Args)]
pub struct ShellStartArgs {
    /// Working directory, absolute or below /workspace [default: /workspace]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<OsString>,
    /// Whose it is: NAME or UID, perhaps with :GROUP [default: the workspace's]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Set an environment variable; may be repeated
    #[arg(
        long = "env",
        value_name = "NAME=VALUE",
        value_parser = OsStringValueParser::new().try_map(parse::variable)
    )]
    pub env: Vec<(String, BytesText)>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace shell open fix
  pyro workspace shell open fix --cwd src --env RUST_LOG=debug --cols 200 --rows 50

It is /bin/bash where the environment has that, else /bin/sh; TERM is xterm-256color.")]
pub struct ShellOpenArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    #[command(flatten)]
    pub start: ShellStartArgs,
    /// Columns of its terminal, 1 to 1000 [default: 120]
    #[arg(long, value_name = "N")]
    pub cols: Option<u16>,
    /// Rows of its terminal, 1 to 1000 [default: 30]
    #[arg(long, value_name = "N")]
    pub rows: Option<u16>,
    /// Print the shell id and nothing else
    #[arg(long)]
    pub id_only: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace shell read fix shell-1 --plain
  pyro workspace shell read fix shell-1 --cursor 4096 --wait-for-idle-ms 500 --json

Reading takes nothing away. The last MiB is kept; a cursor is a position in all that was ever
printed, and the cursor for the next read is told on standard error (and in JSON). Away from a
terminal the bytes are printed as they are; on a terminal always as with --plain, so that a guest
cannot control it.")]
pub struct ShellReadArgs {
    #[command(flatten)]
    pub shell: ShellRef,
    /// First byte wanted: 0, or the next cursor of the read before
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cursor: u64,
    /// Most characters to print, 1 to 1048576 [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_chars: Option<u64>,
    /// Print text: no escape sequences, lines as they were redrawn last
    #[arg(long)]
    pub plain: bool,
    /// Wait until nothing was printed for so long, up to 10 seconds
    #[arg(long, value_name = "MS")]
    pub wait_for_idle_ms: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace shell write fix shell-1 --input 'make test'
  pyro workspace shell write fix shell-1 --input y --no-newline
  pyro workspace shell write fix shell-1 --input $'\\x1b:q\\r' --no-newline
  pyro workspace shell write fix shell-1 --input-file script.sh

At most 1 MiB at once. What is typed faster than it is read waits in the terminal; a line of more
than 4095 bytes is cut there unless the program reads key by key.")]
pub struct ShellWriteArgs {
    #[command(flatten)]
    pub shell: ShellRef,
    #[command(flatten)]
    pub input: ShellInput,
    /// Do not press Enter afterwards
    #[arg(long)]
    pub no_newline: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ShellInput {
    /// What to type
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub input: Option<OsString>,
    /// Type what is in this file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    pub input_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace shell signal fix shell-1
  pyro workspace shell signal fix shell-1 --signal TERM

Signals: HUP, INT, QUIT, KILL, USR1, USR2, TERM, CONT, STOP, TSTP, WINCH; in any case, with or
without SIG.")]
pub struct ShellSignalArgs {
    #[command(flatten)]
    pub shell: ShellRef,
    /// Which signal
    #[arg(long, value_name = "NAME", default_value = "INT")]
    pub signal: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace shell attach fix              a new shell, closed when it ends
  pyro workspace shell attach fix shell-1      one that is open already

Every key goes to the guest, but the one that detaches; the shell then goes on. So it does when this
terminal is closed or the daemon dies. What the guest prints controls this terminal.")]
pub struct ShellAttachArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Shell id, such as shell-1 [default: open a new one]
    #[arg(value_name = "SHELL_ID", conflicts_with_all = ["cwd", "user", "env"])]
    pub shell_id: Option<String>,
    #[command(flatten)]
    pub start: ShellStartArgs,
    /// Key that detaches: ctrl-X or ^X
    #[arg(long, value_name = "KEY", default_value = DetachKey::DEFAULT, value_parser = DetachKey::parse)]
    pub detach_key: DetachKey,
}

impl ShellAttachArgs {
    /// For a new shell of this workspace.
    pub fn new_shell(workspace_id: String) -> Self {
        Self {
            workspace_id,
            shell_id: None,
            start: ShellStartArgs { cwd: None, user: None, env: Vec::new() },
            detach_key: DetachKey::default(),
        }
    }
}
