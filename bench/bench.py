"""Runs everything, interleaved, and writes the page. Standard library only."""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
import sys

import page
from anchors import JOBS, installed
from measure import read_all
from vm import Workspaces


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Swap:
    """Shows one corpus or the other under one path, as if it had been edited in place."""

    def __init__(self, corpora: pathlib.Path, work: pathlib.Path):
        self.corpora, self.tree, self.shown = corpora, work / "tree", None

    def show(self, name: str | None) -> pathlib.Path:
        if self.shown:
            self.tree.rename(self.corpora / self.shown)
        if name:
            (self.corpora / name).rename(self.tree)
        self.shown = name
        return self.tree


def store_round(pyro: str, corpora: pathlib.Path, work: pathlib.Path, number: int) -> dict:
    """Every tool does every job once; a job goes round all tools before the next begins."""
    work = work / f"round-{number}"
    work.mkdir(parents=True)
    swap, rows = Swap(corpora, work), {}
    for name in ("source", "source_v2"):
        read_all(corpora / name)
    tools = list(installed(pyro, work))
    # Whoever is first must not always pay for a cold cache.
    tools = tools[number % len(tools) :] + tools[: number % len(tools)]
    try:
        for job in JOBS:
            if job in ("ingest", "unchanged", "v2"):
                tree = swap.show("source_v2" if job == "v2" else "source")
            for tool in tools:
                action = getattr(tool, job)
                if action is None:
                    continue
                if job in ("ingest", "unchanged", "v2"):
                    cost = action(tree)
                elif job == "restore":
                    cost = action(work / f"out-{tool.name}")
                else:
                    cost = action()
                rows.setdefault(tool.name, {})[job] = {"seconds": cost.seconds, "peak_mib": cost.peak_mib}
                if job == "ingest":
                    rows[tool.name]["stored"] = tool.stored()
                say(f"round {number + 1}: {job:9} {tool.name:8} {cost.seconds:7.2f} s {cost.peak_mib:6.0f} MiB")
    finally:
        swap.show(None)
        for tool in tools:
            tool.close()
    return rows


def vm_round(workspaces: Workspaces, number: int) -> dict:
    rows = {}
    for name, action in [
        ("run", workspaces.run_true),
        ("small", lambda: workspaces.tree("small")),
        ("source", lambda: workspaces.tree("source")),
        ("git", workspaces.git_status),
        ("export", lambda: workspaces.export(number)),
        ("copy", lambda: workspaces.copy(number)),
    ]:
        rows[name] = action()
        say(f"round {number + 1}: {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in rows[name].items()))
    return rows


def median(rounds: list):
    """The median of each number, however deep it lies."""
    first = rounds[0]
    if isinstance(first, dict):
        return {key: median([one[key] for one in rounds if key in one]) for key in first}
    return statistics.median(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pyro", required=True)
    parser.add_argument("--corpora", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    pyro, corpora = str(pathlib.Path(args.pyro).resolve()), args.corpora.resolve()
    facts = page.machine_facts(pyro, corpora)
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    work = args.work.resolve()
    # Nothing is removed before the end: unlinking a million files slows the file system for minutes.
    try:
        stores = [store_round(pyro, corpora, work, number) for number in range(args.runs)]
        workspaces = Workspaces(pyro, work, corpora)
        try:
            vms = [vm_round(workspaces, number) for number in range(args.runs)]
        finally:
            workspaces.close()
        result = {"facts": facts, "runs": args.runs, "store": median(stores), "vm": median(vms)}
        (work.parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")
        args.out.write_text(page.render(result))
        say(f"wrote {args.out}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


main()
