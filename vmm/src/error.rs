//! What can go wrong in the daemon, and how it is told: kinds for programs, hints for people.

use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{ErrorBody, ErrorCode};
use pyro_format::{TreePath, escape};
use pyro_proto::ErrorKind;
use thiserror::Error;

use crate::guest::link::GuestError;
use crate::workspace::merge::MergeError;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure of a call.
#[derive(Debug, Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] pyro_store::Error),
    /// An environment failed.
    #[error(transparent)]
    Image(#[from] pyro_image::Error),
    /// An OCI image could not be had.
    #[error(transparent)]
    Oci(#[from] pyro_oci::Error),
    /// Changes could not be applied, or taken back.
    #[error(transparent)]
    Apply(#[from] pyro_apply::Error),
    /// The machine failed.
    #[error(transparent)]
    Machine(#[from] pyro_machine::Error),
    /// The guest failed.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The guest sent a change report that contradicts itself.
    #[error(transparent)]
    Report(#[from] MergeError<pyro_store::Error>),
    /// No workspace has this id or name.
    #[error("there is no workspace '{0}'")]
    UnknownWorkspace(String),
    /// `PYRO_BACKEND` names nothing that there is.
    #[error("PYRO_BACKEND is '{0}', which is no backend")]
    UnknownBackend(String),
    /// `PYRO_BACKEND` names a backend that does not work here.
    #[error("PYRO_BACKEND asks for {backend}, which does not work here: {reason}")]
    BackendUnusable {
        /// Its name.
        backend: &'static str,
        /// Why not.
        reason: String,
    },
    /// `PYRO_BACKEND` asks for no VM, and the caller did not allow it.
    #[error(
        "PYRO_BACKEND asks for host-compat, which runs commands without a VM and is not allowed"
    )]
    HostCompatNotAllowed,
    /// The workspace has run no command with this number.
    #[error("workspace {workspace} has run no command {sequence}")]
    UnknownCommand {
        /// Which workspace.
        workspace: String,
        /// Which number.
        sequence: u64,
    },
    /// More commands than this would run at once.
    #[error("workspace {0} has {1} commands running, which is as many as it may")]
    TooManyCommands(String, usize),
    /// No baseline's id begins like this.
    #[error("there is no baseline '{0}'")]
    UnknownBaseline(String),
    /// The workspace has no shell with this id.
    #[error("workspace {workspace} has no shell '{shell}'")]
    UnknownShell {
        /// The workspace's id.
        workspace: String,
        /// What was asked for, safe to show.
        shell: String,
        /// There was one.
        was_open: bool,
    },
    /// The shell's program has ended.
    #[error("the program of {shell} has ended")]
    ShellStopped {
        /// The workspace's id.
        workspace: String,
        /// The shell's id.
        shell: String,
    },
    /// The workspace's guest was booted by an older version.
    #[error("the guest of workspace {workspace} was started by an older pyro and has no {lacks}")]
    OldGuest {
        /// The workspace's id.
        workspace: String,
        /// What only newer guests have.
        lacks: &'static str,
    },
    /// A workspace without a VM has one user.
    #[error("a workspace without a VM (host-compat) has one user, root, who is this one outside")]
    SandboxUser,
    /// No VM has this id.
    #[error("there is no VM '{0}'")]
    UnknownVm(String),
    /// The id is that of a VM.
    #[error("there is no workspace '{0}': that is a VM")]
    NotAWorkspace(String),
    /// The id, or the name, is that of a workspace.
    #[error("there is no VM '{0}': that is a workspace")]
    NotAVm(String),
    /// The VM was not started, or has ended.
    #[error("VM {0} is not started")]
    VmNotStarted(String),
    /// The VM has its one command already.
    #[error("VM {0} has its command already")]
    VmTaken(String),
    /// Its time to live is over.
    #[error("the time of {0} is over: it is deleted")]
    Expired(String),
    /// The workspace's VM does not run.
    #[error("workspace {0} is stopped")]
    Stopped(String),
    /// The workspace is still being made, or being deleted.
    #[error("{0} is being {1}")]
    InTransition(String, &'static str),
    /// Another workspace has this name.
    #[error("a workspace called '{0}' exists already")]
    NameTaken(String),
    /// The guest did not get as far as taking calls.
    #[error("the guest did not boot: {reason}")]
    Boot {
        /// What it said, or that it said nothing.
        reason: String,
        /// The last lines of its console.
        console: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A path leaves `/workspace`.
    #[error("'{0}' is not a path inside /workspace")]
    Outside(String),
    /// A path that does not exist.
    #[error("{0} does not exist")]
    NoPath(String),
    /// The workspace holds another tree than the one that was reviewed.
    #[error("tree {wanted} can no longer be had from the workspace{}", and_changed(.changed))]
    TreeChanged {
        /// What was asked for.
        wanted: String,
        /// Files of which the host no longer gets the wanted content; none if it does not know
        /// the wanted tree.
        changed: Vec<TreePath>,
    },
    /// No snapshot has this name.
    #[error("workspace {workspace} has no snapshot '{name}'")]
    UnknownSnapshot {
        /// The workspace.
        workspace: String,
        /// What was asked for.
        name: String,
    },
    /// A snapshot has this name already.
    #[error("workspace {workspace} has a snapshot '{name}' already")]
    SnapshotExists {
        /// The workspace.
        workspace: String,
        /// What was asked for.
        name: String,
    },
    /// Commits cannot be brought home.
    #[error("{what}")]
    Git {
        /// What is wrong.
        what: String,
        /// The way out.
        hint: String,
    },
    /// The host repository has such a branch.
    #[error("the repository has a branch '{0}' already")]
    BranchExists(String),
    /// A host directory is not the one that a workspace came from.
    #[error("{} is not where the workspace came from{}", quoted(.dir), and_seed(.seed.as_deref()))]
    NotTheSeed {
        /// The directory.
        dir: PathBuf,
        /// Where it came from.
        seed: Option<PathBuf>,
    },
    /// What was applied last to a directory is of another workspace.
    #[error("what was applied last to {} is of workspace {last}", quoted(.dir))]
    NotLastApplied {
        /// The directory.
        dir: PathBuf,
        /// Name or id of the workspace.
        last: String,
    },
    /// Files whose content changed each time it was fetched.
    #[error("{} keep changing, '{}' for one", .0.len(), .0.first().map(TreePath::to_string).unwrap_or_default())]
    Unsteady(Vec<TreePath>),
    /// A call that no daemon knows.
    #[error("there is no call '{0}'")]
    UnknownCall(String),
    /// This build cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// An operation on a file failed.
    #[error("cannot {action} {}", escape(path.as_os_str().as_encoded_bytes()))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record of a workspace is damaged.
    #[error("the record {} is damaged: {reason}", escape(path.as_os_str().as_encoded_bytes()))]
    BadRecord {
        /// The record's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What a workspace needs cannot be known, because its record is damaged.
    #[error(
        "the record of the workspace in {} cannot be read, so what it needs cannot be told",
        escape(.0.as_os_str().as_encoded_bytes())
    )]
    UnreadableWorkspace(PathBuf),
    /// No stored object has an id that begins like this.
    #[error("the store has nothing whose id begins with '{0}'")]
    NoObject(String),
    /// A baseline is a workspace's.
    #[error("baseline {baseline} is used by workspace {workspace}")]
    BaselineInUse {
        /// Which.
        baseline: String,
        /// Whose.
        workspace: String,
    },
    /// An environment is made from a baseline.
    #[error("baseline {0} is what an environment is made from")]
    BaselineOfEnvironment(String),
    /// The caller hung up.
    #[error("cancelled")]
    Cancelled,
    /// A worker thread died.
    #[error("a part of the daemon failed: {0}")]
    Panicked(String),
}

/// The way out where nothing is at a path.
const SPELLING: &str = "check the spelling; names are exact, and links are not followed";
/// The way out where a path leaves the workspace.
const INSIDE: &str = "paths are relative to /workspace, or absolute below it, without '..'";

fn quoted(path: &Path) -> String {
    format!("'{}'", escape(path.as_os_str().as_encoded_bytes()))
}

fn and_seed(seed: Option<&Path>) -> String {
    seed.map(|seed| format!(", which is {}", quoted(seed))).unwrap_or_default()
}

/// Names changed files, the first few.
fn and_changed(paths: &[TreePath]) -> String {
    const NAMED: usize = 5;
    if paths.is_empty() {
        return String::new();
    }
    let named: Vec<_> = paths.iter().take(NAMED).map(|path| format!("'{path}'")).collect();
    let more = if paths.len() > NAMED {
        format!(" and {} more", paths.len() - NAMED)
    } else {
        String::new()
    };
    format!("; changed since: {}{more}", named.join(", "))
}

impl Error {
    /// For `map_err`: what was tried on which path.
    pub fn io<E: Into<io::Error>>(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// As every door shows it: the whole chain, a code and the way out.
    pub fn to_body(&self) -> ErrorBody {
        let (code, hint) = self.classify();
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            let text = source.to_string();
            // A transparent variant shows its source's text already.
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            cause = source.source();
        }
        ErrorBody { code, message, hint }
    }

    fn classify(&self) -> (ErrorCode, Option<String>) {
        let hint = |text: &str| Some(text.to_owned());
        if self.is_out_of_space() {
            return (
                ErrorCode::NoSpace,
                hint("free some space and try again; nothing was changed"),
            );
        }
        match self {
            Self::Store(error) => store(error),
            Self::Image(error) => image(error),
            Self::Oci(error) => oci(error),
            Self::Apply(error) => apply(error),
            Self::NotTheSeed { .. } => (
                ErrorCode::InvalidArgument,
                hint("name that directory, or pass --elsewhere to change another one"),
            ),
            Self::NotLastApplied { dir, last } => (
                ErrorCode::Conflict,
                Some(format!(
                    "take that back first: 'pyro workspace apply {last} {} --undo'",
                    quoted(dir)
                )),
            ),
            Self::Machine(error) => machine(error),
            Self::Guest(error) => guest(error),
            Self::Report(MergeError::Source(error)) => store(error),
            Self::Report(MergeError::Invalid(_)) => (
                ErrorCode::GuestFailed,
                hint(
                    "the guest may be compromised: take nothing more from it and delete the workspace",
                ),
            ),
            Self::UnknownWorkspace(_) => {
                (ErrorCode::UnknownWorkspace, hint("'pyro workspace list' shows all of them"))
            }
            Self::UnknownVm(_) => (
                ErrorCode::UnknownVm,
                hint("'pyro vm list' shows all of them; a VM is deleted after its --ttl-seconds"),
            ),
            Self::NotAWorkspace(id) => {
                (ErrorCode::UnknownWorkspace, Some(format!("'pyro vm status {id}' shows it")))
            }
            Self::NotAVm(id) => {
                (ErrorCode::UnknownVm, Some(format!("'pyro workspace status {id}' shows it")))
            }
            Self::VmNotStarted(id) => {
                (ErrorCode::WorkspaceState, Some(format!("'pyro vm start {id}' boots it")))
            }
            Self::VmTaken(_) => {
                (ErrorCode::Busy, hint("a VM runs one command and is gone then: make another one"))
            }
            Self::Expired(_) => {
                (ErrorCode::WorkspaceState, hint("give the next one more time: --ttl-seconds"))
            }
            Self::UnknownBackend(_) => (
                ErrorCode::InvalidArgument,
                hint(
                    "it is one of firecracker, qemu-kvm, qemu-tcg, host-compat, or unset: then a VM that works",
                ),
            ),
            Self::BackendUnusable { .. } => (
                ErrorCode::Unsupported,
                hint(
                    "'pyro doctor' tells what works here; without PYRO_BACKEND the strongest that works is taken",
                ),
            ),
            Self::HostCompatNotAllowed => (
                ErrorCode::Unsupported,
                hint(
                    "--allow-host-compat allows it: commands then share the kernel of this machine",
                ),
            ),
            Self::UnknownCommand { workspace, .. } => (
                ErrorCode::UnknownCommand,
                Some(format!("'pyro workspace logs {workspace}' shows all of them")),
            ),
            Self::TooManyCommands(id, _) => (
                ErrorCode::Busy,
                Some(format!(
                    "wait for one to end, or kill one: 'pyro workspace exec kill {id} SEQUENCE'"
                )),
            ),
            Self::UnknownBaseline(_) => {
                (ErrorCode::UnknownBaseline, hint("'pyro store list' shows all baselines"))
            }
            Self::UnknownShell { workspace, was_open, .. } => {
                let list =
                    format!("'pyro workspace shell list {workspace}' shows those that are open");
                let why = "it was closed, or ended when the workspace's VM did; ";
                let why = if *was_open { why } else { "" };
                (ErrorCode::UnknownShell, Some(format!("{why}{list}")))
            }
            Self::ShellStopped { workspace, .. } => (
                ErrorCode::ShellStopped,
                Some(format!(
                    "what it printed can be read until it is closed; 'pyro workspace shell open \
                     {workspace}' opens another"
                )),
            ),
            Self::OldGuest { workspace, lacks } => (
                ErrorCode::Unsupported,
                Some(format!(
                    "stop and start the workspace to get {lacks}: 'pyro workspace stop {workspace}', \
                     then 'pyro workspace start {workspace}'; its files stay"
                )),
            ),
            Self::SandboxUser => {
                (ErrorCode::Unsupported, Some("do without --user, or run it in a VM".to_owned()))
            }
            Self::Stopped(id) => (
                ErrorCode::WorkspaceState,
                Some(format!("'pyro workspace start {id}' boots it again, its files as they were")),
            ),
            Self::InTransition(..) => (ErrorCode::WorkspaceState, hint("try again in a moment")),
            Self::NameTaken(_) => (ErrorCode::AlreadyExists, hint("choose another name")),
            Self::Boot { console, .. } => (
                ErrorCode::BootFailed,
                Some(if console.is_empty() {
                    "'pyro doctor' checks what a guest needs".to_owned()
                } else {
                    format!("the end of its console:\n{console}")
                }),
            ),
            Self::Invalid(_) => (ErrorCode::InvalidArgument, None),
            Self::Outside(_) => (ErrorCode::OutsideWorkspace, hint(INSIDE)),
            Self::NoPath(_) => (ErrorCode::PathNotFound, hint(SPELLING)),
            Self::TreeChanged { .. } => (
                ErrorCode::TreeChanged,
                hint("run 'pyro workspace diff' again and export the tree that it shows"),
            ),
            Self::UnknownSnapshot { workspace, .. } => (
                ErrorCode::UnknownSnapshot,
                Some(format!(
                    "'pyro workspace snapshot list {workspace}' lists those that there are"
                )),
            ),
            Self::Git { hint, .. } => (ErrorCode::Conflict, Some(hint.clone())),
            Self::BranchExists(_) => {
                (ErrorCode::AlreadyExists, hint("name another with --branch, or --force moves it"))
            }
            Self::SnapshotExists { workspace, name } => (
                ErrorCode::AlreadyExists,
                Some(format!(
                    "choose another name, or 'pyro workspace snapshot delete {workspace} {name}' first"
                )),
            ),
            Self::Unsteady(_) => (
                ErrorCode::Busy,
                hint("something in the workspace is writing: wait for it to end, or stop it"),
            ),
            Self::UnknownCall(_) => (ErrorCode::InvalidArgument, None),
            Self::Unsupported(_) => (ErrorCode::Unsupported, None),
            Self::BadRecord { .. } => (ErrorCode::Damaged, None),
            Self::NoObject(_) => (ErrorCode::PathNotFound, None),
            Self::UnreadableWorkspace(_) => (
                ErrorCode::Damaged,
                hint("restore workspace.json there, or move the directory away to give it up"),
            ),
            Self::BaselineOfEnvironment(_) => (
                ErrorCode::Busy,
                hint("'pyro env list' shows them; 'pyro env remove' removes one with its baseline"),
            ),
            Self::BaselineInUse { .. } => {
                (ErrorCode::Busy, hint("delete the workspace first: its baseline goes with it"))
            }
            Self::Cancelled => (ErrorCode::Cancelled, None),
            Self::Io { .. } | Self::Panicked(_) => (ErrorCode::Internal, None),
        }
    }

    fn is_out_of_space(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
            }
            cause = error.source();
        }
        false
    }
}

fn store(error: &pyro_store::Error) -> (ErrorCode, Option<String>) {
    use pyro_store::Error as E;
    let hint = |text: &str| Some(text.to_owned());
    match error {
        E::Missing(_) | E::Damaged { .. } | E::Decode { .. } | E::BaselineRecord { .. } => (
            ErrorCode::Damaged,
            hint("'pyro store verify' names all that is damaged and every path that it reaches"),
        ),
        E::Bundle { .. } => (
            ErrorCode::BadArchive,
            hint("nothing was taken from it; export it again and compare the copies"),
        ),
        E::MountPoint { .. } => (
            ErrorCode::InvalidArgument,
            hint("name an empty directory outside PYRO_HOME; 'mkdir' makes one"),
        ),
        E::Fuse { source, .. } if source.kind() == io::ErrorKind::NotFound => (
            ErrorCode::MissingTool,
            hint("install the package fuse3 (fusermount3), and see that /dev/fuse is there"),
        ),
        E::Fuse { .. } => (
            ErrorCode::Unsupported,
            hint("mounting takes /dev/fuse and, without root, fusermount3 of the package fuse3"),
        ),
        E::Incomplete { .. } => (
            ErrorCode::Damaged,
            hint(
                "'pyro store verify' names what is missing; ingest its source again, or delete the baseline",
            ),
        ),
        E::ReadBack { .. } => (ErrorCode::Damaged, hint("the disk of PYRO_HOME may be failing")),
        E::NoBaseline(_) => {
            (ErrorCode::UnknownBaseline, hint("'pyro store list' shows all baselines"))
        }
        E::Source { .. } => (
            ErrorCode::UnreadableSource,
            hint("a source is a directory or a .tar, .tar.gz or .tgz archive"),
        ),
        E::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            (ErrorCode::PathNotFound, hint(SPELLING))
        }
        E::Io { action: "read" | "open" | "list", source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            (
                ErrorCode::UnreadableSource,
                hint("make it readable, leave it out with --exclude, or pass --skip-unreadable"),
            )
        }
        E::SourceOverlapsStore { .. } => {
            (ErrorCode::InvalidArgument, hint("choose another source, or move PYRO_HOME"))
        }
        E::Changing(_) => (
            ErrorCode::ChangingSource,
            hint("stop what writes to it, leave it out with --exclude, or pass --allow-changing"),
        ),
        E::Member { .. } | E::Archive { .. } => (
            ErrorCode::BadArchive,
            hint("nothing was taken from the archive; unpack it yourself and use the directory"),
        ),
        E::Pattern { .. } | E::Name { .. } | E::TooDeep { .. } | E::BadTarget(_) => {
            (ErrorCode::InvalidArgument, None)
        }
        E::Path(_) => (ErrorCode::OutsideWorkspace, hint(INSIDE)),
        E::NoEntry(_) => (ErrorCode::PathNotFound, hint(SPELLING)),
        // Something on the way to the path is no directory.
        E::WrongKind { wanted: "directory", .. } => (ErrorCode::PathNotFound, hint(SPELLING)),
        E::WrongKind { .. } => (ErrorCode::InvalidArgument, None),
        E::NoParent(_) => (ErrorCode::PathNotFound, hint("make the directory first")),
        E::Exists(_) => {
            (ErrorCode::AlreadyExists, hint("choose another path, or pass --force to replace it"))
        }
        E::Locked(_) => (ErrorCode::Busy, None),
        E::NewerFormat { .. } => (ErrorCode::Unsupported, hint("install a newer pyro")),
        E::NotAStore { .. } => (ErrorCode::InvalidArgument, hint("choose another PYRO_HOME")),
        E::Cancelled => (ErrorCode::Cancelled, None),
        _ => (ErrorCode::Internal, None),
    }
}

