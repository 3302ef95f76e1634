//! Commits on their way home.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
use crate::call::calls;

/// Makes a branch of a host repository of the commit that a workspace has checked out. Objects are
/// checked; HEAD, configuration, hooks, working tree and other branches of the host stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitFetch {
    /// Workspace id or name.
    pub workspace_id: String,
    /// Host repository, absolute; where the workspace was seeded from when absent.
    pub repository: Option<BytesText>,
    /// The branch's name; `pyro/` and the workspace's name or id when absent.
    pub branch: Option<String>,
    /// Move the branch when there is one already.
    #[serde(default)]
    pub force: bool,
    /// From this tree instead of `/workspace` as it is now: the id of one that a diff has shown, or
    /// the name of a snapshot.
    pub tree: Option<String>,
    /// Let commands go on while their files are read.
    #[serde(default)]
    pub no_freeze: bool,
}

/// Answer to [`GitFetch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitFetchReply {
    /// The workspace.
    pub workspace_id: String,
    /// The host repository.
    pub repository: BytesText,
    /// The branch that was made, or moved.
    pub branch: String,
    /// The commit that it names.
    pub commit: String,
    /// Commits that no other ref of the repository reaches.
    pub commit_count: u64,
    /// Tree id of the workspace that this was taken from.
    pub tree: String,
    /// Bytes of content that crossed from the guest.
    pub bytes_fetched: u64,
    /// Nothing ran in the guest while this was read.
    pub frozen: bool,
    /// How long commands stood still, in microseconds.
    pub paused_us: u64,
}

calls! {
    "workspace_git_fetch": GitFetch => GitFetchReply;
}
