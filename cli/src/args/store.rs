//! `pyro store ...`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SeedArgs;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Store a directory or archive as a baseline
    Ingest(StoreIngestArgs),
    /// Write a baseline, or a part of it, to the host
    Checkout(StoreCheckoutArgs),
    /// Show how much the store holds, in all and by baseline
    Stats,
    /// List all baselines
    List,
    /// List what a directory of a baseline holds
    Ls(StoreLsArgs),
    /// Draw a directory of a baseline as a tree
    Tree(StoreTreeArgs),
    /// Print a stored file
    Cat(StoreCatArgs),
    /// Show what differs between two baselines
    Diff(StoreDiffArgs),
    /// Show what baselines take on disk: alone and together with others
    Du(StoreDuArgs),
    /// Show all baselines in order of time, and what each added
    Log,
    /// Show what an id names, where it is stored and which paths need it
    FindChunk(StoreFindChunkArgs),
    /// Read everything back and check it
    ///
    /// Exit code 0: all is well. 6: something is damaged; every damaged thing and the paths that
    /// it reaches are named. Ingest a healthy source again, and what was damaged is stored anew.
    Verify,
    /// Mount a baseline as a read-only file system, until Ctrl-C
    ///
    /// Nothing is copied: what is looked at is read from the store. Takes /dev/fuse and, without
    /// root, the package fuse3.
    Mount(StoreMountArgs),
    /// Write baselines to one file, to be moved to another machine
    ExportBundle(StoreExportBundleArgs),
    /// Take the baselines of a bundle in
    ///
    /// Everything in it is checked before anything is in the store.
    ImportBundle(StoreImportBundleArgs),
    /// Forget baselines; 'gc' frees what only they needed
    Delete(StoreDeleteArgs),
    /// Free what nothing needs, and write what stays smaller
    ///
    /// Needed is what baselines, workspaces and calls under way reach. The daemon does the same by
    /// itself when it has been idle for some seconds, sparing what is younger than a quarter of an
    /// hour; with PYRO_STORE_LIMIT set (like 20G), it spares nothing while the store is larger.
    Gc(StoreGcArgs),
    /// Fill the index again from the packs
    ///
    /// Not needed in everyday life: an index that cannot be opened is rebuilt by itself. Changes
    /// nothing that is stored.
    RebuildIndex,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro store tree 3f2a9c
  pyro store tree 3f2a9c src --depth 2")]
pub struct StoreTreeArgs {
    /// Baseline id, or its first digits (at least 4)
    pub baseline: String,
    /// Directory in it [default: the top]
    pub path: Option<OsString>,
    /// Levels to show [default: all]
    #[arg(long, short, value_name = "N")]
    pub depth: Option<usize>,
}

#[derive(Debug, Args)]
pub struct StoreDuArgs {
    /// Baseline ids, or their first digits [default: all]
    pub baselines: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  pyro store find-chunk 9d41c0")]
pub struct StoreFindChunkArgs {
    /// Id of a chunk, file, tree, times or root node, or its first digits (at least 4)
    pub id: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mkdir view
  pyro store mount 3f2a9c view")]
pub struct StoreMountArgs {
    /// Baseline id, or its first digits (at least 4)
    pub baseline: String,
    /// An empty directory
    #[arg(value_name = "DIR")]
    pub mount_path: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  pyro store export-bundle 3f2a9c --output project.pyro")]
pub struct StoreExportBundleArgs {
    /// Baseline ids, or their first digits (at least 4)
    #[arg(required = true)]
    pub baselines: Vec<String>,
    /// File to write; must not exist unless --force is given
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct StoreImportBundleArgs {
    /// A file that 'export-bundle' wrote
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct StoreDeleteArgs {
    /// Baseline ids, or their first digits (at least 4)
    #[arg(required = true)]
    pub baselines: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro store gc --dry-run
  pyro store gc --grace-seconds 3600")]
pub struct StoreGcArgs {
    /// Only say what would be freed
    #[arg(long)]
    pub dry_run: bool,
    /// Free nothing that was stored in the last N seconds
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub grace_seconds: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro store ingest .
  pyro store ingest project.tar.gz
  pyro store ingest . --gitignore --exclude '*.log'")]
pub struct StoreIngestArgs {
    /// Directory, .tar, .tar.gz or .tgz
    #[arg(value_name = "PATH")]
    pub source_path: PathBuf,
    #[command(flatten)]
    pub seed: SeedArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pyro store checkout 3f2a9c ./copy
  pyro store checkout 3f2a9c ./main.rs --path src/main.rs")]
pub struct StoreCheckoutArgs {
    /// Baseline id, or its first digits (at least 4)
    pub baseline: String,
    /// Where to; must not exist unless --force is given
    #[arg(value_name = "DIR")]
    pub output_path: PathBuf,
    /// Only this part of it
    #[arg(long)]
    pub path: Option<OsString>,
    /// Replace what is there
    #[arg(long)]
    pub force: bool,
    /// Do not wait until it is on the disk; after a power cut it may be there in part
    #[arg(long)]
    pub no_sync: bool,
}

#[derive(Debug, Args)]
pub struct StoreLsArgs {
    /// Baseline id, or its first digits (at least 4)
    pub baseline: String,
    /// Directory, file or link in it [default: the top]
    pub path: Option<OsString>,
    /// Everything below, too
    #[arg(long, short)]
    pub recursive: bool,
}

#[derive(Debug, Args)]
pub struct StoreCatArgs {
    /// Baseline id, or its first digits (at least 4)
    pub baseline: String,
    /// File in it
    pub path: OsString,
}

#[derive(Debug, Args)]
pub struct StoreDiffArgs {
    /// Baseline id or its first digits: before
    pub old: String,
    /// Baseline id or its first digits: after
    pub new: String,
}
