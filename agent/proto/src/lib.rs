//! The wire between the daemon and a guest's agent, over vsock.
//!
//! ```text
//! host ──connect 1024──▶ agent    one call a connection: Call, then Replies     (call)
//! agent ─connect 1025──▶ host     Hello(Control): Welcome, Fresh, then Ready or Failed (boot)
//!                                 Hello(Content): tagged Fetches and Fetched     (content)
//! ```
//!
//! Every message is a frame: `u32` little-endian length, then postcard. A connection has no half
//! close, so a message says where it ends. A generation's messages never change once released; the
//! next one appends variants, so that what both know has the same bytes. A host speaks all of them, a
//! guest only its own.

mod boot;
mod call;
mod content;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod report;
mod shell;

pub use boot::{Booted, Fresh, Hello, Role, Welcome};
pub use call::{
    AgentError, ByteString, Call, ErrorKind, ExecId, ExecInfo, ExecRequest, ExecState, Exit,
    FileChunks, Piece, PushId, PushItem, Reply, Stream, UserName,
};
pub use content::{Fetch, FetchBody, Fetched, FetchedBody, NodeBytes, Source};
pub use frame::{
    FrameError, GUEST_FRAME_LIMIT, HOST_FRAME_LIMIT, encode_frame, read_frame, write_frame,
};
pub use report::{Base, Change, ReportEnd, Special};
pub use shell::{ShellExit, ShellId, ShellInfo, ShellRequest, TerminalSize};

/// Generation of the messages below. A host refuses a guest of a generation it does not know.
pub const GENERATION: u16 = 5;
/// Oldest generation that a host speaks: commands, reports, pushes.
pub const OLDEST_GENERATION: u16 = 1;
/// First generation with shells.
pub const SHELLS_SINCE: u16 = 2;
/// First generation that can freeze.
pub const FREEZE_SINCE: u16 = 3;
/// First generation with users.
pub const USERS_SINCE: u16 = 4;
/// First generation that is told [`Fresh`].
pub const FRESH_SINCE: u16 = 5;
/// vsock port on which the agent takes calls.
pub const AGENT_PORT: u32 = 1024;
/// vsock port on which the host takes the agent's connections (CID 2).
pub const HOST_PORT: u32 = 1025;
/// Most bytes of content in one message, either way.
pub const MAX_DATA: usize = 1 << 20;
/// Most bytes typed into a shell at once: a whole message and the Enter key.
pub const MAX_TYPED: usize = MAX_DATA + 1;
