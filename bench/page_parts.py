"""What the page says beside the corpora: how it was measured, workspaces, MCP."""

from __future__ import annotations

import statistics
from typing import Any

from .bars import MEMORY
from .text import amount, seconds, table

Part = dict[str, Any]


def head(machine: dict[str, Any], reached: str) -> str:
    """The machine and the method."""
    return f"""# Benchmarks

Written by `make bench` (`bench/run.sh`). {reached}. Ratios within a run mean something; seconds belong to
this machine on that day. `docs/benchmarks.json` holds every single measurement; `bench/run.sh page` makes this page of it.

- Machine: {machine["cpu"]}, {machine["memory_gib"]} GiB of memory, Linux {machine["kernel"]}, {machine["filesystem"]}.
- Tools: {"; ".join(machine["tools"])}. Each with its defaults: borg with lz4 and no encryption, restic and rustic always
  encrypt, `tar | zstd` with two threads.
- Rounds: in each, every tool has a new store and does a job in turn before the next job begins, in an order that changes.
  Before each measurement `sync` waits until what others wrote is on the disk. Nothing is unlinked while the run lasts: ext4
  makes files more slowly after that. The short jobs of further rounds are done in copies of the stores as they were after
  their first ingest. What decides about no bar is measured in the first round only.
- Cache: warm, as far as it fits into memory. Trees are read before they are stored; stores were written just before.
- Durability: each tool's default. An ingest of pyro is acknowledged after packs and records are synced; borg, restic and
  rustic sync their repositories; git syncs no loose objects; tar and cp sync nothing. A checkout is given both ways:
  "synced" ends with the file system's sync, for `cp -a` by `sync -f`.
- Memory: the peak of the largest process of a tool (no peak below 9 MiB can be told); for pyro that of the daemon, reset
  before each call, and of the client together, which has to stay below {MEMORY} MB (of 10^6 bytes).
- Payload: bytes of what is kept of the trees (packs; of git, objects), without indexes and caches. Changed bytes: files
  that are new or differ, of those over 64 KiB the 64 KiB around the change.
"""


def medians(rounds: list[Part]) -> Part:
    """Of each number of the first round, over all rounds that have it."""
    result: Part = {}
    for key, value in rounds[0].items():
        found = [one[key] for one in rounds if key in one]
        result[key] = medians(found) if isinstance(value, dict) else statistics.median(found)
    return result


def workspaces(part: Part, measured: str) -> str:
    """A small and a large tree side by side, export, and a git repository."""
    vm = medians(part["rounds"])
    small, large, git, export = vm["small"], vm["source"], vm["git"], vm["export"]
    rows = []
    for key in ["create", "first exec", "exec", "diff", "diff again", "diff --full", "delete"]:
        rows.append(
            [key, seconds(small[key]), seconds(large[key]), f"{large[key] / small[key]:.2f}"]
        )
    for key in ["report bytes", "visited"]:
        rows.append(
            [
                f"diff: {key}",
                f"{small[key]:.0f}",
                f"{large[key]:.0f}",
                f"{large[key] / small[key]:.2f}",
            ]
        )
    for key in ["content served by create", "store growth", "scratch disk"]:
        rows.append([key, amount(small[key]), amount(large[key]), ""])
    key = "daemon peak MiB"
    rows.append(["daemon, peak memory", f"{small[key]:.0f} MiB", f"{large[key]:.0f} MiB", ""])
    files = part["files"]
    names = [f"{files[name]:,} files" for name in ("small", "source")]
    share = git["content served"] / git["content of the seed"] * 100
    status = table(
        ["", "seconds or bytes"],
        [
            ["first `git status`", seconds(git["first status"])],
            ["second `git status`", seconds(git["second status"])],
            [
                "content served for the first",
                f"{amount(git['content served'])} = {share:.2f} % of the seed",
            ],
            ["directory nodes served", amount(git["tree served"])],
        ],
    )
    return f"""## Workspaces

{measured}

Environment `debian:12`, 1 vCPU, 1024 MiB, execution mode `{part["mode"]}` (`qemu-tcg` is emulation, several times slower
than KVM). The store knows the trees already: `create` is a second workspace from an
unchanged directory. The same ten changes (five edits, two deletions, two additions, one chmod) in a small and in a large tree;
`diff --full` and `git status` once:

{table(["", *names, "ratio"], rows)}

- `pyro run debian:12 -- true`, nothing before it and nothing after: {seconds(vm["run"]["run true"])}.
- Copying the large tree (`cp -a`) takes {seconds(vm["copy"]["cp -a"])}; `create` takes {seconds(large["create"])}, boot included.
- Export of all {files["source"]:,} files after the ten changes: {seconds(export["export"])}, {amount(export["written"])} written, of which
  {amount(export["fetched"])} crossed from the guest.
- The tree of a change report and that of a full scan (`diff --full`) were the same.

A git repository of {files["seed"]:,} files, {amount(git["content of the seed"])} with its packs, never read before in its guest:

{status}
"""


