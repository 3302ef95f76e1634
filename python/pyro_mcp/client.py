"""The SDK: one method for each thing that pyro does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pyro_mcp import binary as program
from pyro_mcp import process, results
from pyro_mcp.errors import InvalidArgument
from pyro_mcp.process import Word, flag, option, word
from pyro_mcp.server import PyroServer, Serve

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""A path on the host or in the guest. Any bytes can be given, also as `os.fsdecode` shows them."""

Command = str | bytes | Sequence[Path]
"""A shell command as one text (`sh -c TEXT` runs it), or a program and its arguments."""


class Pyro:
    """Runs commands in microVMs and tells what they changed.

    Every call runs the `pyro` program and returns its document, a dictionary as in
    `pyro_mcp.results`. Calls may be made from any number of threads. An exception that interrupts
    a call, such as `KeyboardInterrupt`, undoes what the call had half done before it is raised.

    Raises `PyroError`, or a subclass for the kinds that are worth catching. A guest's command that
    fails is no error: its result has the `exit_code`.
    """

    def __init__(
        self, *, binary: str | os.PathLike[str] | None = None, home: Path | None = None
    ) -> None:
        """Nothing is run yet.

        `binary`: the pyro program; else `PYRO_BINARY`, the one installed with this package, or the
        first on the `PATH`. `home`: where pyro keeps everything; else `PYRO_HOME` or its default.
        """
        self._given = binary
        self._home = None if home is None else os.path.abspath(os.fsdecode(home))
        self._binary: str | None = None

    # The program

    @property
    def binary(self) -> str:
        """Path of the pyro program, found and checked at the first use."""
        if self._binary is None:
            environment = self._environment()
            found = program.find(self._given, environment)
            program.check(found, environment)
            self._binary = found
        return self._binary

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if self._home is not None:
            environment["PYRO_HOME"] = self._home
        return environment

    def _call(
        self,
        name: str,
        *options: list[bytes],
        names: Sequence[Word] = (),
        command: Command | None = None,
        stdin: bytes | None = None,
    ) -> Any:
        """`pyro NAME OPTIONS -- NAMES`, or `pyro NAME OPTIONS NAMES -- COMMAND`."""
        words = name.encode().split()
        words += [given for some in options for given in some]
        if command is None:
            words += [b"--", *map(word, names)]
        else:
            words += [*map(_before_a_command, names), b"--", *_argv(command)]
        return process.document(self.binary, words, self._environment(), stdin)

    # The machine and its environments

    def doctor(self) -> results.Doctor:
        """Tells whether this machine can run microVMs, and what to do if it cannot."""
        return cast(results.Doctor, self._call("doctor"))

    def list_environments(self) -> results.EnvironmentList:
        """The environments, and whether they are installed."""
        return cast(results.EnvironmentList, self._call("env list"))

    def pull_environment(
        self, environment: str, *, force: bool = False
    ) -> results.EnvironmentDetail:
        """Builds an environment, such as `debian:12`, or fetches an OCI image, such as `python:3`.

        Checks the one that is there. Takes a minute or so. `force` makes it anew even so.
        """
        reply = self._call("env pull", flag("force", force), names=[environment])
        return cast(results.EnvironmentDetail, reply)

    def import_environment(self, path: Path, *, name: str) -> results.EnvironmentDetail:
        """Makes an environment of an image file: a docker archive, or an OCI layout."""
        reply = self._call("env import", option("name", name), names=[path])
        return cast(results.EnvironmentDetail, reply)

    def create_environment(self, name: str, *, from_dir: Path) -> results.EnvironmentDetail:
        """Makes an environment of a directory that holds a root file system."""
        reply = self._call("env create", option("from-dir", from_dir), names=[name])
        return cast(results.EnvironmentDetail, reply)

    def remove_environment(self, environment: str) -> results.EnvironmentPrune:
        """Removes an environment that was not built from packages, and what only it needed."""
        reply = self._call("env remove", names=[environment])
        return cast(results.EnvironmentPrune, reply)

    def inspect_environment(self, environment: str) -> results.EnvironmentDetail:
        """One environment with its image, kernel and packages."""
        return cast(results.EnvironmentDetail, self._call("env inspect", names=[environment]))

    def prune_environments(self, *, dry_run: bool = False) -> results.EnvironmentPrune:
        """Removes images that newer ones replaced and no workspace uses. `dry_run` only tells."""
        reply = self._call("env prune", flag("dry-run", dry_run))
        return cast(results.EnvironmentPrune, reply)

    # One command, one VM

    def run_in_vm(
        self,
        environment: str,
        command: Command,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: float | None = 30,
        ttl_seconds: int | None = None,
        network: bool = False,
        allow_host_compat: bool = False,
        disk_mib: int = 16384,
        user: str | None = None,
    ) -> results.CommandResult:
        """Runs one command in a VM of its own, which is gone afterwards.

        `command`: a text for `sh -c`, or the program and its arguments. `timeout_seconds`: the
        command is killed after that time (`None`: never) and the result says `timed_out`.
        `ttl_seconds`: the VM is ended after that time, whatever it does. `network`: gives the guest
        connections out to public addresses. `disk_mib`: most that the guest can write to its disk.
        `allow_host_compat`: where no VM can run, runs without one, with weaker isolation. `user`:
        who runs it, a name or a number, perhaps with `:GROUP` (`None`: the image's user, or root).
        """
        options = _machine(vcpu_count, mem_mib, disk_mib, ttl_seconds, network, allow_host_compat)
        options += option("user", user)
        options += option("timeout-seconds", timeout_seconds)
        reply = self._call("run", options, names=[environment], command=command)
        return cast(results.CommandResult, reply)

    def create_vm(
        self,
        environment: str,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int | None = None,
        network: bool = False,
        allow_host_compat: bool = False,
        disk_mib: int = 16384,
        user: str | None = None,
    ) -> results.VmInfo:
        """Makes a VM without starting it. It is deleted after `ttl_seconds` (`None`: 600).

        `user`: who runs its command, as in `create_workspace`.
        """
        options = _machine(vcpu_count, mem_mib, disk_mib, ttl_seconds, network, allow_host_compat)
        options += option("user", user)
        return cast(results.VmInfo, self._call("vm create", options, names=[environment]))

    def start_vm(self, vm_id: str) -> results.VmInfo:
        """Boots a VM; returns when its guest takes commands."""
        return cast(results.VmInfo, self._call("vm start", names=[vm_id]))

    def exec_vm(
        self, vm_id: str, *, command: Command, timeout_seconds: float | None = 30
    ) -> results.VmExec:
        """Runs one command in a started VM, then deletes the VM, whatever came of it."""
        options = option("timeout-seconds", timeout_seconds)
        return cast(results.VmExec, self._call("vm exec", options, names=[vm_id], command=command))

    def stop_vm(self, vm_id: str) -> results.VmInfo:
        """Ends a VM and keeps its files."""
        return cast(results.VmInfo, self._call("vm stop", names=[vm_id]))

    def delete_vm(self, vm_id: str) -> results.VmDelete:
        """Ends a VM and removes everything it had."""
        return cast(results.VmDelete, self._call("vm delete", names=[vm_id]))

    def status_vm(self, vm_id: str) -> results.VmInfo:
        """One VM."""
        return cast(results.VmInfo, self._call("vm status", names=[vm_id]))

    def list_vms(self) -> results.VmList:
        """All VMs, oldest first."""
        return cast(results.VmList, self._call("vm list"))

    def network_info_vm(self, vm_id: str) -> results.VmNetworkInfo:
        """What network a VM's guest has."""
        return cast(results.VmNetworkInfo, self._call("vm network", names=[vm_id]))

    def reap_expired(self) -> results.VmReapExpired:
        """Deletes VMs and workspaces whose time is over; tells which were, since the last call."""
        return cast(results.VmReapExpired, self._call("vm reap"))

    # Workspaces

    def create_workspace(
        self,
        environment: str,
        seed_path: Path | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        allow_changing: bool = False,
        skip_unreadable: bool = False,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: int | None = None,
        network: bool = False,
        allow_host_compat: bool = False,
        disk_mib: int = 16384,
        user: str | None = None,
    ) -> results.WorkspaceInfo:
        """Makes a VM whose `/workspace` starts as the seed; it is complete when this returns.

        `seed_path`: a directory, `.tar`, `.tar.gz` or `.tgz`; `/workspace` starts empty without.
        What it holds now is the baseline that `diff_workspace` compares with, and never changes.
        `name`: a name to use in place of the id. `exclude`: patterns as in a `.gitignore`;
        `gitignore`: leave out what the seed's own name. `allow_changing`: keep the last reading of
        a file that keeps changing; `skip_unreadable`: leave out what cannot be read. The workspace
        is deleted after `ttl_seconds`, when given. `user`: who runs commands and owns `/workspace`,
        a name or a number, perhaps with `:GROUP` (`None`: the image's user, or root).
        """
        options = _machine(vcpu_count, mem_mib, disk_mib, ttl_seconds, network, allow_host_compat)
        options += option("user", user)
        options += _source(exclude, gitignore, allow_changing, skip_unreadable)
        options += option("seed-path", seed_path) + option("name", name)
        options += _labels(labels)
        reply = self._call("workspace create", options, names=[environment])
        return cast(results.WorkspaceInfo, reply)

    def list_workspaces(self) -> results.WorkspaceList:
        """All workspaces, oldest first."""
        return cast(results.WorkspaceList, self._call("workspace list"))

    def status_workspace(self, workspace_id: str) -> results.WorkspaceInfo:
        """One workspace, by id or name."""
        return cast(results.WorkspaceInfo, self._call("workspace status", names=[workspace_id]))

    def push_workspace_sync(
        self,
        workspace_id: str,
        source_path: Path,
        *,
        dest: Path | None = None,
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        allow_changing: bool = False,
        skip_unreadable: bool = False,
    ) -> results.SyncPush:
        """Copies a host directory, archive or file into `/workspace`: all of it or nothing.

        `dest`: where it goes, absolute or below `/workspace`. The baseline stays what it was.
        """
        options = _source(exclude, gitignore, allow_changing, skip_unreadable) + option(
            "dest", dest
        )
        reply = self._call("workspace sync push", options, names=[workspace_id, source_path])
        return cast(results.SyncPush, reply)

    def exec_workspace(
        self,
        workspace_id: str,
        *,
        command: Command,
        timeout_seconds: float | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str | bytes] | None = None,
        user: str | None = None,
    ) -> results.LogEntry:
        """Runs a command in `/workspace`, logs it, and returns when it has ended.

        `command`: a text for `sh -c`, or the program and its arguments. `timeout_seconds`: the
        command is killed after that time. `cwd`: working directory, absolute or below `/workspace`.
        `user`: who runs it, in place of the workspace's user.
        """
        options = _execution(timeout_seconds, cwd, env, user)
        reply = self._call("workspace exec", options, names=[workspace_id], command=command)
        return cast(results.LogEntry, reply)

    def diff_workspace(
        self,
        workspace_id: str,
        *,
        full: bool = False,
        old: str | None = None,
        new: str | None = None,
        freeze: bool = True,
        pin: bool = True,
        paths: Sequence[Path] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        context: int | None = None,
        binary: bool = False,
    ) -> results.Diff:
        """What differs between `/workspace` and its baseline, whatever was pushed or run since.

        `full`: have the guest look at every file, not only at its changed layer. `old`, `new`:
        compare these instead, snapshots by name or trees by the id that a diff showed. Commands
        stand still for the moment that is shown, unless `freeze` is false. What is shown is brought
        to the host, so that it can be exported whatever the guest does since; `pin=False` leaves
        it in the guest. `paths`: show only what is there or below. `exclude`: do not show what
        these patterns name; `gitignore`: nor what was added and the tree's `.gitignore` files name.
        What is not shown is counted in `hidden`. `context`: lines around a change in the patch.
        `binary`: the patch carries binary files, too, for `git apply`.
        """
        options = flag("full", full) + option("from", old) + option("to", new)
        options += flag("no-freeze", not freeze) + flag("no-pin", not pin)
        options += _filter(exclude, gitignore) + option("unified", context)
        options += flag("binary", binary)
        reply = self._call("workspace diff", options, names=[workspace_id, *paths])
        return cast(results.Diff, reply)

    def export_workspace(
        self,
        workspace_id: str,
        path: Path,
        *,
        output_path: Path,
        force: bool = False,
        tree: str | None = None,
        snapshot: str | None = None,
        more_paths: Sequence[Path] = (),
        changed: bool = False,
        archive: bool = False,
    ) -> results.Export:
        """Copies a file, directory or link from `/workspace` to the host, whole or not at all.

        `path`: absolute or below `/workspace`; `.` is all of it. `output_path` must not exist,
        unless `force` replaces it. `tree`: exactly what `diff_workspace` showed with this id,
        whatever the guest did since, or `TreeChanged`. `snapshot`: from this snapshot. With
        `more_paths`, or with `changed` only what was added or differs from the baseline, it becomes
        a directory in which they are where they were. `archive`: a tar instead.
        """
        options = option("output", output_path) + flag("force", force)
        options += option("tree", tree) + option("snapshot", snapshot) + flag("changed", changed)
        options += option("format", "tar" if archive else None)
        reply = self._call("workspace export", options, names=[workspace_id, path, *more_paths])
        return cast(results.Export, reply)

    def apply_workspace(
        self,
        workspace_id: str,
        host_path: Path,
        *,
        dry_run: bool = False,
        tree: str | None = None,
        snapshot: str | None = None,
        paths: Sequence[Path] = (),
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        beside: bool = False,
        elsewhere: bool = False,
        freeze: bool = True,
    ) -> results.Apply:
        """Brings the changes into the directory that the workspace was seeded from.

        What changed on one side alone is taken; texts that changed on both sides in different
        places are merged; all else is a conflict, counted in `summary`, and stays as the host has
        it. After an error the directory is as it was. `dry_run`: only plan. `tree`: exactly the
        changes that `diff_workspace`, or a plan, showed with this id. `paths`, `exclude`,
        `gitignore`: leave out changes, as `diff_workspace` does; `hidden` counts them. `beside`:
        write the workspace's side of a conflict as `NAME.pyro-theirs`. `elsewhere`: let it be
        another directory.
        """
        options = flag("dry-run", dry_run) + flag("yes", not dry_run) + flag("beside", beside)
        options += option("tree", tree) + option("snapshot", snapshot)
        options += flag("elsewhere", elsewhere) + flag("no-freeze", not freeze)
        options += _filter(exclude, gitignore)
        names = [workspace_id, host_path, *paths]
        reply = self._call("workspace apply", options, names=names)
        return cast(results.Apply, reply)

    def undo_apply_workspace(self, workspace_id: str, host_path: Path) -> results.ApplyUndo:
        """Takes back what was applied last to a directory; what was changed since stays.

        The workspace need not exist any more.
        """
        reply = self._call("workspace apply", flag("undo", True), names=[workspace_id, host_path])
        return cast(results.ApplyUndo, reply)

    def fetch_workspace_git(
        self,
        workspace_id: str,
        *,
        branch: str | None = None,
        repository: Path | None = None,
        force: bool = False,
        tree: str | None = None,
        snapshot: str | None = None,
    ) -> results.GitFetch:
        """Makes a branch of a host repository of the commit that the workspace has checked out.

        Only objects cross, and git checks each; HEAD, configuration, hooks, working tree and other
        branches stay as they are. `branch`: `pyro/` and the workspace's name or id when not given.
        `repository`: else what the workspace was seeded from. `force`: move the branch if there is
        one.
        """
        options = option("branch", branch) + option("repo", repository) + flag("force", force)
        options += option("tree", tree) + option("snapshot", snapshot)
        reply = self._call("workspace git fetch", options, names=[workspace_id])
        return cast(results.GitFetch, reply)

    def create_snapshot(
        self, workspace_id: str, name: str, *, tree: str | None = None, freeze: bool = True
    ) -> results.SnapshotCreate:
        """Gives `/workspace` as it is now a name; it costs what changed.

        `tree`: what `diff_workspace` showed with this id instead. `freeze`: commands stand still
        for the moment that is named.
        """
        options = option("tree", tree) + flag("no-freeze", not freeze)
        reply = self._call("workspace snapshot create", options, names=[workspace_id, name])
        return cast(results.SnapshotCreate, reply)

    def list_snapshots(self, workspace_id: str) -> results.SnapshotList:
        """The snapshots of a workspace, oldest first."""
        reply = self._call("workspace snapshot list", names=[workspace_id])
        return cast(results.SnapshotList, reply)

    def delete_snapshot(self, workspace_id: str, name: str) -> results.SnapshotDelete:
        """Forgets a snapshot. What started from it keeps its files."""
        reply = self._call("workspace snapshot delete", names=[workspace_id, name])
        return cast(results.SnapshotDelete, reply)

    def reset_workspace(
        self, workspace_id: str, *, snapshot: str | None = None, tree: str | None = None
    ) -> results.WorkspaceInfo:
        """Makes the whole sandbox anew, `/workspace` as its baseline, a snapshot or a tree has it.

        Commands, shells, the log and whatever was installed are gone. Id, name and snapshots stay,
        and diffs still compare with the baseline.
        """
        options = option("snapshot", snapshot) + option("tree", tree)
        reply = self._call("workspace reset", options, names=[workspace_id])
        return cast(results.WorkspaceInfo, reply)

    def fork_workspace(
        self,
        workspace_id: str,
        *,
        snapshot: str | None = None,
        tree: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        freeze: bool = True,
        vcpu_count: int | None = None,
        mem_mib: int | None = None,
        disk_mib: int | None = None,
        ttl_seconds: int | None = None,
        network: bool | None = None,
    ) -> results.WorkspaceInfo:
        """Makes another workspace that starts as this one is now, or as a snapshot or tree has it.

        It costs a boot and copies no file; its diffs compare with the same baseline. What is not
        given is as the source has it.
        """
        options = option("snapshot", snapshot) + option("tree", tree) + option("name", name)
        options += _labels(labels)
        options += flag("no-freeze", not freeze)
        options += option("vcpu-count", vcpu_count) + option("mem-mib", mem_mib)
        options += option("disk-mib", disk_mib)
        options += option("ttl-seconds", ttl_seconds)
        if network is not None:
            options += option("network", "yes" if network else "no")
        reply = self._call("workspace fork", options, names=[workspace_id])
        return cast(results.WorkspaceInfo, reply)

    def logs_workspace(self, workspace_id: str) -> results.WorkspaceLogs:
        """The commands that were run, and what they printed."""
        return cast(results.WorkspaceLogs, self._call("workspace logs", names=[workspace_id]))

    def stop_workspace(self, workspace_id: str) -> results.WorkspaceInfo:
        """Ends the VM and keeps the files."""
        return cast(results.WorkspaceInfo, self._call("workspace stop", names=[workspace_id]))

    def start_workspace(self, workspace_id: str) -> results.WorkspaceInfo:
        """Boots a stopped workspace again, its files as they were."""
        return cast(results.WorkspaceInfo, self._call("workspace start", names=[workspace_id]))

    def delete_workspace(self, workspace_id: str) -> results.WorkspaceDelete:
        """Ends the VM and removes everything that belongs to the workspace."""
        return cast(results.WorkspaceDelete, self._call("workspace delete", names=[workspace_id]))

    # Commands that go on without a caller

    def start_exec(
        self,
        workspace_id: str,
        *,
        command: Command,
        timeout_seconds: float | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str | bytes] | None = None,
        user: str | None = None,
    ) -> results.ExecView:
        """Starts a command and leaves it running; the others below know it by its `sequence`."""
        options = _execution(timeout_seconds, cwd, env, user) + flag("detach", True)
        reply = self._call("workspace exec", options, names=[workspace_id], command=command)
        return cast(results.ExecView, reply)

    def read_exec(
        self,
        workspace_id: str,
        sequence: int,
        *,
        stdout_cursor: int = 0,
        stderr_cursor: int = 0,
        max_bytes: int | None = None,
    ) -> results.ExecView:
        """How a command stands, and what it printed from the cursors on.

        At most `max_bytes` of each stream (`None`: 65536); the rest from `stdout_next_cursor` and
        `stderr_next_cursor` on.
        """
        options = _output(stdout_cursor, stderr_cursor, max_bytes)
        reply = self._call("workspace exec read", options, names=[workspace_id, str(sequence)])
        return cast(results.ExecView, reply)

    def wait_exec(
        self,
        workspace_id: str,
        sequence: int,
        *,
        wait_seconds: float | None = None,
        stdout_cursor: int = 0,
        stderr_cursor: int = 0,
        max_bytes: int | None = None,
    ) -> results.ExecView:
        """The same when the command has ended, or after `wait_seconds` (`None`: however long)."""
        options = _output(stdout_cursor, stderr_cursor, max_bytes)
        options += option("wait-seconds", wait_seconds)
        reply = self._call("workspace exec wait", options, names=[workspace_id, str(sequence)])
        return cast(results.ExecView, reply)

    def kill_exec(self, workspace_id: str, sequence: int) -> results.ExecView:
        """Kills a command and everything it started, and returns when it is dead."""
        reply = self._call("workspace exec kill", names=[workspace_id, str(sequence)])
        return cast(results.ExecView, reply)

    # Shells

    def open_shell(
        self,
        workspace_id: str,
        *,
        cwd: Path = "/workspace",
        cols: int = 120,
        rows: int = 30,
        user: str | None = None,
    ) -> results.ShellInfo:
        """Opens an interactive shell on a terminal of its own. It ends with the workspace.

        `user`: who it belongs to, in place of the workspace's user.
        """
        options = option("cwd", cwd) + option("cols", cols) + option("rows", rows)
        options += option("user", user)
        reply = self._call("workspace shell open", options, names=[workspace_id])
        return cast(results.ShellInfo, reply)

    def list_shells(self, workspace_id: str) -> results.ShellList:
        """The shells that were not closed, oldest first."""
        return cast(results.ShellList, self._call("workspace shell list", names=[workspace_id]))

    def read_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        cursor: int = 0,
        max_chars: int = 65536,
        plain: bool = False,
        wait_for_idle_ms: int | None = None,
    ) -> results.ShellRead:
        """What a shell printed from a cursor on: 0, or `next_cursor` of the read before.

        `plain`: text without escape sequences. `wait_for_idle_ms`: answer only once nothing was
        printed for so long.
        """
        options = option("cursor", cursor) + option("max-chars", max_chars) + flag("plain", plain)
        options += option("wait-for-idle-ms", wait_for_idle_ms)
        reply = self._call("workspace shell read", options, names=[workspace_id, shell_id])
        return cast(results.ShellRead, reply)

    def write_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        input: str | bytes,
        append_newline: bool = True,
    ) -> results.ShellWrite:
        """Types into a shell, at most 1 MiB, and presses Enter unless told otherwise."""
        # Not an argument: those are short, hold no zero bytes, and can be seen by others.
        options = option("input-file", "-") + flag("no-newline", not append_newline)
        names = [workspace_id, shell_id]
        reply = self._call("workspace shell write", options, names=names, stdin=word(input))
        return cast(results.ShellWrite, reply)

    def signal_shell(
        self, workspace_id: str, shell_id: str, *, signal_name: str = "INT"
    ) -> results.ShellSignal:
        """Sends a signal to what runs in the foreground of a shell."""
        options = option("signal", signal_name)
        reply = self._call("workspace shell signal", options, names=[workspace_id, shell_id])
        return cast(results.ShellSignal, reply)

    def close_shell(self, workspace_id: str, shell_id: str) -> results.ShellClose:
        """Ends a shell with all that it started, and forgets it."""
        reply = self._call("workspace shell close", names=[workspace_id, shell_id])
        return cast(results.ShellClose, reply)

    # The MCP server

    def create_server(
        self,
        *,
        profile: str | None = None,
        allow_roots: Sequence[Path] = (),
        http: bool | str = False,
        token: str | None = None,
    ) -> PyroServer:
        """The MCP server, `pyro mcp serve`.

        `http`: listen on the loopback interface, on any free port or at `"ADDRESS:PORT"`; the
        server is started and has its `url` and `token`, which clients send as a bearer token; one
        is made when none is given. Otherwise it speaks on standard input and output once it is
        told to: `create_server().run()` serves this process's own.

        `profile`: which tools it has: `vm-run`, `workspace-core` or `workspace-full`.
        `allow_roots`: directories of the host that tools may read from and write to.
        """
        serve = Serve(
            profile=profile, allow_roots=tuple(map(word, allow_roots)), http=http, token=token
        )
        server = PyroServer(self.binary, serve, self._environment())
        if http:
            server.start()
        return server


