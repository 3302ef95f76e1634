//! How a server is set up.

use std::path::PathBuf;

/// Which tools a client sees. Each profile has the tools of the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// `vm_run` alone.
    VmRun,
    /// The main job in one workspace.
    WorkspaceCore,
    /// Everything.
    #[default]
    WorkspaceFull,
}

impl Profile {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VmRun => "vm-run",
            Self::WorkspaceCore => "workspace-core",
            Self::WorkspaceFull => "workspace-full",
        }
    }
}

/// What a server may do, and where it stands.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which tools there are.
    pub profile: Profile,
    /// Host directories that tools may read from and write to. Empty: the client's roots, else
    /// `directory`.
    pub allow_roots: Vec<PathBuf>,
    /// The directory that the server was started in.
    pub directory: PathBuf,
    /// The home directory of whoever runs the server.
    pub user_home: Option<PathBuf>,
}
