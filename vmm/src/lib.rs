//! The daemon: workspaces over machines, environments and the store.
//!
//! ```text
//! caller ─HTTP/JSON─▶ daemon ─▶ manager ─▶ workspace ─▶ machine (shim, QEMU) ─▶ guest agent
//!                                  │          ├─ guest: calls to the agent, content for the guest
//!                                  │          └─ report ─ merge ─ diff ─ patch ─ fetch ─ export
//!                                  ├─▶ store        (trees and chunks)
//!                                  └─▶ environments (root images, kernel)
//! ```
//!
//! [`daemon::run`] is all that the command line needs of it.

pub mod agent;
pub mod daemon;
pub mod error;
pub mod events;
pub mod guest;
pub mod manager;
pub mod seed;
pub mod vm;
pub mod workspace;
