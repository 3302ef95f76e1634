"""Runs programs and says what they cost."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
from dataclasses import dataclass


@dataclass
class Cost:
    """Wall seconds, peak resident memory in MiB, and what was printed."""

    seconds: float
    peak_mib: float
    stdout: str = ""


def run(argv: list[str], env: dict[str, str] | None = None, cwd: str | None = None, stdout=subprocess.PIPE) -> Cost:
    """Runs a program to its end; it must succeed."""
    started = time.monotonic()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    out, err = child.communicate()
    seconds = time.monotonic() - started
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {child.returncode}\n{err.decode(errors='replace')}")
    return Cost(seconds, 0.0, (out or b"").decode(errors="replace"))


def run_measured(argv: list[str], env: dict[str, str] | None = None, cwd: str | None = None) -> Cost:
    """As `run`, with the peak memory of the program itself; its output goes nowhere."""
    started = time.monotonic()
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit code {child.returncode}")
    return Cost(seconds, usage.ru_maxrss / 1024)


def disk_bytes(path: pathlib.Path) -> int:
    """Bytes allocated below a path."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def content_bytes(path: pathlib.Path) -> int:
    """Length of all regular files below a path."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            if not os.path.islink(file):
                total += os.stat(file).st_size
    return total


def read_all(path: pathlib.Path) -> None:
    """Brings a tree into the page cache."""
    for folder, _, names in os.walk(path):
        for name in names:
            file = os.path.join(folder, name)
            if not os.path.islink(file):
                with open(file, "rb", buffering=0) as opened:
                    while opened.read(1 << 20):
                        pass


def reset_peak(pid: int) -> None:
    """Starts the peak memory of a process anew."""
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process since the last reset."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


class Pyro:
    """The binary with a home of its own."""

    def __init__(self, program: str, home: pathlib.Path):
        self.program = program
        self.home = home
        self.env = {"PYRO_HOME": str(home)}

    def timed(self, *args: str, cwd: str | None = None) -> Cost:
        return run([self.program, *args], env=self.env, cwd=cwd)

    def json(self, *args: str) -> tuple[dict, float]:
        """A call's document and the seconds it took. Flags precede `--`."""
        at = args.index("--") if "--" in args else len(args)
        cost = self.timed(*args[:at], "--json", *args[at:])
        return json.loads(cost.stdout), cost.seconds

    def daemon(self) -> int:
        return self.json("daemon", "status")[0]["pid"]

    def start(self) -> int:
        """The daemon runs afterwards; its process id."""
        self.timed("store", "stats")
        return self.daemon()

    def stop(self) -> None:
        self.timed("daemon", "stop")
