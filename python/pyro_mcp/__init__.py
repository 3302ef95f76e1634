"""Commands in microVMs, on copies of your directories, and exactly what they changed.

>>> from pyro_mcp import Pyro
>>> pyro = Pyro()
>>> pyro.run_in_vm("debian:12", "git --version")["stdout"]  # doctest: +SKIP
'git version 2.39.5\\n'

`Pyro` runs the `pyro` program that comes with this package. Results are the documents of
`pyro ... --json` as dictionaries, typed in `pyro_mcp.results`; failures are `PyroError`.
"""

from importlib import metadata

from pyro_mcp import results
from pyro_mcp.client import Command, Path, Pyro
from pyro_mcp.errors import (
    AlreadyExists,
    BinaryError,
    BinaryFailed,
    BinaryNotFound,
    BinaryTooOld,
    EnvironmentNotInstalled,
    InvalidArgument,
    NotFound,
    PyroError,
    ShellStopped,
    StateError,
    TreeChanged,
    UnknownCommand,
    UnknownEnvironment,
    UnknownShell,
    UnknownSnapshot,
    UnknownVm,
    UnknownWorkspace,
    WorkspaceStateError,
)
from pyro_mcp.results import exact_bytes
from pyro_mcp.server import PyroServer

__all__ = [
    "AlreadyExists",
    "BinaryError",
    "BinaryFailed",
    "BinaryNotFound",
    "BinaryTooOld",
    "Command",
    "EnvironmentNotInstalled",
    "InvalidArgument",
    "NotFound",
    "Path",
    "Pyro",
    "PyroError",
    "PyroServer",
    "ShellStopped",
    "StateError",
    "TreeChanged",
    "UnknownCommand",
    "UnknownEnvironment",
    "UnknownShell",
    "UnknownSnapshot",
    "UnknownVm",
    "UnknownWorkspace",
    "WorkspaceStateError",
    "exact_bytes",
    "results",
]

try:
    __version__ = metadata.version("pyro-mcp")
except metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "0+source"
