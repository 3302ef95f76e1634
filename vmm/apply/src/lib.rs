//! Bringing the changes of a tree home into a host directory that may have changed, too.
//!
//! ```text
//! changes (base → theirs) ─┐
//!                          ├─ pick, one path at a time ─▶ plan: steps, conflicts ─▶ shown
//! host directory (ours) ───┘                                  │
//!    keep what goes ─▶ journal ─▶ stage what comes ─▶ sync ─▶ move, one path at a time ─▶ sync ─▶ done
//!                         └──────────── taken back: after a failure, after a crash, on request ◀──┘
//! ```
//!
//! What is promised:
//!
//! - A path is changed only if it holds what the plan saw; what comes out of its place is looked at
//!   again, and put back if it is something else.
//! - No link is followed, nothing outside the directory or on another file system is touched, and
//!   nothing that git takes for `.git` is written.
//! - After a failure, and after a crash and [`Journals::recover`], the directory is as it was, less
//!   what somebody else changed in the meantime, which stays as they left it.
//! - What an applied plan replaced or removed is kept until it is taken back, or five later plans
//!   were applied to the same directory.

mod dot_git;
mod error;
mod host;
mod journal;
mod merge;
mod perform;
mod pick;
mod plan;
mod settle;
mod staging;
mod state;
#[cfg(test)]
mod tests;
mod undo;

pub use error::{Error, Result};
pub use host::Host;
pub use journal::{About, Journals, Session};
pub use plan::{Action, Options, Plan, Planned};
pub use undo::{Left, Undone};
