"""Every tool does every job on one corpus, in turn; round after round, each with new stores."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .bars import FAST, JOBS, repeats
from .measure import Failed, disk_bytes, empty, read_all
from .tool import Tool

PUTS = {"ingest": "", "unchanged": "", "v2": "_v2", "v2_copy": "_v2_copy"}


@dataclass(frozen=True)
class Corpus:
    """What is done with a corpus."""

    jobs: tuple[str, ...]
    # All that are here, if empty.
    tools: tuple[str, ...] = ()
    # Measured for its memory and size, which one round tells.
    once: bool = False


WHOLE = ("ingest", "unchanged", "checkout", "checkout_synced", "verify")
CORPORA = {
    "source": Corpus(tuple(JOBS)),
    "node": Corpus(
        WHOLE, ("pyro", "rustic", "restic", "borg", "tar, zstd -1", "tar, zstd -3", "cp -a")
    ),
    "binary": Corpus(
        WHOLE, ("pyro", "rustic", "restic", "borg", "tar, zstd -1", "tar, zstd -3", "cp -a")
    ),
    "many": Corpus(
        ("ingest", "unchanged", "checkout_synced", "verify"), ("pyro", "tar, zstd -3"), True
    ),
    "large": Corpus(
        ("ingest", "unchanged", "checkout_synced", "verify"), ("pyro", "tar, zstd -3"), True
    ),
}


def say(text: str) -> None:
    """One line about how far it is."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Shown:
    """One corpus after another under the same path, as if it were edited in place."""

    def __init__(self, corpora: pathlib.Path):
        self.corpora, self.tree, self.name = corpora, corpora / "shown", ""
        # For corpora.sh, should this process be killed.
        self.note = corpora / "shown.name"

    def show(self, name: str) -> pathlib.Path:
        """`name` is under the path; nothing, if it is empty."""
        if name == self.name:
            return self.tree
        if self.name:
            self.tree.rename(self.corpora / self.name)
            self.note.unlink()
        if name:
            self.note.write_text(name)
            (self.corpora / name).rename(self.tree)
        self.name = name
        return self.tree


