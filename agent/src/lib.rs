//! The guest agent: PID 1 of a workspace VM.
//!
//! ```text
//! boot ── modules, disks, environment ── Hello ▶ Welcome ── /workspace ── Ready
//!
//! /workspace = overlay( lower: FUSE over the host's tree,  upper: the scratch disk )
//!              lower ◀── nodes and ranges, by path ── host        (lower)
//!              upper ──▶ change report                            (report)
//!              staged outside, renamed into place ◀── pushes      (push)
//! serve ── one call a connection: exec, report, cut, read, push, shells, power off
//! ```
//!
//! The agent keeps to the initramfs. Commands run in a second mount namespace whose root is the
//! environment, each in a cgroup of its own; they see neither the agent's files nor the hidden
//! parts of the overlay.

pub mod beneath;
pub mod boot;
pub mod confine;
pub mod content;
pub mod error;
pub mod exec;
pub mod freeze;
pub mod identity;
pub mod lower;
pub mod push;
pub mod report;
pub mod serve;
pub mod shell;
pub mod sys;
pub mod workspace;
