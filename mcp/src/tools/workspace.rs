//! Workspaces, and what crosses between them and the host.

use std::collections::BTreeMap;
use std::path::Path;

use pyro_api::{
    BytesText, ErrorBody, ExportReply, GitFetch, GitFetchReply, SeedOptions, SyncPush,
    SyncPushReply, WorkspaceCreate, WorkspaceFork, WorkspaceInfo, WorkspaceList, WorkspaceReset,
    WorkspaceStart, WorkspaceStatus, WorkspaceStop,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Workspaces in one answer when the caller does not say.
const LIMIT: u32 = 20;

/// Arguments of `workspace_create`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// Environment name, such as `debian:12` (has git, python3 and everyday tools).
    environment: String,
    /// Host directory, or `.tar`, `.tar.gz` or `.tgz` archive, that `/workspace` starts as a copy of;
    /// empty when absent. Under an allowed directory; relative paths start at the first of them.
    seed_path: Option<String>,
    /// Patterns (as in a `.gitignore`) of what to leave out of the seed.
    #[serde(default)]
    exclude: Vec<String>,
    /// Leave out what the seed's `.gitignore` files name.
    #[serde(default)]
    gitignore: bool,
    /// List files that cannot be read as skipped, instead of failing.
    #[serde(default)]
    skip_unreadable: bool,
    /// A name, unique among workspaces; works wherever a workspace id is asked for.
    name: Option<String>,
    /// Labels for people and scripts.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Virtual CPUs; 1 when absent.
    vcpu_count: Option<u32>,
    /// Memory in MiB; 1024 when absent.
    mem_mib: Option<u32>,
    /// Most that the guest can write to its disk, in MiB; 16384 when absent.
    disk_mib: Option<u32>,
    /// Who runs commands: NAME or UID, perhaps with :GROUP; the image's user, or root, when absent.
    user: Option<String>,
    /// Delete the workspace after so many seconds; never when absent.
    ttl_seconds: Option<u64>,
    /// Give the guest a network: public addresses only, never this host or its networks.
    #[serde(default)]
    network: bool,
    /// Allow running without a VM where no VM can run. Weaker isolation: only if the user agreed.
    #[serde(default)]
    allow_host_compat: bool,
}

impl Tool for Create {
    const NAME: &'static str = "workspace_create";
    const TITLE: &'static str = "Create a workspace";
    const DESCRIPTION: &'static str = "\
        Make a workspace: a VM whose /workspace starts as a copy of a host directory or archive. That \
        state is its baseline, which never changes and is what workspace_diff compares with; the \
        host directory is only read. Returns when commands can run. Use a workspace for repeated \
        commands on the same files; for a single command without host files use vm_run. Then: \
        workspace_exec, workspace_diff, workspace_export, and workspace_delete at the end.";
    const HINTS: Hints = Hints::MAKES;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Calling) -> Result<WorkspaceInfo, ErrorBody> {
        let seed_path = match &self.seed_path {
            Some(path) => Some(call.roots().await?.source("seed_path", path)?),
            None => None,
        };
        let create = WorkspaceCreate {
            environment: self.environment,
            seed_path: seed_path.as_deref().map(Into::into),
            seed: seed(self.exclude, self.gitignore, self.skip_unreadable),
            name: self.name,
            labels: self.labels,
            vcpu_count: self.vcpu_count,
            mem_mib: self.mem_mib,
            disk_mib: self.disk_mib,
            user: self.user,
            ttl_seconds: self.ttl_seconds,
            network: self.network,
            allow_host_compat: self.allow_host_compat,
        };
        call.daemon(&create).await.map(bounded)
    }
}

/// Arguments of `workspace_sync_push`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Workspace id or name.
    workspace_id: String,
    /// Host directory, archive or file to copy in. Under an allowed directory; relative paths start
    /// at the first of them.
    source_path: String,
    /// Directory that it goes into: below `/workspace`, absolute or relative to it; `/workspace`
    /// when absent.
    dest: Option<String>,
    /// Patterns (as in a `.gitignore`) of what to leave out.
    #[serde(default)]
    exclude: Vec<String>,
    /// Leave out what the source's `.gitignore` files name.
    #[serde(default)]
    gitignore: bool,
    /// List files that cannot be read as skipped, instead of failing.
    #[serde(default)]
    skip_unreadable: bool,
}