def _argv(command: Command) -> list[bytes]:
    if isinstance(command, (str, bytes)):
        return [b"sh", b"-c", word(command)]
    argv = [word(each) for each in command]
    if not argv:
        raise InvalidArgument(
            "invalid_argument", "the command is empty", "give a shell command, or a program"
        )
    return argv


def _before_a_command(name: Word) -> bytes:
    """A name that stands before `--`: it must not look like an option."""
    encoded = word(name)
    if encoded.startswith(b"-"):
        raise InvalidArgument(
            "invalid_argument", f"{os.fsdecode(encoded)!r} is no name: it begins with '-'"
        )
    return encoded


def _machine(
    vcpu_count: int,
    mem_mib: int,
    disk_mib: int,
    ttl_seconds: int | None,
    network: bool,
    allow_host_compat: bool,
) -> list[bytes]:
    return [
        *option("vcpu-count", vcpu_count),
        *option("mem-mib", mem_mib),
        *option("disk-mib", disk_mib),
        *option("ttl-seconds", ttl_seconds),
        *flag("network", network),
        *flag("allow-host-compat", allow_host_compat),
    ]


def _source(
    exclude: Sequence[str], gitignore: bool, allow_changing: bool, skip_unreadable: bool
) -> list[bytes]:
    options = _filter(exclude, gitignore) + flag("allow-changing", allow_changing)
    return options + flag("skip-unreadable", skip_unreadable)


def _filter(exclude: Sequence[str], gitignore: bool) -> list[bytes]:
    patterns = [exclude] if isinstance(exclude, str) else exclude
    given = [word for pattern in patterns for word in option("exclude", pattern)]
    return given + flag("gitignore", gitignore)


def _labels(labels: Mapping[str, str] | None) -> list[bytes]:
    pairs = (labels or {}).items()
    return [word for key, value in pairs for word in option("label", f"{key}={value}")]


def _execution(
    timeout_seconds: float | None,
    cwd: Path | None,
    env: Mapping[str, str | bytes] | None,
    user: str | None,
) -> list[bytes]:
    options = option("timeout-seconds", timeout_seconds) + option("cwd", cwd)
    options += option("user", user)
    for name, value in (env or {}).items():
        options += option("env", word(name) + b"=" + word(value))
    return options


def _output(stdout_cursor: int, stderr_cursor: int, max_bytes: int | None) -> list[bytes]:
    return [
        *option("stdout-cursor", stdout_cursor),
        *option("stderr-cursor", stderr_cursor),
        *option("max-bytes", max_bytes),
    ]