fn apply(error: &pyro_apply::Error) -> (ErrorCode, Option<String>) {
    use pyro_apply::Error as E;
    let hint = |text: &str| Some(text.to_owned());
    match error {
        E::Store(error) => store(error),
        E::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
            (ErrorCode::InvalidArgument, hint("name a directory"))
        }
        E::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            (ErrorCode::Unsupported, hint("nothing was changed; make it writable for you"))
        }
        E::Changed(_) => {
            (ErrorCode::Busy, hint("nothing was changed; stop what writes there and try again"))
        }
        E::NothingToUndo(_) => (
            ErrorCode::Conflict,
            hint("what was applied to a directory is taken back newest first, five times at most"),
        ),
        E::BadJournal(_) => (
            ErrorCode::Damaged,
            hint("move its directory away to give up what could be taken back by it"),
        ),
        E::Stuck { .. } => (
            ErrorCode::Internal,
            hint("it is taken back at the next apply to this directory, or when the daemon starts"),
        ),
        _ => (ErrorCode::Internal, hint("nothing was changed")),
    }
}

fn image(error: &pyro_image::Error) -> (ErrorCode, Option<String>) {
    use pyro_image::Error as E;
    match error {
        E::Unknown { .. } => (
            ErrorCode::UnknownEnvironment,
            Some("'pyro env list' shows all environments".to_owned()),
        ),
        E::NotInstalled { name } | E::Broken { name, .. } | E::NoNetworkModules { name } => (
            ErrorCode::EnvironmentNotInstalled,
            Some(format!("'pyro env pull {name}' makes it usable")),
        ),
        E::NoKernel { .. } => (
            ErrorCode::EnvironmentNotInstalled,
            Some("'pyro env pull debian:12-base' brings one, for all environments".to_owned()),
        ),
        E::ToolMissing { package, .. } => {
            (ErrorCode::MissingTool, Some(format!("'apt-get install {package}' on Debian")))
        }
        E::Cancelled => (ErrorCode::Cancelled, None),
        _ => (ErrorCode::BuildFailed, None),
    }
}

