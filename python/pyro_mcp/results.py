"""The documents that `pyro ... --json` prints, as types.

They are plain dictionaries. Fields may be added by newer versions of pyro. A class that ends in
`Bytes` holds the fields that are there only when a text is not exact: bytes that are not UTF-8 are
replaced in the text, and the field beside it has all of them in Base64; `exact_bytes` reads both.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal, TypedDict


class Base64Bytes(TypedDict):
    """Bytes that are not UTF-8."""

    b64: str


BytesText = str | Base64Bytes
"""A host path or a word of a command: text, or `{"b64": ...}` where it is not UTF-8."""


def exact_bytes(document: Mapping[str, Any], field: str) -> bytes:
    """The exact bytes of a document's field, such as `stdout` or `path`.

    For a host path, `os.fsdecode` makes a path of them.
    """
    value = document[field]
    if isinstance(value, Mapping):
        return base64.b64decode(value["b64"])
    encoded = document.get(f"{field}_b64")
    if encoded is not None:
        return base64.b64decode(encoded)
    return str(value).encode()


class EnvironmentSummary(TypedDict):
    """One environment in short."""

    name: str
    description: str
    state: Literal["installed", "absent", "broken"]
    size_bytes: int | None
    digest: str | None
    built_at: str | None


class EnvironmentList(TypedDict):
    """All environments, smallest first."""

    environments: list[EnvironmentSummary]


class Package(TypedDict):
    """One package of an environment."""

    name: str
    version: str


class EnvironmentOrigin(TypedDict):
    """Where an environment came from that was not built from packages."""

    source: str
    manifest: str | None
    baseline: str
    env: list[str]
    user: str
    working_dir: str
    entrypoint: list[str]
    cmd: list[str]


class _EnvironmentOrigins(TypedDict, total=False):
    origin: EnvironmentOrigin


class EnvironmentDetail(EnvironmentSummary, _EnvironmentOrigins):
    """Everything known of one environment; `origin` unless it was built from packages."""

    root_image: str | None
    kernel: str | None
    packages: list[Package]


class EnvironmentPrune(TypedDict):
    """What was removed, or would be."""

    removed: list[str]
    freed_bytes: int
    dry_run: bool


class CommandBytes(TypedDict, total=False):
    """Exact output where it is not UTF-8."""

    stdout_b64: str
    stderr_b64: str


class CommandResult(CommandBytes):
    """How a command ended. A failure in the guest is a result, too: see `exit_code`."""

    environment: str
    command: str
    """The command as a shell line."""
    cwd: str
    stdout: str
    """At most the first 4 MiB."""
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    exit_code: int
    """128 + n after signal n, 124 after a timeout, 126 or 127 if it could not be executed."""
    timed_out: bool
    duration_ms: int
    execution_mode: str


class LogEntry(CommandResult):
    """One logged command of a workspace."""

    workspace_id: str
    sequence: int
    argv: list[BytesText]
    started_at: str
    killed: bool


class WorkspaceLogs(TypedDict):
    """The commands of a workspace that have ended, in order, and the numbers of those that run."""

    workspace_id: str
    entries: list[LogEntry]
    running: list[int]


class ExecView(CommandBytes):
    """How a detached command stands, and a part of what it has printed."""

    workspace_id: str
    sequence: int
    command: str
    cwd: str
    state: Literal["running", "exited"]
    started_at: str
    exit_code: int | None
    timed_out: bool
    killed: bool
    duration_ms: int
    stdout: str
    stderr: str
    stdout_cursor: int
    stderr_cursor: int
    stdout_next_cursor: int
    """Cursor of the next read."""
    stderr_next_cursor: int
    stdout_truncated: bool
    """There is more to read."""
    stderr_truncated: bool
    execution_mode: str


class VmInfo(TypedDict):
    """One VM."""

    vm_id: str
    environment: str
    state: Literal["created", "started", "stopped"]
    vcpu_count: int
    mem_mib: int
    disk_mib: int
    execution_mode: str
    network_enabled: bool
    created_at: str
    expires_at: str | None
    stop_reason: str | None


class VmList(TypedDict):
    """All VMs, oldest first."""

    vms: list[VmInfo]


class VmExec(CommandResult):
    """How the command of a VM ended; the VM is gone."""

    vm_id: str
    deleted: Literal[True]


class VmDelete(TypedDict):
    """The VM is gone."""

    vm_id: str
    deleted: Literal[True]


class VmNetworkInfo(TypedDict):
    """What network a VM's guest has."""

    vm_id: str
    network_enabled: bool
    network_policy: str
    guest_ip: str | None
    gateway_ip: str | None
    dns_ip: str | None


