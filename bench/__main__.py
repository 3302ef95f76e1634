"""Measures the parts asked for, writes the numbers, makes the page: see run.sh."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import signal
import sys
from typing import Any, NoReturn

from . import boot, changed, facts, mcp, page, vm
from .anchors import installed
from .measure import content_bytes, files_below
from .rounds import CORPORA, Rounds, Shown, say

PARTS = [*CORPORA, "vm", "boot", "mcp"]


def stop(number: int, _: object) -> NoReturn:
    """Corpora get their names back on the way out."""
    sys.exit(128 + number)


class Bench:
    """One run; `args` are those of `main`."""

    def __init__(self, args: argparse.Namespace):
        self.pyro, self.rustic = str(args.pyro.resolve()), args.rustic
        self.corpora, self.work = args.corpora.resolve(), args.work.resolve()
        self.runs, self.fast_runs = args.runs, args.fast_runs

    def store(self, name: str) -> dict[str, Any]:
        """All tools on one corpus."""
        shown, corpus = Shown(self.corpora), self.corpora / name
        about = {"files": len(files_below(corpus)), "bytes": content_bytes(corpus)}
        tools = list(installed(self.pyro, self.rustic, self.corpora, shown.tree))
        rounds = Rounds(name, tools, shown, self.work, self.runs, self.fast_runs)
        rounds.measure()
        if name == "source" and shutil.which("zstd"):
            new = changed.changed_bytes(corpus, self.corpora / "source_v2")
            about["changed"] = changed.compressed(new)
        return {**about, **rounds.result()}

    def workspaces(self) -> dict[str, Any]:
        """Workspaces, of trees of several sizes."""
        names = ("small", "source", "seed")
        files = {name: len(files_below(self.corpora / name)) for name in names}
        # One file in each.
        files["dirs"] = len(files_below(self.corpora / "dirs" / "tree"))
        work = self.work / "vm"
        work.mkdir()
        return {"files": files, **vm.measure(self.pyro, work, self.corpora, self.runs)}

    def boots(self) -> dict[str, Any]:
        """Machines, from nothing to their first command."""
        work = self.work / "boot"
        work.mkdir()
        return boot.measure(self.pyro, work, self.fast_runs)

    def part(self, name: str) -> dict[str, Any]:
        """Measures one part."""
        about = facts.moment()
        say(f"{name}: load average {about['load']}")
        if name in CORPORA:
            measured = self.store(name)
        elif name == "mcp":
            measured = mcp.measure(self.pyro)
        else:
            measured = self.workspaces() if name == "vm" else self.boots()
        return {**about, "pyro": facts.build(self.pyro), **measured}


def main() -> None:
    """Parts that are not asked for keep their numbers."""
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    parser.add_argument("--pyro", required=True, type=pathlib.Path)
    parser.add_argument("--rustic", help="a program; without it, it is left out")
    parser.add_argument("--corpora", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--fast-runs", type=int, default=5)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--command", required=True, help="what to say that it was made with")
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    args = parser.parse_args()
    numbers = args.out.with_suffix(".json")
    results: dict[str, Any] = json.loads(numbers.read_text()) if numbers.exists() else {"parts": {}}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # What a killed run left.
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    bench = Bench(args)
    try:
        for name in [part for part in PARTS if part in args.parts]:
            machine = facts.machine(bench.pyro, args.rustic, bench.work)
            results["machine"] = facts.keep(results.get("machine"), machine)
            results["parts"][name] = {"command": args.command, **bench.part(name)}
            numbers.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        page.write(results, args.out)
        say(f"wrote {args.out}")
    finally:
        shutil.rmtree(args.work, ignore_errors=True)


main()
