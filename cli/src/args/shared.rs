//! Flags that several commands take.

use clap::{Args, value_parser};

/// What the VM is like.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// Virtual CPUs [default: 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub vcpu_count: Option<u32>,
    /// Memory in MiB [default: 1024]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB [default: 16384]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub disk_mib: Option<u32>,
    /// Who runs commands: NAME or UID, perhaps with :GROUP [default: the image's user, or root]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Delete the VM or workspace so many seconds after it was made, whatever it does then
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..))]
    pub ttl_seconds: Option<u64>,
    /// Let the guest connect to public IPv4 addresses and resolve names; this host, link-local and
    /// private addresses stay out of its reach
    #[arg(long)]
    pub network: bool,
    /// Where no VM can run (or PYRO_BACKEND=host-compat is set), run commands without one, in
    /// namespaces of this machine's kernel: weaker isolation, `host_compat` in `execution_mode`
    #[arg(long)]
    pub allow_host_compat: bool,
}

/// How a source directory is read.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SeedArgs {
    /// Leave out what this pattern (as in a .gitignore) names; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what the source's .gitignore files name
    #[arg(long)]
    pub gitignore: bool,
    /// Keep the last reading of a file that keeps changing, instead of failing
    #[arg(long)]
    pub allow_changing: bool,
    /// List files that cannot be read as skipped, instead of failing
    #[arg(long)]
    pub skip_unreadable: bool,
}
