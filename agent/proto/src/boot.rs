//! How a guest reports for work.

use pyro_format::{Mode, Mtime};
use serde::{Deserialize, Serialize};

/// First message of every connection that a guest opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The guest's [`crate::GENERATION`]. Always the first field, in every generation.
    pub generation: u16,
    /// What the connection is for.
    pub role: Role,
}

/// What a guest's connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Boot: the host answers [`Welcome`] and [`Fresh`], the guest ends with [`Booted`].
    Control,
    /// Reading trees and content: [`crate::Fetch`] and [`crate::Fetched`].
    Content,
}

/// What the guest needs to know before it mounts `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Host wall clock: nanoseconds since 1970.
    pub now_ns: u64,
    /// Host name of the guest.
    pub hostname: String,
    /// Permission bits of the top directory of the lower tree.
    pub root_mode: Mode,
    /// Modification time of the top directory of the lower tree.
    pub root_mtime: Mtime,
}

/// Follows [`Welcome`], since generation 5: what no other guest has. One that was saved when it had booted
/// wakes up more than once, each time with the same state of its random number generator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    /// Random bytes of the host, made for this guest and this moment.
    pub entropy: [u8; 32],
}

/// How the boot ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Booted {
    /// `/workspace` is mounted and calls are taken.
    Ready {
        /// Version of the agent, for people.
        agent_version: String,
    },
    /// The guest cannot work and powers off.
    Failed {
        /// What failed, for people.
        message: String,
    },
}