class VmReapExpired(TypedDict):
    """What expired and was deleted since the last such call."""

    count: int
    reaped_vm_ids: list[str]
    reaped_workspace_ids: list[str]


class SkippedEntry(TypedDict):
    """Something that a tree cannot hold, or that was left out as asked."""

    path: str
    reason: str


class WorkspaceSeed(TypedDict):
    """What `/workspace` started from."""

    mode: Literal["empty", "directory", "archive"]
    seed_path: BytesText | None
    destination: str
    entry_count: int
    bytes_written: int
    bytes_stored: int
    skipped: list[SkippedEntry]
    warnings: list[str]


class LastCommand(TypedDict):
    """The last command of a workspace."""

    command: str
    exit_code: int


class Served(TypedDict):
    """What has crossed to the guest."""

    content_bytes: int
    tree_bytes: int
    requests: int


class WorkspaceInfo(TypedDict):
    """One workspace."""

    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    state: Literal["creating", "started", "stopped"]
    workspace_path: str
    execution_mode: str
    vcpu_count: int
    mem_mib: int
    disk_mib: int
    network_enabled: bool
    user: str
    command_count: int
    last_command: LastCommand | None
    workspace_seed: WorkspaceSeed
    baseline: str
    baseline_tree: str
    served: Served
    created_at: str
    expires_at: str | None
    stop_reason: str | None


class WorkspaceList(TypedDict):
    """All workspaces, oldest first."""

    workspaces: list[WorkspaceInfo]


class WorkspaceDelete(TypedDict):
    """The workspace is gone."""

    workspace_id: str
    deleted: Literal[True]


class SyncPush(TypedDict):
    """What was pushed."""

    workspace_id: str
    source_path: BytesText
    destination: str
    entry_count: int
    changed_count: int
    bytes_written: int
    bytes_sent: int
    skipped: list[SkippedEntry]
    warnings: list[str]
    execution_mode: str


ArtifactType = Literal["file", "directory", "symlink"]


class ExportBytes(TypedDict, total=False):
    """Exact path where it is not UTF-8."""

    workspace_path_b64: str


class Export(ExportBytes):
    """What was exported."""

    workspace_id: str
    workspace_path: str
    output_path: BytesText
    artifact_type: ArtifactType
    entry_count: int
    bytes_written: int
    bytes_fetched: int
    tree: str
    frozen: bool
    paused_us: int
    deleted: list[str]
    """With `changed`: what the baseline has and this has not."""
    skipped: list[SkippedEntry]
    warnings: list[str]
    """Changed files that a program on the host may execute without being asked."""
    execution_mode: str


class DiffEntryBytes(TypedDict, total=False):
    """Fields that only some entries have."""

    path_b64: str
    old_artifact_type: ArtifactType
    old_target: str
    new_target: str
    renamed_from: str
    renamed_from_b64: str
    copied_from: str
    copied_from_b64: str
    lines_added: int
    lines_removed: int
    patch_offset: int
    """First byte of the entry's part of the whole patch."""
    patch_len: int


class DiffEntry(DiffEntryBytes):
    """One path that differs."""

    path: str
    status: Literal["added", "modified", "deleted", "type_changed"]
    artifact_type: ArtifactType
    text_patch: str | None
    old_hash: str | None
    new_hash: str | None
    old_size: int | None
    new_size: int | None
    old_mode: str | None
    new_mode: str | None


class DiffSummary(TypedDict):
    """Counts."""

    total: int
    added: int
    modified: int
    deleted: int
    type_changed: int
    text_patched: int
    non_text: int


# `from` is a keyword: no class can have it.
Rename = TypedDict("Rename", {"from": str, "to": str, "file_count": int})
"""A directory that was moved."""


class ReportStats(TypedDict):
    """What finding out has cost."""

    records: int
    report_bytes: int
    visited: int
    hashed_bytes: int
    cached_files: int
    fetched_bytes: int
    frozen: bool
    """Nothing ran in the guest meanwhile: what is shown is one moment."""
    paused_us: int


class DiffBytes(TypedDict, total=False):
    """Exact patch where it is not UTF-8."""

    patch_b64: str


class Hidden(TypedDict):
    """How many differences are not shown, by what hides them."""

    by_path: int
    by_exclude: int
    by_gitignore: int


