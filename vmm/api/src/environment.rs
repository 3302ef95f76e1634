//! Environments: the root images that guests boot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes_text::BytesText;
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

/// Builds an environment from packages, or fetches an OCI image; does nothing when it is there and
/// whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPull {
    /// Environment name, or an OCI image reference.
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
    /// Packages in it, when it was built from packages and is installed.
    pub packages: Vec<Package>,
    /// Where it came from, for one that was not built from packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<EnvironmentOrigin>,
}

/// Where an environment came from that was not built from packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentOrigin {
    /// Image reference, image file or directory.
    pub source: String,
    /// What the reference named, `sha256:...`; none for a directory.
    pub manifest: Option<String>,
    /// The baseline under which the store has its files.
    pub baseline: String,
    /// `NAME=value` for every command.
    pub env: Vec<String>,
    /// The image's user, who runs commands; empty: root.
    pub user: String,
    /// Where `run` runs the image's own program; other commands run in `/workspace`.
    pub working_dir: String,
    /// With `cmd`, what `run` runs when no command is given.
    pub entrypoint: Vec<String>,
    /// The words after `entrypoint`.
    pub cmd: Vec<String>,
}

/// Makes an environment from an image file: a docker archive, or an OCI layout (tar file or directory).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentImport {
    /// The file, or directory.
    pub path: BytesText,
    /// What the environment is to be called.
    pub name: String,
}

/// Makes an environment from a directory that holds a whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentCreate {
    /// What the environment is to be called.
    pub name: String,
    /// The directory.
    pub from_dir: BytesText,
}

/// Removes an environment that was fetched, imported or created; workspaces keep its image until they
/// are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRemove {
    /// Environment name, or image reference.
    pub environment: String,
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
    /// Also remove what is made again when it is needed: images that no workspace uses and whose files
    /// the store has, and saved machines.
    #[serde(default)]
    pub images: bool,
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
    "environment_import": EnvironmentImport => EnvironmentDetail;
    "environment_create": EnvironmentCreate => EnvironmentDetail;
    "environment_remove": EnvironmentRemove => EnvironmentPruneReply;
    "environment_prune": EnvironmentPrune => EnvironmentPruneReply;
}
