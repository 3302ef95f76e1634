//! `pyro workspace snapshot ...`, `reset` and `fork`.

use clap::{Args, Subcommand, value_parser};

use super::{WorkspaceRef, parse};

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Give /workspace as it is now, or a tree that a diff showed, a name
    Create(SnapshotCreateArgs),
    /// List the snapshots of a workspace
    List(WorkspaceRef),
    /// Forget a snapshot; what started from it keeps its files
    Delete(SnapshotRef),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace snapshot create fix before-refactoring
  pyro workspace snapshot create fix reviewed --tree TREE_ID
  pyro workspace diff fix --from before-refactoring

A snapshot costs what changed, not what there is. Commands stand still for the moment that it shows.")]
pub struct SnapshotCreateArgs {
    #[command(flatten)]
    pub snapshot: SnapshotRef,
    /// Name this tree, as `diff` printed its id, instead of what is there now
    #[arg(long, value_name = "ID")]
    pub tree: Option<String>,
    #[command(flatten)]
    pub freeze: FreezeArgs,
}

#[derive(Debug, Args)]
pub struct SnapshotRef {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// The snapshot's name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Whether commands stand still.
#[derive(Debug, Clone, Copy, Args)]
pub struct FreezeArgs {
    /// Let the workspace's commands go on meanwhile: what is read may be of several moments
    #[arg(long)]
    pub no_freeze: bool,
}

/// A tree that is stored already.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct StoredArgs {
    /// This tree, as `diff` printed its id, whatever the guest did since
    #[arg(long, value_name = "ID")]
    pub tree: Option<String>,
    /// This snapshot; `baseline` is what the workspace was made from
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace reset fix
  pyro workspace reset fix --snapshot before-refactoring

The whole sandbox is made anew, not only /workspace: commands, shells, the log, whatever was
installed or left in /tmp are gone. Id, name and snapshots stay, and diffs still compare with the
baseline.")]
pub struct ResetArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    #[command(flatten)]
    pub stored: StoredArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace fork fix --name fix-2
  pyro workspace fork fix --snapshot before-refactoring --name other-way

A fork is another workspace: it costs a boot and copies no file. Without --snapshot or --tree it
starts from /workspace as it is now. Its diffs compare with the same baseline.")]
pub struct ForkArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    #[command(flatten)]
    pub stored: StoredArgs,
    /// Name of the fork
    #[arg(long)]
    pub name: Option<String>,
    /// Label of the fork, instead of the source's labels; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    /// Print the fork's id and nothing else
    #[arg(long)]
    pub id_only: bool,
    #[command(flatten)]
    pub freeze: FreezeArgs,
    /// Virtual CPUs [default: as the source]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = "Machine")]
    pub vcpu_count: Option<u32>,
    /// Memory in MiB [default: as the source]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = "Machine")]
    pub mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB [default: as the source]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = "Machine")]
    pub disk_mib: Option<u32>,
    /// Delete the fork so many seconds after it was made, whatever it does then
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(1..), help_heading = "Machine")]
    pub ttl_seconds: Option<u64>,
    /// Whether the guest may connect to public addresses [default: as the source]
    #[arg(long, value_name = "yes|no", value_parser = parse::yes_or_no, help_heading = "Machine")]
    pub network: Option<bool>,
}