fn oci(error: &pyro_oci::Error) -> (ErrorCode, Option<String>) {
    use pyro_oci::Error as E;
    let hint = |text: &str| Some(text.to_owned());
    match error {
        E::Reference { .. } => (
            ErrorCode::InvalidArgument,
            hint(
                "'pyro env list' shows the environments that there are; an image is called like 'python:3' or 'registry.example/team/app:1.2'",
            ),
        ),
        E::Registry { .. } => (
            ErrorCode::RegistryFailed,
            hint("what arrived is kept: the same command goes on from there"),
        ),
        E::Unauthorized { .. } => (
            ErrorCode::RegistryFailed,
            hint(
                "'docker login REGISTRY' puts credentials where pyro looks for them: ~/.docker/config.json",
            ),
        ),
        E::Credentials { .. } => {
            (ErrorCode::RegistryFailed, hint("mend or remove ~/.docker/config.json"))
        }
        E::NotFound(_) => {
            (ErrorCode::UnknownEnvironment, hint("check its name, its tag and its registry"))
        }
        E::Platform { .. } => (
            ErrorCode::Unsupported,
            Some(format!("build or choose an image for {}", pyro_oci::PLATFORM)),
        ),
        E::Digest { .. } => (
            ErrorCode::BadImage,
            hint("it was damaged on its way, or is not what it says it is: nothing of it is kept"),
        ),
        E::File { .. } | E::Image(_) => (ErrorCode::BadImage, None),
        E::Store(error) => store(error),
        E::Cancelled => (ErrorCode::Cancelled, None),
        E::Io { .. } => (ErrorCode::Internal, None),
    }
}