class Rounds:
    """The rounds of one corpus; `costs`, `failed` and `sizes` are by tool."""

    def __init__(
        self,
        name: str,
        tools: list[type[Tool]],
        shown: Shown,
        work: pathlib.Path,
        runs: int,
        fast_runs: int,
    ):
        self.name, self.corpus = name, CORPORA[name]
        self.tools = [
            tool for tool in tools if not self.corpus.tools or tool.name in self.corpus.tools
        ]
        self.shown, self.work = shown, work / name
        self.runs, self.fast_runs = (1, 1) if self.corpus.once else (runs, fast_runs)
        self.costs: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.failed: dict[str, dict[str, str]] = {}
        self.sizes: dict[str, dict[str, int]] = {}
        # Each store as it was after the first ingest; nothing is done in them.
        self.bases: dict[str, Tool] = {}

    def measure(self) -> None:
        """Does all rounds."""
        for number in range(max(self.runs, self.fast_runs)):
            homes = self.work / f"round-{number + 1}"
            try:
                self._round(number, homes)
            finally:
                self.shown.show("")
                empty(homes)
        empty(self.work)

    def _wanted(self, tool: type[Tool], job: str, number: int) -> bool:
        there = job in self.corpus.jobs and job in tool.jobs
        if number > 0:
            there = there and repeats(tool.name, job, self.name)
        # The stores of a round with short jobs only are copies.
        return there and (number < self.runs or job in FAST)

    def _round(self, number: int, homes: pathlib.Path) -> None:
        self.shown.show(self.name)
        tools: list[Tool] = []
        try:
            for kind in self.tools:
                if any(self._wanted(kind, job, number) for job in JOBS):
                    with self._attempt(kind.name, "a store"):
                        tools.append(self._open(kind, number, homes))
            for place, job in enumerate(JOBS):
                doing = [tool for tool in tools if self._wanted(type(tool), job, number)]
                # Whoever is first must not be so always.
                turn = (number + place) % max(1, len(doing))
                self._job(job, doing[turn:] + doing[:turn], number, homes)
        finally:
            for tool in tools:
                with self._attempt(tool.name, "end"):
                    tool.close()

    def _open(self, kind: type[Tool], number: int, homes: pathlib.Path) -> Tool:
        """A new store, or what it was after the first ingest."""
        if number < self.runs or "ingest" not in kind.jobs:
            return kind(homes / kind.__name__)
        return self._again(kind, homes / kind.__name__)

    def _again(self, kind: type[Tool], home: pathlib.Path) -> Tool:
        """A store that knows the first version alone."""
        if kind.name not in self.bases:
            raise Failed("nothing was stored in the first round")
        tool = self.bases[kind.name].copy(home)
        tool.prime(self.shown.show(self.name))
        return tool

    def _job(self, job: str, tools: list[Tool], number: int, homes: pathlib.Path) -> None:
        if not tools:
            return
        if job == "v2_copy":
            others = []
            for tool in tools:
                with self._attempt(tool.name, job):
                    others.append(self._again(type(tool), homes / f"{type(tool).__name__}-second"))
            tools = others
        if job in PUTS:
            read_all(self.shown.show(self.name + PUTS[job]))
        for tool in tools:
            out = homes / f"out-{type(tool).__name__}-{job}"
            with self._attempt(tool.name, job):
                self._time(tool, job, number, out)
            empty(out)
            if job in PUTS:
                with self._attempt(tool.name, "size"):
                    settled = tool.settle()
                    if number == 0:
                        self._size(tool, job, settled)
            if number == 0 and job == "ingest":
                with self._attempt(tool.name, "a copy"):
                    self._keep(tool)
            if job == "v2_copy":
                with self._attempt(tool.name, "end"):
                    tool.close()

    def _time(self, tool: Tool, job: str, number: int, out: pathlib.Path) -> None:
        # What others wrote must not be written while this is timed.
        os.sync()
        if job in PUTS:
            cost = tool.put(self.shown.tree)
        elif job == "diff":
            cost = tool.diff()
        elif job == "verify":
            cost = tool.verify()
        elif job == "checkout":
            cost = tool.checkout(out)
        else:
            cost = tool.checkout_synced(out)
        cell = self.costs.setdefault(tool.name, {}).setdefault(job, [])
        cell.append({"seconds": round(cost.seconds, 4), "peak_mib": round(cost.peak_mib, 1)})
        say(
            f"{self.name} {number + 1}: {job:15} {tool.name:12} {cost.seconds:7.2f} s"
            f" {cost.peak_mib:6.0f} MiB"
        )

    def _keep(self, tool: Tool) -> None:
        """A copy of a store after its first ingest, if one will be asked for."""
        later = range(self.runs, self.fast_runs)
        short = any(self._wanted(type(tool), job, number) for number in later for job in JOBS)
        if short or self._wanted(type(tool), "v2_copy", 0):
            base = self.work / "bases" / type(tool).__name__
            self.bases[tool.name] = tool.copy(base)
            tool.prime(self.shown.tree)

    def _size(self, tool: Tool, job: str, settled: dict[str, int]) -> None:
        if job == "ingest":
            sizes = {"payload": tool.payload(), "directory": disk_bytes(tool.directory())}
            self.sizes[tool.name] = {**sizes, **settled}
        elif job == "v2":
            sizes = self.sizes[tool.name]
            sizes["growth"] = tool.payload() - sizes["payload"]

    @contextmanager
    def _attempt(self, tool: str, what: str) -> Iterator[None]:
        """One tool's failure leaves its cell empty, and says why; the others go on."""
        try:
            yield
        except Exception as error:
            reason = str(error) or type(error).__name__
            for path, word in [(self.shown.corpora, "CORPORA"), (self.work.parent, "WORK")]:
                reason = reason.replace(str(path), word)
            self.failed.setdefault(tool, {})[what] = reason
            say(f"{self.name}: {what}, {tool}: {reason}")

    def result(self) -> dict[str, Any]:
        """What the page needs."""
        return {
            "runs": self.runs,
            "fast_runs": self.fast_runs,
            "costs": self.costs,
            "failed": self.failed,
            "sizes": self.sizes,
        }
