"""What the numbers depend on."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import time
from typing import Any


def first_line(*argv: str) -> str:
    """The first line that a program prints; empty where it is not there or fails."""
    try:
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return (text.splitlines() or [""])[0].strip()


def revision() -> str:
    """The commit of this tree, and whether the tree is another than that."""
    root = str(pathlib.Path(__file__).parent.parent)
    commit = first_line("git", "-C", root, "rev-parse", "--short", "HEAD")
    changed = first_line(
        "git", "-C", root, "status", "--porcelain", "--untracked-files=no", "--", ":!docs"
    )
    return f"{commit} with changes" if commit and changed else commit


def build(pyro: str) -> str:
    """The program's version, and the commit of the tree beside it."""
    commit = revision()
    return first_line(pyro, "--version") + (f" at {commit}" if commit else "")


def machine(pyro: str, rustic: str | None, place: pathlib.Path) -> dict[str, Any]:
    """The machine and the programs."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = pathlib.Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    tools = [
        build(pyro),
        first_line("restic", "version").split(" compiled")[0],
        first_line(rustic, "--version") if rustic else "",
        first_line("borg", "--version"),
        first_line("git", "--version"),
        first_line("tar", "--version"),
        first_line("zstd", "--version").strip("* "),
        first_line("cp", "--version"),
        first_line("qemu-system-x86_64", "--version").split(" (")[0],
    ]
    return {
        "cpu": f"{os.cpu_count()} × {cpu[0] if cpu else platform.machine()}",
        "memory_gib": round(int(memory) / 1024 / 1024),
        "kernel": platform.release(),
        "filesystem": first_line("stat", "-f", "-c", "%T", str(place)),
        "tools": [tool for tool in tools if tool],
    }


def moment() -> dict[str, Any]:
    """When a part began, and how busy the machine was."""
    return {"date": time.strftime("%Y-%m-%d"), "load": round(os.getloadavg()[0], 2)}


def keep(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """The facts of now, and the programs of earlier runs whose numbers the page still has."""
    known = {tool.split()[0] for tool in now["tools"]}
    gone = [tool for tool in (before or now)["tools"] if tool.split()[0] not in known]
    return {**now, "tools": [*now["tools"], *gone]}