impl Tool for Push {
    const NAME: &'static str = "workspace_sync_push";
    const TITLE: &'static str = "Copy host files into a workspace";
    const DESCRIPTION: &'static str = "\
        Copy a host directory, archive or file into /workspace of a started workspace: all of it or \
        nothing. Files there with the same names are replaced, others stay. The baseline stays as it \
        was, so what is pushed shows up in workspace_diff.";
    const HINTS: Hints = Hints::ENDS;
    type Output = SyncPushReply;

    async fn run(self, call: &Calling) -> Result<SyncPushReply, ErrorBody> {
        let source = call.roots().await?.source("source_path", &self.source_path)?;
        let push = SyncPush {
            workspace_id: self.workspace_id,
            source_path: source.as_path().into(),
            dest: self.dest.as_deref().map(Into::into),
            seed: seed(self.exclude, self.gitignore, self.skip_unreadable),
        };
        let mut reply = call.daemon(&push).await?;
        bounds::remarks(&mut reply.skipped, &mut reply.warnings);
        Ok(reply)
    }
}

/// Arguments of `workspace_export`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Workspace id or name.
    workspace_id: String,
    /// What to copy out: a file, directory or link below `/workspace`, absolute or relative to it.
    path: BytesText,
    /// More paths: then all of them are in one directory, where they were below `/workspace`.
    #[serde(default)]
    more_paths: Vec<BytesText>,
    /// Only what was added or differs from the baseline, at those paths or below, as a directory.
    #[serde(default)]
    changed: bool,
    /// Make a tar archive instead.
    #[serde(default)]
    archive: bool,
    /// Host path that it becomes. It must not exist; the directory that it is in must. Under an
    /// allowed directory; relative paths start at the first of them.
    output_path: String,
    /// From exactly this tree, whatever was done since: `tree` of the `workspace_diff` that was
    /// reviewed, or a snapshot's name; `/workspace` as it is now when absent.
    tree: Option<String>,
}

impl Tool for Export {
    const NAME: &'static str = "workspace_export";
    const TITLE: &'static str = "Copy a path out of a workspace";
    const DESCRIPTION: &'static str = "\
        Copy a file, directory or link out of /workspace to a new host path: whole or not at all, and \
        nothing that exists is overwritten. With tree, exactly the state that workspace_diff showed \
        is exported, or nothing. Tell the user of warnings: they name changed files that a program on \
        the host may run without being asked.";
    const HINTS: Hints = Hints::MAKES;
    type Output = ExportReply;

    async fn run(self, call: &Calling) -> Result<ExportReply, ErrorBody> {
        let target = call.roots().await?.target("output_path", &self.output_path)?;
        let target: &Path = &target;
        let export = pyro_api::Export {
            workspace_id: self.workspace_id,
            path: self.path,
            more: self.more_paths,
            changed: self.changed,
            archive: self.archive,
            output_path: Some(target.into()),
            force: false,
            tree: self.tree,
            no_freeze: false,
        };
        let mut reply = call.daemon(&export).await?;
        bounds::remarks(&mut reply.skipped, &mut reply.warnings);
        Ok(reply)
    }
}

/// Arguments of `workspace_git_fetch`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Workspace id or name.
    workspace_id: String,
    /// Host repository. Under an allowed directory; relative paths start at the first of them.
    repository: String,
    /// The branch to make; `pyro/` and the workspace's name or id when absent.
    branch: Option<String>,
    /// From exactly this tree, whatever was done since: `tree` of a `workspace_diff`, or a snapshot's
    /// name; `/workspace` as it is now when absent.
    tree: Option<String>,
}

impl Tool for Fetch {
    const NAME: &'static str = "workspace_git_fetch";
    const TITLE: &'static str = "Bring a workspace's commits home";
    const DESCRIPTION: &'static str = "\
        Make a new branch of a host git repository of the commit that is checked out in /workspace. Only \
        objects cross, each checked; the repository's HEAD, configuration, hooks, working tree and other \
        branches stay as they are. What is not committed in the workspace stays there.";
    const HINTS: Hints = Hints::MAKES;
    type Output = GitFetchReply;

    async fn run(self, call: &Calling) -> Result<GitFetchReply, ErrorBody> {
        let repository = call.roots().await?.source("repository", &self.repository)?;
        let fetch = GitFetch {
            workspace_id: self.workspace_id,
            repository: Some(repository.as_path().into()),
            branch: self.branch,
            force: false,
            tree: self.tree,
            no_freeze: false,
        };
        call.daemon(&fetch).await
    }
}

