//! Changes on their way home.

use pyro_api::{
    ApplyReply, ApplyUndoReply, BytesText, ErrorBody, WorkspaceApply, WorkspaceApplyUndo,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::server::Calling;
use crate::tool::{Hints, Tool};

/// Entries in one answer when the caller does not say.
const LIMIT: u32 = 200;

/// Arguments of `workspace_apply`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Workspace id or name.
    workspace_id: String,
    /// Host directory that the workspace was seeded from. Under an allowed directory; relative paths
    /// start at the first of them.
    host_path: String,
    /// Apply the changes of exactly this tree, whatever was done since: `tree` of the
    /// `workspace_diff`, or of the plan, that was reviewed, or a snapshot's name. When absent, the
    /// plan for `/workspace` as it is now is made and nothing is changed.
    tree: Option<String>,
    /// Only the changes at these paths below `/workspace`; all when empty.
    #[serde(default)]
    paths: Vec<BytesText>,
    /// Patterns (as in a `.gitignore`) of what to leave out.
    #[serde(default)]
    exclude: Vec<String>,
    /// Leave out what was added and the tree's `.gitignore` files name.
    #[serde(default)]
    gitignore: bool,
    /// Only make the plan.
    #[serde(default)]
    dry_run: bool,
    /// Write the workspace's side of each conflict beside the host's, as `NAME.pyro-theirs`.
    #[serde(default)]
    beside: bool,
    /// Entries to pass over: 0, or `next_offset` of the answer before.
    #[serde(default)]
    offset: u64,
    /// Most entries in the answer; 200 when absent.
    #[schemars(range(min = 1, max = 10000))]
    limit: Option<u32>,
}

/// Answer of `workspace_apply`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Applied {
    /// What was done, or is to be done; `entries` is a part of it.
    #[serde(flatten)]
    reply: ApplyReply,
    /// Where the next part of `entries` begins; null at the end. Ask for it with `dry_run`.
    next_offset: Option<u64>,
}

impl Tool for Apply {
    const NAME: &'static str = "workspace_apply";
    const TITLE: &'static str = "Bring a workspace's changes home";
    const DESCRIPTION: &'static str = "\
        Bring the changes of /workspace into the host directory that it was seeded from. Call it without \
        tree first: that makes the plan and changes nothing. Show the plan to the user, warnings and \
        conflicts above all, then call it with the plan's tree. Files that changed on both sides are merged \
        where the changes do not touch; else they are conflicts and stay as the host has them. Nothing of a \
        .git directory is written: workspace_git_fetch brings commits. workspace_apply_undo takes it back.";
    const HINTS: Hints = Hints::ENDS;
    type Output = Applied;

    async fn run(self, call: &Calling) -> Result<Applied, ErrorBody> {
        let limit = bounds::within("limit", self.limit, LIMIT, 1..=10_000)?;
        let host = call.roots().await?.source("host_path", &self.host_path)?;
        let apply = WorkspaceApply {
            workspace_id: self.workspace_id,
            host_path: host.as_path().into(),
            elsewhere: false,
            dry_run: self.dry_run || self.tree.is_none(),
            beside: self.beside,
            tree: self.tree,
            paths: self.paths,
            exclude: self.exclude,
            gitignore: self.gitignore,
            no_freeze: false,
        };
        let mut reply = call.daemon(&apply).await?;
        bounds::remarks(&mut Vec::new(), &mut reply.warnings);
        let (entries, next_offset) = bounds::page(reply.entries, self.offset, limit);
        Ok(Applied { reply: ApplyReply { entries, ..reply }, next_offset })
    }
}

/// Arguments of `workspace_apply_undo`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Workspace id or name.
    workspace_id: String,
    /// Host directory. Under an allowed directory; relative paths start at the first of them.
    host_path: String,
}

impl Tool for Undo {
    const NAME: &'static str = "workspace_apply_undo";
    const TITLE: &'static str = "Take back what was applied";
    const DESCRIPTION: &'static str = "\
        Take back what workspace_apply did last to a host directory: what it replaced or removed is there \
        again, what it made is gone. Files that somebody changed since stay as they are, and are listed.";
    const HINTS: Hints = Hints { idempotent: false, ..Hints::ENDS };
    type Output = ApplyUndoReply;

    async fn run(self, call: &Calling) -> Result<ApplyUndoReply, ErrorBody> {
        let host = call.roots().await?.source("host_path", &self.host_path)?;
        let undo = WorkspaceApplyUndo {
            workspace_id: self.workspace_id,
            host_path: host.as_path().into(),
        };
        call.daemon(&undo).await
    }
}