fn machine(error: &pyro_machine::Error) -> (ErrorCode, Option<String>) {
    use pyro_machine::Error as E;
    match error {
        E::QemuMissing => (
            ErrorCode::MissingTool,
            Some("'apt-get install --no-install-recommends qemu-system-x86' on Debian".to_owned()),
        ),
        E::FirecrackerMissing { .. } => (
            ErrorCode::MissingTool,
            Some("put it beside 'pyro' or on PATH, or name it: PYRO_FIRECRACKER=/path/to/firecracker".to_owned()),
        ),
        E::FirecrackerVersion { .. } => (
            ErrorCode::Unsupported,
            Some(format!("install Firecracker {}", pyro_machine::FIRECRACKER_VERSIONS)),
        ),
        E::JailerMissing { .. } => (
            ErrorCode::MissingTool,
            Some(
                "put 'jailer', of the same release, beside it; or run pyro as an ordinary user"
                    .to_owned(),
            ),
        ),
        E::JailerVersion { .. } => (
            ErrorCode::Unsupported,
            Some("install 'firecracker' and 'jailer' of one release".to_owned()),
        ),
        E::FirecrackerNetwork => (
            ErrorCode::Unsupported,
            Some("QEMU gives it one: do without PYRO_BACKEND, or without --network".to_owned()),
        ),
        E::SandboxMissing => (
            ErrorCode::MissingTool,
            Some("'apt-get install bubblewrap' on Debian".to_owned()),
        ),
        E::SandboxRefused { .. } => (
            ErrorCode::Unsupported,
            Some(
                "it takes user namespaces for everybody: see kernel.unprivileged_userns_clone, user.max_user_namespaces and AppArmor"
                    .to_owned(),
            ),
        ),
        E::FuseRefused(_) => (
            ErrorCode::Unsupported,
            Some("load the kernel's module fuse, and let this user read and write the device".to_owned()),
        ),
        E::SandboxNetwork => (
            ErrorCode::Unsupported,
            Some("do without --network, or run it in a VM, without PYRO_BACKEND=host-compat".to_owned()),
        ),
        E::NetworkUnsupported => (
            ErrorCode::Unsupported,
            Some("install a QEMU with it, as Debian's is, or do without --network".to_owned()),
        ),
        E::OutOfRange { .. } => (ErrorCode::InvalidArgument, None),
        E::NotRunning { .. } => (ErrorCode::WorkspaceState, None),
        E::Refused { .. } => (ErrorCode::GuestFailed, None),
        E::BootFailed { .. } => {
            (ErrorCode::BootFailed, Some("'pyro doctor' checks what a guest needs".to_owned()))
        }
        _ => (ErrorCode::Internal, None),
    }
}

