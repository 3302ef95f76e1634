//! `pyro workspace ...`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{
    ExecArgs, ForkArgs, FreezeArgs, MachineArgs, ResetArgs, SeedArgs, ShellCommand,
    SnapshotCommand, StoredArgs, parse,
};

#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// Make a workspace; /workspace is complete before this returns
    Create(CreateArgs),
    /// List all workspaces
    List,
    /// Show one workspace
    Status(WorkspaceRef),
    /// Run a command in /workspace and log it
    Exec(ExecArgs),
    /// Bring later host files into a started workspace
    #[command(subcommand)]
    Sync(SyncCommand),
    /// Show what differs between /workspace and its baseline
    Diff(DiffArgs),
    /// Copy a file, directory or link from /workspace to the host
    Export(ExportArgs),
    /// Bring the changes into the directory that the workspace came from, or take them back
    Apply(ApplyArgs),
    /// Bring the workspace's commits home
    #[command(subcommand)]
    Git(GitCommand),
    /// Give trees of /workspace names, to compare with, go back to or start from
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make the sandbox anew, /workspace as the baseline or a snapshot has it
    Reset(ResetArgs),
    /// Make another workspace from this one, at the price of a boot
    Fork(ForkArgs),
    /// Show the commands that were run and what they printed
    Logs(WorkspaceRef),
    /// Use interactive shells: terminals in the guest that outlive their callers
    #[command(subcommand)]
    Shell(ShellCommand),
    /// End the VM and keep the files
    Stop(WorkspaceRef),
    /// Boot a stopped workspace again, its files as they were
    Start(WorkspaceRef),
    /// End the VM and remove everything that belongs to the workspace
    Delete(WorkspaceRef),
}

#[derive(Debug, Args)]
pub struct WorkspaceRef {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace create debian:12 --seed-path . --name fix
  pyro workspace create debian:12 --seed-path project.tar.gz
  pyro workspace create debian:12 --seed-path . --gitignore --exclude '*.log'
  id=$(pyro workspace create debian:12 --id-only)

The seed becomes the baseline that 'pyro workspace diff' compares with; it never changes.")]
pub struct CreateArgs {
    /// Environment, such as debian:12
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// Directory, .tar, .tar.gz or .tgz that /workspace starts from [default: empty]
    #[arg(long, value_name = "PATH")]
    pub seed_path: Option<PathBuf>,
    /// Name to use instead of the id
    #[arg(long)]
    pub name: Option<String>,
    /// Label for people and scripts; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub labels: Vec<(String, String)>,
    /// Print the workspace id and nothing else
    #[arg(long)]
    pub id_only: bool,
    #[command(flatten)]
    pub seed: SeedArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// Copy a host directory, archive or file into /workspace: all of it or nothing
    Push(PushArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace sync push fix ./src --dest src
  pyro workspace sync push fix ./data.tar.gz --dest data
  pyro workspace sync push fix ./config.toml

A directory is merged: nothing is deleted. A failure leaves /workspace as it was. The baseline and
the command log stay as they are.")]
pub struct PushArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Directory, .tar, .tar.gz, .tgz or file on the host
    #[arg(value_name = "SOURCE_PATH")]
    pub source_path: PathBuf,
    /// Where it goes, absolute or below /workspace [default: /workspace]
    #[arg(long, value_name = "WORKSPACE_PATH")]
    pub dest: Option<OsString>,
    #[command(flatten)]
    pub seed: SeedArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace diff fix
  pyro workspace diff fix --patch | git apply
  pyro workspace diff fix --json | jq -r '.entries[].path'
  pyro workspace diff fix --from before-refactoring
  pyro workspace diff fix --html review.html

Letters: A added, M modified, D deleted, T another type, R moved, C copied. On a terminal there are
colours, unless NO_COLOR is set, and a pager: PYRO_PAGER, PAGER or less. The tree id that is
printed names exactly what was shown: apply, export, snapshot create and fork take it as --tree,
whatever the guest did since. Commands stand still for the moment that is shown.")]
pub struct DiffArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// Show only what is at these paths, absolute or below /workspace
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Have the guest look at every file, not only at its changed layer
    #[arg(long)]
    pub full: bool,
    /// Compare with this snapshot, or tree that a diff showed [default: baseline]
    #[arg(long, value_name = "SNAPSHOT|ID")]
    pub from: Option<String>,
    /// Show this snapshot, or tree that a diff showed, instead of what is there now
    #[arg(long, value_name = "SNAPSHOT|ID", conflicts_with_all = ["full", "no_freeze", "no_pin"])]
    pub to: Option<String>,
    #[command(flatten)]
    pub freeze: FreezeArgs,
    /// Leave content in the guest: faster where much is new, but --tree works only as long as the
    /// files stay as they are
    #[arg(long)]
    pub no_pin: bool,
    /// Do not show what this pattern (as in a .gitignore) names; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Do not show what was added and the tree's .gitignore files name
    #[arg(long, conflicts_with = "no_pin")]
    pub gitignore: bool,
    /// Lines of context in the patch [default: 3]
    #[arg(short = 'U', long, value_name = "N")]
    pub unified: Option<u32>,
    /// Have the patch carry binary files, too, for `git apply`; alone, this means --patch
    #[arg(long)]
    pub binary: bool,
    /// Do not page what is printed on a terminal
    #[arg(long)]
    pub no_pager: bool,
    #[command(flatten)]
    pub form: DiffForm,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct DiffForm {
    /// Print the text patch, byte for byte, and nothing else
    #[arg(long)]
    pub patch: bool,
    /// Print how many lines each file gained and lost
    #[arg(long)]
    pub stat: bool,
    /// Print git's letter and the path of each entry, tabs between, and nothing else; moves (R100) and
    /// copies (C100) have both paths
    #[arg(long)]
    pub name_status: bool,
    /// Write a page to review in a browser: one file, complete by itself, without scripts; replaces
    /// FILE
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace apply fix .
  pyro workspace apply fix . --dry-run
  pyro workspace apply fix ~/src/project --tree TREE_ID
  pyro workspace apply fix . src docs --gitignore
  pyro workspace apply fix . --undo

A file that changed only in the workspace is taken. One that changed here, too, is merged where the
changes do not touch each other; else it is a conflict, and stays as it is here. The plan is shown
first and you are asked, unless --tree names what you reviewed or --yes is given. A failure leaves
the directory as it was. Nothing of a .git directory is ever written: 'pyro workspace git fetch'
brings commits. The exit code is 4 when conflicts are left.")]
pub struct ApplyArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// The directory that the workspace was seeded from
    #[arg(value_name = "HOST_DIR")]
    pub host_dir: PathBuf,
    /// Apply only what is at these paths, absolute or below /workspace
    #[arg(value_name = "PATH", conflicts_with = "undo")]
    pub paths: Vec<OsString>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Write the workspace's side of each conflict beside the host's, as NAME.pyro-theirs
    #[arg(long)]
    pub beside: bool,
    /// Leave out what this pattern (as in a .gitignore) names; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what was added and the tree's .gitignore files name
    #[arg(long)]
    pub gitignore: bool,
    /// Let HOST_DIR be another directory than the one that the workspace came from
    #[arg(long)]
    pub elsewhere: bool,
    /// Take back what was applied to HOST_DIR last; what was changed since stays
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "beside", "exclude", "gitignore", "elsewhere", "tree", "snapshot", "no_freeze"])]
    pub undo: bool,
    #[command(flatten)]
    pub stored: StoredArgs,
    #[command(flatten)]
    pub freeze: FreezeArgs,
}

