//! The agent's parts on this machine's own kernel, without a VM: lower layer, overlay, report, push
//! and commands in a private mount namespace. Needs root and `/dev/fuse`; skipped without.

mod exec;
mod host;
mod model;
mod property;
mod push;
mod shell;
mod sys;
mod world;