impl Tool for WorkspaceReset {
    const NAME: &'static str = "workspace_reset";
    const TITLE: &'static str = "Reset a workspace";
    const DESCRIPTION: &'static str = "\
        Make a workspace's sandbox anew: /workspace as its baseline or a snapshot has it, and nothing \
        else left: no commands, shells, log, installed packages. Its id, name and snapshots stay, and \
        diffs still compare with the baseline.";
    const HINTS: Hints = Hints::ENDS;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Calling) -> Result<WorkspaceInfo, ErrorBody> {
        call.daemon(&self).await.map(bounded)
    }
}

impl Tool for WorkspaceFork {
    const NAME: &'static str = "workspace_fork";
    const TITLE: &'static str = "Fork a workspace";
    const DESCRIPTION: &'static str = "\
        Make another workspace that starts as this one is now, or as a snapshot or a tree that was \
        shown has it, at the price of a boot. To try two ways from one state. Diffs of the fork compare \
        with the same baseline.";
    const HINTS: Hints = Hints::MAKES;
    type Output = WorkspaceInfo;

    async fn run(self, call: &Calling) -> Result<WorkspaceInfo, ErrorBody> {
        call.daemon(&self).await.map(bounded)
    }
}

/// Arguments of tools that take a workspace alone.
macro_rules! of_one {
    ($($tool:ident => $call:ident: $name:literal, $title:literal, $hints:expr, $description:literal;)*) => {
        $(#[doc = concat!("Arguments of `", $name, "`.")]
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $tool {
            /// Workspace id or name.
            workspace_id: String,
        }

        impl Tool for $tool {
            const NAME: &'static str = $name;
            const TITLE: &'static str = $title;
            const DESCRIPTION: &'static str = $description;
            const HINTS: Hints = $hints;
            type Output = WorkspaceInfo;

            async fn run(self, call: &Calling) -> Result<WorkspaceInfo, ErrorBody> {
                call.daemon(&$call { workspace_id: self.workspace_id }).await.map(bounded)
            }
        })*
    };
}

of_one! {
    Status => WorkspaceStatus: "workspace_status", "Show a workspace", Hints::LOOKS,
    "Show one workspace: its state, environment, size, seed, baseline and last command.";

    Stop => WorkspaceStop: "workspace_stop", "Stop a workspace", Hints::ENDS,
    "End a workspace's VM, with the commands and shells in it, and keep its files; workspace_start \
     boots it again. One that is stopped is no error.";

    Start => WorkspaceStart: "workspace_start", "Start a stopped workspace", Hints::BRINGS,
    "Boot a stopped workspace again, its files as they were. One that runs is no error.";
}

/// Arguments of `workspace_list`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Workspaces to pass over: 0, or `next_offset` of the answer before.
    #[serde(default)]
    offset: u64,
    /// Most workspaces in the answer; 20 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

/// Answer of `workspace_list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Oldest first.
    workspaces: Vec<WorkspaceInfo>,
    /// How many there are in all.
    total: u64,
    /// Where the next part begins; null at the end.
    next_offset: Option<u64>,
}

impl Tool for List {
    const NAME: &'static str = "workspace_list";
    const TITLE: &'static str = "List workspaces";
    const DESCRIPTION: &'static str =
        "List all workspaces, oldest first, those that others made too.";
    const HINTS: Hints = Hints::LOOKS;
    type Output = Listed;

    async fn run(self, call: &Calling) -> Result<Listed, ErrorBody> {
        let limit = bounds::within("limit", self.limit, LIMIT, 1..=1000)?;
        let all = call.daemon(&WorkspaceList {}).await?.workspaces;
        let total = all.len() as u64;
        let (part, next_offset) = bounds::page(all, self.offset, limit);
        Ok(Listed { workspaces: part.into_iter().map(bounded).collect(), total, next_offset })
    }
}

fn seed(exclude: Vec<String>, gitignore: bool, skip_unreadable: bool) -> SeedOptions {
    SeedOptions { exclude, gitignore, skip_unreadable, allow_changing: false }
}

fn bounded(mut info: WorkspaceInfo) -> WorkspaceInfo {
    let seed = &mut info.workspace_seed;
    bounds::remarks(&mut seed.skipped, &mut seed.warnings);
    if let Some(last) = &mut info.last_command {
        last.command = bounds::head_and_tail(std::mem::take(&mut last.command), 1000).0;
    }
    info
}
