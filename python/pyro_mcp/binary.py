"""Which pyro program is run?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path as HostPath

from pyro_mcp.errors import BinaryFailed, BinaryNotFound, BinaryTooOld

OLDEST = (0, 2)
"""The first version that has every command this package uses."""

_VERSION = re.compile(rb"pyro (\d+)\.(\d+)\.(\d+)\S*\s*")
_ANSWER_SECONDS = 60


def find(given: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> str:
    """The program's path: as given, else `PYRO_BINARY`, else the one that was installed with this
    package, else the first on the `PATH`."""
    named = os.fspath(given) if given is not None else environment.get("PYRO_BINARY")
    if named:
        # A name without a slash is looked for as a shell would.
        found = shutil.which(named, path=environment.get("PATH"))
        if found is None:
            what = "is not executable" if os.path.exists(named) else "does not exist"
            raise BinaryNotFound(
                "binary_not_found",
                f"the pyro program '{named}' {what}",
                "name another by PYRO_BINARY or Pyro(binary=...)",
            )
        return os.path.abspath(found)
    for directory in _installed():
        candidate = directory / "pyro"
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return str(candidate)
    found = shutil.which("pyro", path=environment.get("PATH"))
    if found is None:
        raise BinaryNotFound(
            "binary_not_found",
            "there is no pyro program beside this Python interpreter nor on the PATH",
            "install the pyro-mcp wheel, or name one by PYRO_BINARY or Pyro(binary=...)",
        )
    return os.path.abspath(found)


def _installed() -> Iterator[HostPath]:
    """Where an installer puts a wheel's programs."""
    yield HostPath(sysconfig.get_path("scripts"))
    yield HostPath(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user")))
    # `pip install --target DIR` makes DIR/pyro_mcp and DIR/bin.
    yield HostPath(__file__).parent.parent / "bin"


def check(binary: str, environment: Mapping[str, str]) -> None:
    """Refuses what is no pyro, and a pyro that is too old."""
    try:
        ran = subprocess.run(
            [binary, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=dict(environment),
            timeout=_ANSWER_SECONDS,
        )
    except OSError as error:
        raise not_executable(binary, error) from error
    except subprocess.TimeoutExpired as error:
        raise BinaryFailed(
            "binary_failed", f"'{binary} --version' does not answer", "is it the pyro program?"
        ) from error
    version = _VERSION.fullmatch(ran.stdout)
    if version is None or ran.returncode != 0:
        printed = ran.stdout[:80].decode(errors="replace").strip()
        raise BinaryFailed(
            "binary_failed",
            f"'{binary}' is not the pyro program: its --version prints {printed!r}",
            "name another by PYRO_BINARY or Pyro(binary=...)",
            ran.returncode,
        )
    major, minor, patch = (int(part) for part in version.groups())
    if (major, minor) < OLDEST:
        raise BinaryTooOld(
            "binary_too_old",
            f"'{binary}' is pyro {major}.{minor}.{patch}; this package needs"
            f" {OLDEST[0]}.{OLDEST[1]} or newer",
            "install the pyro-mcp wheel anew: it brings a pyro that fits",
        )


def not_executable(binary: str, error: OSError) -> BinaryNotFound:
    """The system does not start it."""
    return BinaryNotFound(
        "binary_not_found",
        f"the pyro program '{binary}' cannot be executed: {error.strerror}",
        "name another by PYRO_BINARY or Pyro(binary=...)",
    )
