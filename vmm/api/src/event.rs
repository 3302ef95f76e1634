//! The lines of an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

/// Which output a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output, or the content asked for.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of an answer. The last line is `Result` or `Error`; an answer without either broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Long work goes on.
    Progress {
        /// What is being done, for people.
        phase: String,
        /// More of it, for people; may be empty.
        detail: String,
        /// Done so far, in bytes or items.
        done: u64,
        /// All there is to do, when known.
        total: Option<u64>,
    },
    /// Something that a person must be told, whatever the call is about.
    Warning {
        /// A sentence.
        message: String,
    },
    /// A command has started: who is cut off can attach to it again.
    Started {
        /// Its workspace.
        workspace_id: String,
        /// Its number in the workspace's log.
        sequence: u64,
    },
    /// Output as it comes.
    Output {
        /// Which stream.
        stream: OutputStream,
        /// Position of the first byte in the stream.
        offset: u64,
        /// Base64 of the bytes.
        data_b64: String,
    },
    /// The call succeeded; the call's reply.
    Result(serde_json::Value),
    /// The call failed.
    Error(ErrorBody),
}