fn guest(error: &GuestError) -> (ErrorCode, Option<String>) {
    match error {
        GuestError::Refused(error) => match error.kind {
            ErrorKind::NotFound => (ErrorCode::PathNotFound, Some(SPELLING.to_owned())),
            ErrorKind::Invalid => (ErrorCode::InvalidArgument, None),
            ErrorKind::Conflict => (
                ErrorCode::Conflict,
                Some(
                    "nothing was changed; remove what is in the way, or push elsewhere".to_owned(),
                ),
            ),
            ErrorKind::NoSpace => (
                ErrorCode::NoSpace,
                Some(
                    "the workspace's disk is full: remove something in it; nothing was changed"
                        .to_owned(),
                ),
            ),
            ErrorKind::Busy => (ErrorCode::Busy, Some("wait for the other push to end".to_owned())),
            ErrorKind::Ended => (ErrorCode::ShellStopped, None),
            ErrorKind::TooMany => (
                ErrorCode::Busy,
                Some(
                    "close one that is not needed: 'pyro workspace shell list' shows them"
                        .to_owned(),
                ),
            ),
            ErrorKind::Stuck => (
                ErrorCode::Busy,
                Some(
                    "wait until it reads again, or interrupt it: 'pyro workspace shell signal'"
                        .to_owned(),
                ),
            ),
            ErrorKind::UnknownUser => (
                ErrorCode::InvalidArgument,
                Some(
                    "'--user' takes a name that the environment's /etc/passwd has, a number, or root"
                        .to_owned(),
                ),
            ),
            ErrorKind::Io => (ErrorCode::GuestFailed, None),
        },
        GuestError::Generation(_) => (
            ErrorCode::Unsupported,
            Some(
                "export from it with the version of pyro that made it, then make a new workspace"
                    .to_owned(),
            ),
        ),
        _ => (
            ErrorCode::GuestFailed,
            Some("'pyro workspace status' tells whether its VM still runs".to_owned()),
        ),
    }
}
