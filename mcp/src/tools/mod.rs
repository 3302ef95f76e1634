//! The tools, each beside its arguments.

mod apply;
mod diff;
mod exec;
mod logs;
mod passed;
mod shell;
mod vm;
mod words;
mod workspace;

use crate::options::Profile::{VmRun, WorkspaceCore, WorkspaceFull};
use crate::tool::Entry;

/// Every tool, in the order in which clients see them.
pub fn all() -> Vec<Entry> {
    vec![
        Entry::new::<vm::RunOnce>(VmRun),
        Entry::new::<pyro_api::EnvironmentList>(WorkspaceFull),
        Entry::new::<workspace::Create>(WorkspaceCore),
        Entry::new::<workspace::Push>(WorkspaceCore),
        Entry::new::<exec::Exec>(WorkspaceCore),
        Entry::new::<exec::Read>(WorkspaceCore),
        Entry::new::<exec::Wait>(WorkspaceCore),
        Entry::new::<exec::Kill>(WorkspaceCore),
        Entry::new::<diff::Diff>(WorkspaceCore),
        Entry::new::<workspace::Export>(WorkspaceCore),
        Entry::new::<workspace::Status>(WorkspaceCore),
        Entry::new::<workspace::List>(WorkspaceCore),
        Entry::new::<logs::Logs>(WorkspaceCore),
        Entry::new::<pyro_api::WorkspaceDelete>(WorkspaceCore),
        Entry::new::<workspace::Stop>(WorkspaceFull),
        Entry::new::<workspace::Start>(WorkspaceFull),
        Entry::new::<apply::Apply>(WorkspaceFull),
        Entry::new::<apply::Undo>(WorkspaceFull),
        Entry::new::<workspace::Fetch>(WorkspaceFull),
        Entry::new::<pyro_api::SnapshotCreate>(WorkspaceFull),
        Entry::new::<pyro_api::SnapshotList>(WorkspaceFull),
        Entry::new::<pyro_api::SnapshotDelete>(WorkspaceFull),
        Entry::new::<pyro_api::WorkspaceReset>(WorkspaceFull),
        Entry::new::<pyro_api::WorkspaceFork>(WorkspaceFull),
        Entry::new::<shell::Open>(WorkspaceFull),
        Entry::new::<shell::Read>(WorkspaceFull),
        Entry::new::<shell::Write>(WorkspaceFull),
        Entry::new::<pyro_api::ShellSignal>(WorkspaceFull),
        Entry::new::<pyro_api::ShellList>(WorkspaceFull),
        Entry::new::<pyro_api::ShellClose>(WorkspaceFull),
        Entry::new::<pyro_api::VmCreate>(WorkspaceFull),
        Entry::new::<pyro_api::VmStart>(WorkspaceFull),
        Entry::new::<vm::ExecOnce>(WorkspaceFull),
        Entry::new::<pyro_api::VmStop>(WorkspaceFull),
        Entry::new::<pyro_api::VmDelete>(WorkspaceFull),
        Entry::new::<pyro_api::VmStatus>(WorkspaceFull),
        Entry::new::<pyro_api::VmNetworkInfo>(WorkspaceFull),
        Entry::new::<pyro_api::VmReapExpired>(WorkspaceFull),
    ]
}

#[cfg(test)]
mod tests;