#[derive(Debug, Subcommand)]
pub enum GitCommand {
    /// Make a branch of the host's repository of the commit that the workspace has checked out
    Fetch(GitFetchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace git fetch fix
  pyro workspace git fetch fix --branch review/fix --repo ~/src/project

Only objects cross, and git checks each. The repository's HEAD, configuration, hooks, working tree
and other branches stay as they are. What is not committed in the workspace stays there.")]
pub struct GitFetchArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// The branch to make [default: pyro/ and the workspace's name or id]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// The host's repository [default: what the workspace was seeded from]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// Move the branch if there is one
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub stored: StoredArgs,
    #[command(flatten)]
    pub freeze: FreezeArgs,
}

/// What an export makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The file, directory or link itself
    Plain,
    /// A tar archive
    Tar,
    /// A text patch, as `diff --patch` prints it
    Patch,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro workspace export fix report.html --output ./report.html
  pyro workspace export fix . --output ./result
  pyro workspace export fix . --output ./result --tree TREE_ID --force
  pyro workspace export fix src --output ./src.before --snapshot before-refactoring
  pyro workspace export fix --changed --format tar --output - | tar -t

The target appears whole or not at all, owned by you. Links are copied as links.")]
pub struct ExportArgs {
    /// Workspace id or name
    #[arg(value_name = "WORKSPACE_ID")]
    pub workspace_id: String,
    /// What to copy, absolute or below /workspace; `.` is all of it. Several become a directory in which
    /// they are where they were
    #[arg(value_name = "PATH", required_unless_present_any = ["path_b64", "changed"])]
    pub paths: Vec<OsString>,
    /// A path's bytes in Base64, as `path_b64` in JSON shows them; may be repeated
    #[arg(long, value_name = "B64")]
    pub path_b64: Vec<String>,
    /// Where to; must not exist unless --force is given. `-` is standard output, for a tar or a patch
    #[arg(long, value_name = "HOST_PATH")]
    pub output: PathBuf,
    /// Only what was added or differs from the baseline, at PATH or below [default PATH: .]
    #[arg(long)]
    pub changed: bool,
    /// What to make of it; a patch is of what changed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ExportFormat::Plain)]
    pub format: ExportFormat,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub stored: StoredArgs,
    #[command(flatten)]
    pub freeze: FreezeArgs,
}
