//! The daemon's calls as types: what is asked, what is answered, and the JSON of both.
//!
//! ```text
//! POST /v1/<Call::NAME>  body: the call as JSON
//!   ◀── one JSON document a line: Event::Progress*, Event::Output*, then Event::Result or ::Error
//! ```
//!
//! Every door (command line, MCP, SDK) makes these calls and adds nothing of its own. Hanging up
//! cancels a call and undoes what it had half done.

mod apply;
mod build;
mod bytes_text;
mod call;
mod client;
mod daemon;
mod diff;
mod environment;
mod error;
mod event;
mod exec;
mod git;
mod home;
mod kernel;
mod shell;
mod snapshot;
mod store;
mod vm;
mod workspace;

pub use apply::{
    ApplyAction, ApplyEntry, ApplyReply, ApplySummary, ApplyUndoReply, LeftEntry, WorkspaceApply,
    WorkspaceApplyUndo,
};
pub use build::build_id;
pub use bytes_text::{BytesText, shell_join};
pub use call::Call;
pub use client::{Client, ClientError, Launcher, MAX_CALL};
pub use daemon::{
    Check, CheckStatus, DaemonStatus, DaemonStatusReply, Doctor, DoctorReply, Shutdown,
    ShutdownReply,
};
pub use diff::{
    ArtifactType, DiffEntry, DiffReply, DiffSummary, Hidden, Rename, ReportStats, SkippedEntry,
    Status, WorkspaceDiff,
};
pub use environment::{
    EnvironmentCreate, EnvironmentDetail, EnvironmentImport, EnvironmentInspect, EnvironmentList,
    EnvironmentListReply, EnvironmentOrigin, EnvironmentPrune, EnvironmentPruneReply,
    EnvironmentPull, EnvironmentRemove, EnvironmentState, EnvironmentSummary, Package,
};
pub use error::{ErrorBody, ErrorCode, ErrorDocument};
pub use event::{Event, OutputStream};
pub use exec::{
    CommandResult, ExecAttach, ExecKill, ExecRead, ExecStart, ExecState, ExecView, LogEntry, Run,
    WorkspaceExec, WorkspaceLogs, WorkspaceLogsReply,
};
pub use git::{GitFetch, GitFetchReply};
pub use home::{Home, HomeError};
pub use kernel::{KernelBuild, KernelInfo, KernelRemove, KernelReply, KernelShow};
pub use shell::{
    ShellClose, ShellCloseReply, ShellFollow, ShellInfo, ShellList, ShellListReply, ShellOpen,
    ShellRead, ShellReadReply, ShellResize, ShellSignal, ShellSignalReply, ShellState, ShellWrite,
    ShellWriteReply,
};
pub use snapshot::{
    SnapshotCreate, SnapshotCreateReply, SnapshotDelete, SnapshotDeleteReply, SnapshotInfo,
    SnapshotList, SnapshotListReply, WorkspaceFork, WorkspaceReset,
};
pub use store::{
    BaselineSummary, BaselineUsage, Damage, StoreCat, StoreCatReply, StoreCheckout,
    StoreCheckoutReply, StoreDelete, StoreDeleteReply, StoreDiff, StoreDiffReply, StoreEntry,
    StoreExportBundle, StoreExportBundleReply, StoreFindChunk, StoreFindChunkReply, StoreGc,
    StoreGcReply, StoreImportBundle, StoreImportBundleReply, StoreIngest, StoreIngestReply,
    StoreList, StoreListReply, StoreLs, StoreLsReply, StoreMount, StoreMountReply,
    StoreRebuildIndex, StoreRebuildIndexReply, StoreStats, StoreStatsReply, StoreUsage,
    StoreUsageReply, StoreVerify, StoreVerifyReply, StoredObject,
};
pub use vm::{
    VM_TTL_SECONDS, VmCreate, VmDelete, VmDeleteReply, VmExec, VmExecReply, VmInfo, VmList,
    VmListReply, VmNetworkInfo, VmNetworkInfoReply, VmReapExpired, VmReapExpiredReply, VmStart,
    VmState, VmStatus, VmStop,
};
pub use workspace::{
    Export, ExportReply, LastCommand, SeedMode, SeedOptions, Served, SyncPush, SyncPushReply,
    WorkspaceCreate, WorkspaceDelete, WorkspaceDeleteReply, WorkspaceInfo, WorkspaceList,
    WorkspaceListReply, WorkspaceSeed, WorkspaceStart, WorkspaceState, WorkspaceStatus,
    WorkspaceStop,
};

/// Number of the JSON shapes in this crate; rises when a field changes meaning or goes away.
pub const SCHEMA: u32 = 1;
