"""What can go wrong.

    PyroError
    ├── InvalidArgument            the request makes no sense (exit code 2)
    ├── NotFound                   what was named does not exist (3)
    │   ├── UnknownEnvironment, EnvironmentNotInstalled
    │   └── UnknownWorkspace, UnknownVm, UnknownShell, UnknownCommand, UnknownSnapshot
    ├── StateError                 it exists, but its state does not allow this (4)
    │   └── WorkspaceStateError, ShellStopped, AlreadyExists, TreeChanged
    └── BinaryError                the pyro program itself
        └── BinaryNotFound, BinaryTooOld, BinaryFailed

A guest's command that fails is none of these: it has a result, with its `exit_code`.
"""

from __future__ import annotations


class PyroError(Exception):
    """A failure of pyro."""

    code: str
    """Kind, such as `unknown_workspace`; all are listed in docs/public-contract.md."""
    message: str
    """The thing and the reason."""
    hint: str | None
    """The way out, where there is one."""
    exit_code: int | None
    """Exit code of the program, when it ran and ended by itself."""

    def __init__(
        self, code: str, message: str, hint: str | None = None, exit_code: int | None = None
    ) -> None:
        super().__init__(code, message, hint, exit_code)
        self.code = code
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidArgument(PyroError):
    """The request makes no sense: a bad value, a path that escapes, a damaged archive."""


class NotFound(PyroError):
    """Something that was named does not exist."""


class UnknownEnvironment(NotFound):
    """No environment has this name."""


class EnvironmentNotInstalled(NotFound):
    """The environment is not pulled: `Pyro.pull_environment` does that."""


class UnknownWorkspace(NotFound):
    """No workspace has this id or name."""


class UnknownVm(NotFound):
    """No VM has this id."""


class UnknownShell(NotFound):
    """The workspace has no shell with this id."""


class UnknownSnapshot(NotFound):
    """The workspace has no snapshot with this name."""


class UnknownCommand(NotFound):
    """The workspace has run no command with this number."""


class StateError(PyroError):
    """It exists, but its state does not allow this."""


class WorkspaceStateError(StateError):
    """The workspace is stopped, or otherwise not ready for this."""


class ShellStopped(StateError):
    """The shell's program has ended."""


class AlreadyExists(StateError):
    """What would be written exists already."""


class TreeChanged(StateError):
    """The tree was never shown, or its content was left in a guest that no longer has it."""


class BinaryError(PyroError):
    """The pyro program is not there, not the right one, or broke off."""


class BinaryNotFound(BinaryError):
    """There is no pyro program, or it cannot be executed."""


class BinaryTooOld(BinaryError):
    """The pyro program is older than this package."""


class BinaryFailed(BinaryError):
    """The pyro program was killed, or printed what no pyro prints."""


_BY_CODE: dict[str, type[PyroError]] = {
    "unknown_environment": UnknownEnvironment,
    "environment_not_installed": EnvironmentNotInstalled,
    "unknown_workspace": UnknownWorkspace,
    "unknown_vm": UnknownVm,
    "unknown_shell": UnknownShell,
    "unknown_snapshot": UnknownSnapshot,
    "unknown_command": UnknownCommand,
    "workspace_state": WorkspaceStateError,
    "shell_stopped": ShellStopped,
    "already_exists": AlreadyExists,
    "tree_changed": TreeChanged,
    # The rest of the families. Their exit code does not tell: it is 125 where a guest's passes.
    "invalid_argument": InvalidArgument,
    "outside_workspace": InvalidArgument,
    "path_not_allowed": InvalidArgument,
    "bad_archive": InvalidArgument,
    "path_not_found": NotFound,
    "unknown_baseline": NotFound,
    "conflict": StateError,
    "busy": StateError,
    "changing_source": StateError,
}


def error_of(code: str, message: str, hint: str | None, exit_code: int | None) -> PyroError:
    """The exception for an error document."""
    return _BY_CODE.get(code, PyroError)(code, message, hint, exit_code)