def moments(part: Part) -> str:
    """Many directories, pauses, forks."""
    vm = medians(part["rounds"])
    few, dirs, busy, fork = vm["dirs_few"], vm["dirs"], vm["busy"], vm["fork"]
    rows = []
    for title, key in [
        ("diff", "diff"),
        ("diff again", "diff again"),
        ("first `git status` in the guest", "first status"),
        ("second `git status` in the guest", "second status"),
    ]:
        ratio = dirs[key] / few[key]
        bar = "≤ 1.5" if key.startswith("diff") else ""
        verdict = ("met" if ratio <= 1.5 else "**not met**") if bar else ""
        rows.append([title, seconds(few[key]), seconds(dirs[key]), f"{ratio:.2f}", bar, verdict])
    pauses = table(
        ["", "seconds"],
        [
            ["commands stand still, median", seconds(busy["pause"])],
            ["in 95 of 100 cases at most", seconds(busy["pause 95"])],
            ["at most", seconds(busy["longest pause"])],
            ["a whole diff, median", seconds(busy["diff"])],
        ],
    )
    return f"""### Many directories

The same ten changes in git repositories of 100 and of {part["files"]["dirs"]:,} directories:

{table(["", "100", f"{part['files']['dirs']:,}", "ratio", "bar", ""], rows)}

### One moment

100 diffs and 20 snapshots of a workspace in which a loop makes, packs, unpacks, compares and removes files all the time; its steps
go on without a failure. {amount(busy["fetched while frozen"])} of content crossed during a pause, on average.

{pauses}

### Forks

A fork of a workspace of {part["files"]["source"]:,} files after the ten changes: {seconds(fork["fork"])}, boot included; {fork["chunks added"]:.0f} chunks and
{fork["bytes added"]:.0f} bytes were added to the store.
"""


def boots(part: Part, measured: str) -> str:
    """From nothing to the first command's end."""
    medians_ = medians(part["rounds"])
    bare, cold, warm = medians_["bare"], medians_["cold"], medians_["warm"]
    rows = [["bare boot", "", "", seconds(bare), "1.00"]]
    plain = medians_["plain"]
    rows.append(
        ["bare boot without pyro's shortcuts", "", "", seconds(plain), f"{plain / bare:.2f}"]
    )
    for title, row in [("`create`, then `exec`", cold), ("the same with `PYRO_WARM=1`", warm)]:
        times = [seconds(row[name]) for name in ("create", "exec", "both")]
        rows.append([title, *times, f"{row['both'] / bare:.2f}"])
    for name, row in medians_.get("backends", {}).items():
        times = [seconds(row[part_]) for part_ in ("create", "exec", "both")]
        rows.append([f"`PYRO_BACKEND={name}`", *times, f"{row['both'] / bare:.2f}"])
    for name, reason in part.get("skipped", {}).items():
        rows.append([f"`PYRO_BACKEND={name}`: skipped, {reason}", "", "", "", ""])
    run = medians_["run"]
    rows.append(["`run`, which also deletes the VM", "", "", seconds(run), f"{run / bare:.2f}"])
    return f"""## From nothing to the first command

{measured} Execution mode `{part["mode"]}`, and each backend that works here by itself. A bare boot is the
same QEMU, machine, kernel and command line, with an init that ends at once, no disks and no vsock; its time has QEMU's start and end
in it. The shortcuts are words of that command line (`initcall_blacklist`, ...) by which the kernel leaves out what guests do not need. An empty workspace, `true` as its command:

{table(["", "create", "first exec", "together", "ratio"], rows)}
"""


def mcp(part: Part, measured: str) -> str:
    """The bare call and the same call as a tool."""
    cost = part["seconds"]
    rows = [["bare call on the daemon's Unix socket", f"{cost['bare'] * 1000:.2f}", "1.0", ""]]
    for title, name in [("standard streams", "stdio"), ("HTTP with a session and a token", "HTTP")]:
        more = (cost[name] - cost["bare"]) * 1000
        row = [
            f"tool, {title}",
            f"{cost[name] * 1000:.2f}",
            f"{cost[name] / cost['bare']:.1f}",
            f"{more:.2f}",
        ]
        rows.append(row)
    return f"""## MCP

{measured} The trivial tool `{part["tool"]}` beside the daemon call that it makes, the three in turn, the client being Python's
standard library.

{table(["", "ms", "ratio", "more than the bare call, ms"], rows)}
"""