class Diff(DiffBytes):
    """What differs from the baseline."""

    workspace_id: str
    changed: bool
    tree: str
    """Names exactly what is shown, for whatever takes a `tree`."""
    pinned: bool
    """The host holds all of that tree, whatever becomes of the guest."""
    from_tree: str
    baseline_tree: str
    summary: DiffSummary
    entries: list[DiffEntry]
    renames: list[Rename]
    skipped: list[SkippedEntry]
    hidden: Hidden
    patch: str
    """Text patch of at most 1 MiB, for `git apply` or `patch -p1`."""
    patch_truncated: bool
    report: ReportStats
    execution_mode: str


class _ApplyBytes(TypedDict, total=False):
    path_b64: str


class ApplyEntry(_ApplyBytes):
    """What is done about a path."""

    path: str
    action: str
    """`create`, `replace`, `merge`, `mode`, `delete`, `keep`, `conflict` or `refused`."""
    reason: str | None
    """Why nothing is done, or not all of it."""
    written_to: str | None
    """Where the workspace's side of a conflict is written."""
    size: int


class ApplySummary(TypedDict):
    """How many paths."""

    total: int
    created: int
    replaced: int
    merged: int
    mode_changed: int
    deleted: int
    kept: int
    conflicts: int
    refused: int
    unchanged: int
    """As the workspace has them already; not among the entries."""


class Apply(TypedDict):
    """What came home, or is to."""

    workspace_id: str
    host_path: BytesText
    tree: str
    applied: bool
    """It was done; otherwise this is only the plan, or there was nothing to do."""
    summary: ApplySummary
    entries: list[ApplyEntry]
    hidden: Hidden
    bytes_written: int
    bytes_fetched: int
    warnings: list[str]
    frozen: bool
    paused_us: int
    execution_mode: str


class LeftEntry(_ApplyBytes):
    """A path that is not as it was."""

    path: str
    reason: str
    kept_at: BytesText | None
    """Host file that keeps what was there."""


class ApplyUndo(TypedDict):
    """What was taken back."""

    workspace_id: str
    host_path: BytesText
    tree: str
    applied_at: str
    restored_count: int
    left: list[LeftEntry]


class GitFetch(TypedDict):
    """The branch that was made, and what it cost."""

    workspace_id: str
    repository: BytesText
    branch: str
    commit: str
    commit_count: int
    """Commits that no other ref of the repository reaches."""
    tree: str
    bytes_fetched: int
    frozen: bool
    paused_us: int


class SnapshotInfo(TypedDict):
    """A tree with a name."""

    name: str
    tree: str
    changed_count: int
    created_at: str


class SnapshotCreate(TypedDict):
    """The snapshot that was made, and what it cost."""

    workspace_id: str
    snapshot: SnapshotInfo
    bytes_fetched: int
    frozen: bool
    paused_us: int
    skipped: list[SkippedEntry]


class SnapshotList(TypedDict):
    """The snapshots of a workspace, oldest first."""

    workspace_id: str
    baseline_tree: str
    snapshots: list[SnapshotInfo]


class SnapshotDelete(TypedDict):
    """The snapshot is forgotten."""

    workspace_id: str
    name: str
    deleted: Literal[True]


class ShellInfo(TypedDict):
    """One shell."""

    workspace_id: str
    shell_id: str
    cwd: str
    cols: int
    rows: int
    state: Literal["running", "stopped"]
    started_at: str
    ended_at: str | None
    exit_code: int | None
    execution_mode: str


class ShellList(TypedDict):
    """The shells that were not closed, oldest first."""

    shells: list[ShellInfo]


class ShellReadBytes(TypedDict, total=False):
    """Exact output where it is not UTF-8."""

    output_b64: str


class ShellRead(ShellInfo, ShellReadBytes):
    """What a shell printed from a cursor on."""

    cursor: int
    """Where `output` begins: after the cursor asked for if what was there is no longer kept."""
    next_cursor: int
    """Cursor of the next read."""
    output: str
    truncated: bool
    """Something was no longer kept, or there is more to read."""


class ShellWrite(ShellInfo):
    """What was typed."""

    input_length: int
    append_newline: bool


class ShellSignal(ShellInfo):
    """Which signal was sent, without `SIG`."""

    signal: str


class ShellClose(ShellInfo):
    """The shell as it ended."""

    closed: Literal[True]


class Check(TypedDict):
    """One check of the doctor."""

    name: str
    status: Literal["ok", "warning", "failed"]
    message: str
    hint: str | None


class Doctor(TypedDict):
    """Whether this machine can run microVMs."""

    ready: bool
    version: str
    home: BytesText
    execution_mode: str | None
    checks: list[Check]
