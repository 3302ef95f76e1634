//! `pyro here`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::{MachineArgs, SeedArgs, parse};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro here -- make test
  pyro here                                       a shell
  pyro here --discard -- ./script-i-do-not-trust.sh
  pyro here --export ../result -- sed -i s/foo/bar/g notes.txt
  pyro here --apply -- cargo fmt

The command works on a copy in a microVM: it cannot write to the directory itself. Without a
command you get a shell there; leave it with 'exit'. When it has ended, what it changed is shown
and you choose: apply it to this directory, bring its commits home as a branch, export the result
to a new directory, keep the workspace, or discard it. Without a terminal and without a choice, a
changed workspace is kept and an unchanged one is discarded. The exit code is the command's; 125
is a failure of pyro itself. The environment is built first when it is not installed yet.")]
pub struct HereArgs {
    /// Environment to run in
    #[arg(long = "env", value_name = "ENV", default_value = "debian:12")]
    pub environment: String,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Program and arguments [default: a shell]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub ending: EndingArgs,
    #[command(flatten)]
    pub seed: SeedArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "At the end")]
pub struct EndingArgs {
    /// Apply the changes to this directory; the workspace is kept if there are conflicts or commits
    #[arg(long)]
    pub apply: bool,
    /// Export the result to this directory, which must not exist yet
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Keep the workspace
    #[arg(long)]
    pub keep: bool,
    /// Discard the workspace, whatever it holds
    #[arg(long)]
    pub discard: bool,
}

/// What shall become of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Bring its changes into the directory that it came from, then delete it.
    Apply,
    /// Copy it to the host, then delete it.
    Export(PathBuf),
    /// Leave it.
    Keep,
    /// Delete it.
    Discard,
    /// Whoever sits at the terminal decides.
    Ask,
}

impl From<EndingArgs> for Ending {
    fn from(args: EndingArgs) -> Self {
        match args {
            EndingArgs { export: Some(dir), .. } => Self::Export(dir),
            EndingArgs { apply: true, .. } => Self::Apply,
            EndingArgs { keep: true, .. } => Self::Keep,
            EndingArgs { discard: true, .. } => Self::Discard,
            _ => Self::Ask,
        }
    }
}
