//! What must be known of a workspace after a crash: `workspace.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use pyro_api::{BytesText, LastCommand, WorkspaceSeed};
use pyro_format::{BaselineId, Mtime, RootId, RootNode, TimesId};
use pyro_machine::BackendKind;
use serde::{Deserialize, Serialize};

use super::merge::TimedTree;
use crate::error::{Error, Result};

/// Version of the record's shape.
const SCHEMA: u32 = 1;
const FILE: &str = "workspace.json";

/// Shown trees that are remembered.
pub const REVIEWED: usize = 16;

/// How far a workspace has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not acknowledged yet: whoever finds it so after a crash removes it.
    Creating,
    /// Acknowledged.
    Ready,
    /// Being removed: whoever finds it so after a crash goes on.
    Deleting,
}

/// What a record is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A workspace.
    #[default]
    Workspace,
    /// A VM that its caller makes, starts and uses for one command.
    Vm,
}

/// A tree that is stored, by its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTree {
    /// Id of the root node.
    pub id: RootId,
    /// The root node.
    pub root: RootNode,
    /// The times below the top directory.
    pub times: TimesId,
    /// The top directory's own time.
    pub mtime: Mtime,
}

impl From<TimedTree> for StoredTree {
    fn from(tree: TimedTree) -> Self {
        Self { id: tree.root.id(), root: tree.root, times: tree.times, mtime: tree.mtime }
    }
}

impl From<StoredTree> for TimedTree {
    fn from(tree: StoredTree) -> Self {
        Self { root: tree.root, times: tree.times, mtime: tree.mtime }
    }
}

/// A tree that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The tree; the store holds its nodes.
    #[serde(flatten)]
    pub tree: StoredTree,
    /// The store holds its content, too.
    #[serde(default)]
    pub whole: bool,
}

/// A tree that somebody gave a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The tree; the store holds all of it.
    pub tree: StoredTree,
    /// Paths that differ from the baseline.
    pub changes: u64,
    /// When it was taken.
    pub created_at: Timestamp,
}

/// A command that was started and is not logged yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingExec {
    /// Program and arguments.
    pub argv: Vec<BytesText>,
    /// Working directory.
    pub cwd: BytesText,
    /// When it was started.
    pub started_at: Timestamp,
}

impl PendingExec {
    /// Milliseconds since its start; none before it, whatever the clock did.
    pub fn age_ms(&self, now: Timestamp) -> u64 {
        now.duration_since(self.started_at).as_millis().try_into().unwrap_or_default()
    }
}

/// The durable record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of the record's shape.
    pub schema: u32,
    /// How far it has come.
    pub phase: Phase,
    /// What it is.
    #[serde(default)]
    pub kind: Kind,
    /// The workspace's id, also the name of its directory.
    pub id: String,
    /// A name for people.
    pub name: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the environment.
    pub environment: String,
    /// Digest of the environment's image: what keeps it from being pruned.
    pub image: String,
    /// Variables that the environment sets for every command, `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_variables: Vec<String>,
    /// Who runs commands and owns `/workspace`; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What the VM runs on.
    pub backend: BackendKind,
    /// Virtual CPUs.
    pub vcpu_count: u32,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Size of the scratch disk in MiB.
    #[serde(default = "scratch_mib")]
    pub disk_mib: u32,
    /// Whether the guest has a network.
    #[serde(default)]
    pub network: bool,
    /// The baseline's record in the store; none for an empty start.
    pub baseline: Option<BaselineId>,
    /// What diffs compare with: never changes.
    pub baseline_tree: StoredTree,
    /// What the guest's lower layer shows.
    pub lower: StoredTree,
    /// How it was seeded.
    pub seed: WorkspaceSeed,
    /// Trees beside the lower one whose content this workspace has brought to the host, or had from it.
    pub accounted: Vec<RootId>,
    /// Trees that were shown, newest last, at most [`REVIEWED`]: others may name them.
    pub reviewed: Vec<Reviewed>,
    /// Trees that were given names.
    #[serde(default)]
    pub snapshots: BTreeMap<String, Snapshot>,
    /// Times that it was reset; each has a scratch disk and a log of its own.
    #[serde(default)]
    pub resets: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is to be deleted.
    pub expires_at: Option<Timestamp>,
    /// Its machine has run.
    #[serde(default)]
    pub booted: bool,
    /// One command's VM: deleted by whoever finds it without its daemon.
    pub ephemeral: bool,
    /// Generation of the wire that its guest speaks, or spoke when it last ran. Records that do not
    /// say are older than the second.
    #[serde(default = "one")]
    pub generation: u16,
    /// Number of the next shell, from 1.
    #[serde(default = "one")]
    pub next_shell: u64,
    /// Number of the next command, from 1.
    pub next_sequence: u64,
    /// Number of the next push, from 1.
    pub next_push: u64,
    /// Commands started and not logged yet.
    pub pending: BTreeMap<u64, PendingExec>,
    /// Commands logged.
    pub command_count: u64,
    /// The last of them.
    pub last_command: Option<LastCommand>,
}

fn scratch_mib() -> u32 {
    pyro_image::SCRATCH_MIB
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

impl Record {
    /// Remembers a tree that was shown. One whose content is stored stays so; whether it is.
    pub fn review(&mut self, tree: StoredTree, whole: bool) -> bool {
        let whole = whole || self.whole_trees().any(|other| other == tree);
        self.reviewed.retain(|other| other.tree.id != tree.id);
        self.reviewed.push(Reviewed { tree, whole });
        let surplus = self.reviewed.len().saturating_sub(REVIEWED);
        self.reviewed.drain(..surplus);
        whole
    }

    /// Trees of which the store holds all, those with names first.
    pub fn whole_trees(&self) -> impl Iterator<Item = StoredTree> {
        let shown = self.reviewed.iter().filter(|shown| shown.whole).map(|shown| shown.tree);
        let kept = self.snapshots.values().map(|snapshot| snapshot.tree);
        kept.chain([self.baseline_tree, self.lower]).chain(shown)
    }

    /// Notes that the content of a whole tree is accounted for.
    pub fn account(&mut self, tree: RootId) {
        if !self.accounted.contains(&tree) {
            self.accounted.push(tree);
        }
    }

    /// What it is, and its id, for people.
    pub fn title(&self) -> String {
        match (self.kind, self.ephemeral) {
            (Kind::Workspace, false) => format!("workspace {}", self.id),
            _ => format!("VM {}", self.id),
        }
    }

    /// The version of new records.
    pub const SCHEMA: u32 = SCHEMA;

    /// Reads the record of the workspace in `dir`; none if there is none.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", path)(source)),
        };
        let damaged = |reason: String| Error::BadRecord { path: path.clone(), reason };
        let record: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if record.schema != SCHEMA {
            return Err(damaged(format!("its schema is {}", record.schema)));
        }
        if dir.file_name().is_none_or(|name| name != record.id.as_str()) {
            return Err(damaged(format!("it belongs to {}", record.id)));
        }
        Ok(Some(record))
    }

    /// Writes the record durably.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::BadRecord { path: path.clone(), reason: error.to_string() })?;
        pyro_durable::write(&path, &bytes).map_err(Error::io("write", path))
    }
}
