//! `pyro mcp serve`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Where clients find the server when nobody says.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7420);

#[derive(Debug, Subcommand)]
pub enum McpCommand {
    /// Serve the Model Context Protocol, on the standard streams or over HTTP
    ///
    /// Gives an MCP client (Claude, Cursor, Codex, an agent of your own) tools to run commands in
    /// microVMs: vm_run for one command, workspace_* for work on a copy of a directory.
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro mcp serve                              on the standard streams: clients start it themselves
  pyro mcp serve --profile vm-run             one tool: run one command in a fresh VM
  pyro mcp serve --allow-root ~/src/project   host paths under this directory and nowhere else
  pyro mcp serve --http                       for several clients, at http://127.0.0.1:7420/mcp
  PYRO_MCP_TOKEN=... pyro mcp serve --http 127.0.0.1:0

Host paths in tool calls must lie under an allowed directory, hold no symbolic link, and nothing
that exists is overwritten but by workspace_apply, after its plan. Without --allow-root the
client's roots are allowed if it has any, else the directory that the server was started in (not
if that holds your home directory).

HTTP clients send 'Authorization: Bearer TOKEN'. The token is --token, else PYRO_MCP_TOKEN, else
the one in the file mcp-token in PYRO_HOME, which is made when it is missing, readable for you
alone.")]
pub struct ServeArgs {
    /// Which tools there are
    #[arg(long, value_enum, value_name = "PROFILE", default_value_t = ProfileArg::WorkspaceFull)]
    pub profile: ProfileArg,
    /// Allow host paths under this directory; may be repeated
    #[arg(long = "allow-root", value_name = "DIR")]
    pub allow_roots: Vec<PathBuf>,
    /// Serve streamable HTTP on this loopback address [default address: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, value_parser = loopback)]
    pub http: Option<Option<SocketAddr>>,
    /// Token that HTTP clients must show; others can see it in the process list
    #[arg(long, value_name = "TOKEN", requires = "http", conflicts_with = "no_token")]
    pub token: Option<String>,
    /// Let everybody in who can reach the address: every user of this host. For tests
    #[arg(long, requires = "http")]
    pub no_token: bool,
}

impl ServeArgs {
    /// The address to serve HTTP on, if any.
    pub fn address(&self) -> Option<SocketAddr> {
        self.http.map(|given| given.unwrap_or(DEFAULT))
    }
}

/// Profiles, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// vm_run alone
    VmRun,
    /// vm_run, and work in one workspace
    WorkspaceCore,
    /// Everything, shells and VMs in steps too
    WorkspaceFull,
}

/// `ADDR:PORT`, or the port alone, on loopback.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").unwrap_or(text);
    let address = match text.parse::<u16>() {
        Ok(port) => SocketAddr::new(DEFAULT.ip(), port),
        Err(_) => text.parse::<SocketAddr>().map_err(|_| "expected ADDR:PORT or a port")?,
    };
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only loopback addresses are served: 127.0.0.1 or [::1]".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_served() {
        for (text, address) in [
            ("8000", "127.0.0.1:8000"),
            ("localhost:0", "127.0.0.1:0"),
            ("127.0.0.2:80", "127.0.0.2:80"),
            ("[::1]:7000", "[::1]:7000"),
        ] {
            assert_eq!(loopback(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "example:80", "127.0.0.1", ""] {
            assert!(loopback(text).is_err(), "{text}");
        }
    }
}
