//! Environments: the root images that guests boot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::calls;

/// All environments that pyro knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentList {}

/// Answer to [`EnvironmentList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentListReply {
    /// In a fixed order, smallest first.
    pub environments: Vec<EnvironmentSummary>,
}

/// Whether an environment can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// Ready.
    Installed,
    /// Not pulled yet.
    Absent,
    /// Its files are damaged; a pull repairs it.
    Broken,
}

/// One environment in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentSummary {
    /// Name, such as `debian:12`.
    pub name: String,
    /// What it holds, for people.
    pub description: String,
    /// Whether it can be used.
    pub state: EnvironmentState,
    /// Bytes on disk, when installed.
    pub size_bytes: Option<u64>,
    /// BLAKE3 of its image, when installed.
    pub digest: Option<String>,
    /// When it was built (RFC 3339), when installed.
    pub built_at: Option<String>,
}

/// Builds an environment from packages, or does nothing when it is there and whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPull {
    /// Environment name.
    pub environment: String,
    /// Build anew even when it is there.
    #[serde(default)]
    pub force: bool,
}

/// Everything known of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentInspect {
    /// Environment name.
    pub environment: String,
}

/// Answer to [`EnvironmentPull`] and [`EnvironmentInspect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: EnvironmentSummary,
    /// Path of the root image on the host, when installed.
    pub root_image: Option<String>,
    /// Kernel version, when installed.
    pub kernel: Option<String>,
    /// Packages in it, when installed.
    pub packages: Vec<Package>,
}

/// One package of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Package {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// Removes images that a newer one replaced and no workspace uses, kernels that no image needs, and
/// what killed pulls left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPrune {
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer to [`EnvironmentPrune`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentPruneReply {
    /// What was removed (or would be).
    pub removed: Vec<String>,
    /// Bytes that became (or would become) free.
    pub freed_bytes: u64,
    /// Nothing was removed yet.
    pub dry_run: bool,
}

calls! {
    "environment_list": EnvironmentList => EnvironmentListReply;
    "environment_pull": EnvironmentPull => EnvironmentDetail;
    "environment_inspect": EnvironmentInspect => EnvironmentDetail;
    "environment_prune": EnvironmentPrune => EnvironmentPruneReply;
}
