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
    /// Show how much the store holds
    Stats,
    /// List all baselines
    List,
    /// List what a directory of a baseline holds
    Ls(StoreLsArgs),
    /// Print a stored file
    Cat(StoreCatArgs),
    /// Show what differs between two baselines
    Diff(StoreDiffArgs),
    /// Read everything back and check it
    ///
    /// Exit code 0: all is well. 6: something is damaged; every damaged thing and the paths that
    /// it reaches are named.
    Verify,
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
