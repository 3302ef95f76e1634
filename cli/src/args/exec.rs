//! `pyro run` and `pyro workspace exec`

use std::ffi::OsString;

use clap::{Args, builder::OsStringValueParser, builder::TypedValueParser};
use pyro_api::BytesText;

use super::{MachineArgs, parse};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro run debian:12 -- git --version
  pyro run debian:12 --timeout-seconds 30 -- python3 -c 'print(6 * 7)'
  pyro run debian:12 --json -- uname -a

The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
The VM is removed whatever happens, Ctrl-C included.")]
pub struct RunArgs {
    /// Environment, such as debian:12
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace exec fix -- make test
  pyro workspace exec fix --cwd src --env RUST_LOG=debug -- cargo run
  pyro workspace exec fix -- sh -c 'echo $HOME > where.txt'

The command's output and exit code pass through; 124 is a timeout, 125 a failure of pyro itself.
Ctrl-C kills the command and everything it started. It is logged: see 'pyro workspace logs'.")]
pub struct ExecArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Kill the command after so many seconds
    #[arg(long, value_name = "S", value_parser = parse::seconds)]
    pub timeout_seconds: Option<f64>,
    /// Working directory, absolute or below /workspace [default: /workspace]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<OsString>,
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
