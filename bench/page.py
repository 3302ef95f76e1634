"""The page: numbers to Markdown."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import time

from anchors import JOBS
from measure import content_bytes

TITLES = {
    "ingest": "ingest",
    "unchanged": "again, unchanged",
    "v2": "next version",
    "diff": "diff of both",
    "restore": "restore",
    "verify": "verify",
}


def first_line(*argv: str) -> str:
    try:
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "not installed"
    return text.splitlines()[0].strip()


def machine_facts(pyro: str, corpora: pathlib.Path) -> dict:
    """What the numbers depend on."""
    cpu = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = pathlib.Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    filesystem = first_line("stat", "-f", "-c", "%T", str(corpora))
    files = {name: sum(len(names) for _, _, names in os.walk(corpora / name)) for name in ("source", "seed", "small")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": f"{os.cpu_count()} × {cpu[0].split(':', 1)[1].strip() if cpu else platform.machine()}",
        "memory_gib": round(int(memory) / 1024 / 1024),
        "kernel": platform.release(),
        "filesystem": filesystem,
        "load": os.getloadavg()[0],
        "tools": [
            first_line(pyro, "--version"),
            first_line("restic", "version").split(" compiled")[0],
            first_line("borg", "--version"),
            first_line("git", "--version"),
            first_line("zstd", "--version").strip("* "),
            first_line("qemu-system-x86_64", "--version").split(" (")[0],
        ],
        "files": files,
        "bytes": {name: content_bytes(corpora / name) for name in ("source", "seed", "small")},
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def amount(value: float) -> str:
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def store_table(store: dict) -> str:
    rows = []
    for name, jobs in store.items():
        cells = [seconds(jobs[job]["seconds"]) if job in jobs else "–" for job in JOBS]
        peak = max(cost["peak_mib"] for key, cost in jobs.items() if key != "stored")
        rows.append([name, *cells, amount(jobs["stored"]), f"{peak:.0f} MiB"])
    rows.sort(key=lambda row: row[0] != "pyro")
    return table(["", *(TITLES[job] for job in JOBS), "stored", "peak memory"], rows)


def ratio_table(store: dict) -> str:
    rows = []
    for name, jobs in store.items():
        if name == "pyro":
            continue
        cells = [
            f"{jobs[job]['seconds'] / store['pyro'][job]['seconds']:.1f}" if job in jobs else "–" for job in JOBS
        ]
        rows.append([name, *cells, f"{jobs['stored'] / store['pyro']['stored']:.2f}"])
    return table(["times pyro's", *(TITLES[job] for job in JOBS), "stored"], rows)


def tree_table(vm: dict, facts: dict) -> str:
    small, large = vm["small"], vm["source"]
    timed = ["create", "first exec", "exec", "diff", "diff again", "diff --full", "delete"]
    rows = []
    for key in timed:
        rows.append([key, seconds(small[key]), seconds(large[key]), f"{large[key] / small[key]:.2f}"])
    for key in ["report bytes", "visited"]:
        rows.append([f"diff: {key}", f"{small[key]:.0f}", f"{large[key]:.0f}", f"{large[key] / small[key]:.2f}"])
    for key in ["content served by create", "store growth", "scratch disk"]:
        rows.append([key, amount(small[key]), amount(large[key]), ""])
    rows.append(["daemon, peak memory", f"{small['daemon peak MiB']:.0f} MiB", f"{large['daemon peak MiB']:.0f} MiB", ""])
    names = [f"{facts['files'][name]:,} files" for name in ("small", "source")]
    return table(["", *names, "ratio"], rows)


def render(result: dict) -> str:
    facts, store, vm, runs = result["facts"], result["store"], result["vm"], result["runs"]
    git, export = vm["git"], vm["export"]
    share = git["content served"] / git["content of the seed"] * 100
    each = "one run of each" if runs == 1 else f"the median of {runs} interleaved rounds"
    return f"""# Benchmarks

Written by `make bench` (`BENCH_RUNS={runs} bench/run.sh`): {each}, {facts["date"]}. Ratios within the
run mean something; seconds belong to this machine on that day.

- Machine: {facts["cpu"]}, {facts["memory_gib"]} GiB of memory, Linux {facts["kernel"]}, {facts["filesystem"]};
  load average {facts["load"]:.1f} when it began. No KVM is used unless `pyro doctor` says that it works here:
  microVMs then run under QEMU's emulation, which is several times slower.
- Tools: {"; ".join(facts["tools"])}.
- Cache: warm. The trees are read before each round; all tools then take turns, in an order that changes with each round.
- Durability: each tool's default. pyro syncs packs and records before it answers; restored files are synced with
  the file system once. borg and restic sync their repositories; git syncs no loose objects; tar and cp sync nothing.
- Memory: the peak of the process; for pyro that of the daemon and its client together, guests apart.

## The store

`source`: a kernel source tree, {facts["files"]["source"]:,} files, {amount(facts["bytes"]["source"])}. "Next version" edits it in
place: 1 % of the files in the middle, 50 added, 50 deleted, 1 KiB inserted into the largest. Verify reads everything
(`restic check --read-data`, `borg check --verify-data`, `git fsck --full`, `zstd -t`). Defaults otherwise: borg with lz4
and no encryption, restic always encrypts, tar with `zstd -3 -T0`.

{store_table(store)}

Each tool's time and size over pyro's (more than 1: pyro is faster, or smaller):

{ratio_table(store)}

## Workspaces

Environment `debian:12`, 1 vCPU, 1024 MiB. The store knows the trees already: `create` is a second workspace from an
unchanged directory. The same ten changes (five edits, two deletions, two additions, one chmod) in a small and in a large tree:

{tree_table(vm, facts)}

- `pyro run debian:12 -- true`, nothing before it and nothing after: {seconds(vm["run"]["run true"])}.
- Copying the large tree (`cp -a`) takes {seconds(vm["copy"]["cp -a"])}; `create` takes {seconds(vm["source"]["create"])}, boot included.
- Export of all {facts["files"]["source"]:,} files after the ten changes: {seconds(export["export"])}, {amount(export["written"])} written, of which
  {amount(export["fetched"])} crossed from the guest.
- The tree of a change report and that of a full scan (`diff --full`) were the same, each time.

A git repository of {facts["files"]["seed"]:,} files, {amount(git["content of the seed"])} with its packs, never read before in its guest:

| | |
|---|--:|
| first `git status` | {seconds(git["first status"])} |
| second `git status` | {seconds(git["second status"])} |
| content served for the first | {amount(git["content served"])} = {share:.2f} % of the seed |
| directory nodes served | {amount(git["tree served"])} |
"""
