"""Runs programs and says what they cost."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ONCE = str(pathlib.Path(__file__).with_name("once.py"))
# A tool that takes longer than this hangs. Seconds.
PATIENCE = 1800


class Failed(Exception):
    """A program did not do its job; says why in one line."""


@dataclass
class Cost:
    """Wall seconds, peak resident memory in MiB, and what was printed."""

    seconds: float
    peak_mib: float
    stdout: str = ""


def run(argv: list[str], env: dict[str, str] | None = None, cwd: str | None = None) -> Cost:
    """Runs a program to its end.

    Errors: `Failed` where it is not there, exits with another code than 0 or takes half an hour.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as err, os.fdopen(reading, "rb") as costs:
        try:
            child = subprocess.Popen(
                [sys.executable, "-ISs", ONCE, str(writing), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            out, _ = child.communicate(timeout=PATIENCE)
        except BaseException as stopped:
            os.killpg(child.pid, 9)
            child.wait()
            if isinstance(stopped, subprocess.TimeoutExpired):
                raise Failed(f"{argv[0]} took more than {PATIENCE} s") from None
            raise
        said = costs.read().split()
        err.seek(0)
        reason = (err.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[
            -1
        ]
    if len(said) != 3:
        raise Failed(f"{argv[0]} could not be run: {reason}")
    if int(said[2]) != 0:
        raise Failed(f"{argv[0]}: exit code {int(said[2])}: {reason}")
    return Cost(float(said[0]), int(said[1]) / 1024, out.decode(errors="replace"))


def files_below(path: pathlib.Path) -> list[str]:
    """All names below a path that are no directories."""
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def disk_bytes(path: pathlib.Path) -> int:
    """Bytes allocated below a path."""
    return sum(os.lstat(file).st_blocks for file in files_below(path)) * 512


def content_bytes(path: pathlib.Path) -> int:
    """Length of all regular files below a path."""
    return sum(os.lstat(file).st_size for file in files_below(path) if not os.path.islink(file))


def read_all(path: pathlib.Path) -> None:
    """Brings a tree into the page cache."""
    buffer = bytearray(1 << 20)
    for file in files_below(path):
        if not os.path.islink(file):
            with open(file, "rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass


def empty(path: pathlib.Path) -> None:
    """Gives the space below a path back and keeps its inodes.

    ext4 passes over inodes freed a short while ago whenever it makes new ones: after an unlinked tree, whoever
    creates files next would pay for it.
    """
    for file in files_below(path):
        if not os.path.islink(file) and os.lstat(file).st_size > 0:
            os.chmod(file, 0o600)
            os.truncate(file, 0)


def reset_peak(pid: int) -> None:
    """Starts the peak memory of a process anew."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process since the last reset.

    Errors: `Failed` where there is no such process any more.
    """
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise Failed(f"process {pid} has ended")
