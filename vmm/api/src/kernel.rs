//! The small kernel: an optional one that environments boot instead of their distribution's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::calls;

/// Builds the small kernel from Debian's source, or does nothing when it is there and whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelBuild {
    /// Build anew even when it is there.
    #[serde(default)]
    pub force: bool,
}

/// Whether there is a small kernel, and which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelShow {}

/// Removes the small kernel: environments boot their own again, from their next boot on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelRemove {}

/// Answer to [`KernelBuild`], [`KernelShow`] and [`KernelRemove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelReply {
    /// The small kernel, if there is one now.
    pub small: Option<KernelInfo>,
    /// There was one, and it is gone.
    pub removed: bool,
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelInfo {
    /// Version of its source package, with `+small`.
    pub version: String,
    /// What `uname -r` says in a guest.
    pub release: String,
    /// The ELF kernel on the host.
    pub path: String,
    /// Its bytes.
    pub size_bytes: u64,
}

calls! {
    "kernel_build": KernelBuild => KernelReply;
    "kernel_show": KernelShow => KernelReply;
    "kernel_remove": KernelRemove => KernelReply;
}
