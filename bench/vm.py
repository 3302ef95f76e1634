"""What workspaces cost: creating, the first command, a diff of the same changes in a large and a small tree."""

from __future__ import annotations

import pathlib
import statistics
from typing import Any

from .measure import content_bytes, disk_bytes, peak_mib, reset_peak, run
from .pyro import Pyro
from .rounds import say

ENVIRONMENT = "debian:12"

# Ten changes that both trees can take: five edits, two deletions, two additions, one mode.
CHANGES = r"""
set -e
find "$1" -type f -name '*.[ch]' | LC_ALL=C sort | head -n 8 > /tmp/names
n=0
while read -r name; do
    n=$((n + 1))
    case $n in
        [1-5]) echo "/* changed $n */" >> "$name" ;;
        [67]) rm "$name" ;;
        8) chmod 755 "$name" ;;
    esac
done < /tmp/names
echo one > added-1.c
echo two > "$1/added-2.c"
"""


# Makes, reads and removes files all the time; ends when one of its steps fails.
BUILD = r"""
mkdir -p build
while :; do
    seq 1 20000 > build/input
    tar -C build -cf build/out.tar input
    rm -rf build/copy
    mkdir build/copy
    tar -C build/copy -xf build/out.tar
    cmp build/input build/copy/input
done
"""


class Workspaces:
    """A home whose store knows the corpora already; every row makes and deletes its own workspace."""

    def __init__(self, program: str, work: pathlib.Path, corpora: pathlib.Path):
        self.pyro = Pyro(program, work / "vm-home")
        self.corpora = corpora
        self.work = work
        self.pyro.start()
        self.pyro.timed("env", "pull", ENVIRONMENT)
        for name in ["small", "source", "seed", "dirs_few", "dirs"]:
            self.pyro.timed("store", "ingest", str(corpora / name))
        # The first machine of a home probes KVM and packs the initramfs.
        probe, _ = self.pyro.json("run", ENVIRONMENT, "--", "true")
        self.mode = str(probe["execution_mode"])

    def close(self) -> None:
        self.pyro.stop()

    def _create(self, name: str, rows: dict[str, float]) -> tuple[str, dict[str, Any]]:
        """A workspace seeded from a corpus: its id and its document."""
        seed = str(self.corpora / name)
        made, cost = self.pyro.json("workspace", "create", ENVIRONMENT, "--seed-path", seed)
        rows["create"] = cost.seconds
        return made["workspace_id"], made

    def _change(self, workspace: str) -> None:
        """Makes the ten changes."""
        words = ["bash", "-c", CHANGES, "changes", "fs"]
        self.pyro.timed("workspace", "exec", workspace, "--", *words)

    def run_true(self) -> dict[str, float]:
        """One command in a machine of its own, from nothing to nothing."""
        return {"run true": self.pyro.timed("run", ENVIRONMENT, "--", "true").seconds}

    def tree(self, name: str, *, full: bool) -> dict[str, float]:
        """The life of a workspace seeded from a corpus. `full`: everything in it is looked at, too."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        daemon = pyro.daemon()
        reset_peak(daemon)
        stored = disk_bytes(pyro.home / "store" / "packs")
        workspace, made = self._create(name, rows)
        rows["content served by create"] = made["served"]["content_bytes"]
        rows["store growth"] = disk_bytes(pyro.home / "store" / "packs") - stored
        rows["scratch disk"] = disk_bytes(pyro.home / "workspaces" / workspace)
        rows["first exec"] = pyro.timed("workspace", "exec", workspace, "--", "true").seconds
        rows["exec"] = pyro.timed("workspace", "exec", workspace, "--", "true").seconds
        self._change(workspace)
        diff, cost = pyro.json("workspace", "diff", workspace)
        rows["diff"] = cost.seconds
        assert diff["summary"]["total"] == 10, diff["summary"]
        rows["diff again"] = pyro.json("workspace", "diff", workspace)[1].seconds
        rows["report bytes"] = diff["report"]["report_bytes"]
        rows["visited"] = diff["report"]["visited"]
        if full:
            scan, cost = pyro.json("workspace", "diff", "--full", workspace)
            rows["diff --full"] = cost.seconds
            assert scan["tree"] == diff["tree"], (
                "a full scan and the report must give the same tree"
            )
        rows["daemon peak MiB"] = peak_mib(daemon)
        rows["delete"] = pyro.timed("workspace", "delete", workspace).seconds
        return rows

    def dirs(self, name: str, *, git: bool) -> dict[str, float]:
        """The same changes among many directories; `git`: and `git status` of them in the guest."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        workspace, _ = self._create(name, rows)
        self._change(workspace)
        diff, cost = pyro.json("workspace", "diff", workspace)
        rows["diff"] = cost.seconds
        assert diff["summary"]["total"] == 10, diff["summary"]
        again = [pyro.json("workspace", "diff", workspace)[1].seconds for _ in range(5)]
        rows["diff again"] = statistics.median(again)
        if git:
            status = ["workspace", "exec", workspace, "--", "git", "status", "--short"]
            rows["first status"] = pyro.timed(*status).seconds
            rows["second status"] = pyro.timed(*status).seconds
        pyro.timed("workspace", "delete", workspace)
        return rows

    def busy(self) -> dict[str, float]:
        """How long commands stand still while something writes all the time."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        workspace, _ = self._create("small", rows)
        start = ["workspace", "exec", workspace, "--detach", "--", "sh", "-ec", BUILD]
        build = str(pyro.json(*start)[0]["sequence"])
        pauses, whole, fetched = [], [], 0
        for _ in range(100):
            diff, cost = pyro.json("workspace", "diff", workspace)
            assert diff["report"]["frozen"], diff["report"]
            pauses.append(diff["report"]["paused_us"] / 1e6)
            whole.append(cost.seconds)
            fetched += diff["report"]["fetched_bytes"]
        for number in range(20):
            made, _ = pyro.json("workspace", "snapshot", "create", workspace, f"s{number}")
            assert made["frozen"], made
            pauses.append(made["paused_us"] / 1e6)
        state = pyro.json("workspace", "exec", "read", workspace, build)[0]["state"]
        assert state == "running", f"the build ended: {state}"
        pyro.timed("workspace", "delete", workspace)
        pauses.sort()
        return {
            "pause": statistics.median(pauses),
            "pause 95": pauses[len(pauses) * 95 // 100],
            "longest pause": pauses[-1],
            "diff": statistics.median(whole),
            "fetched while frozen": fetched / 100,
        }

    def fork(self) -> dict[str, float]:
        """Another workspace from one of the large tree, after ten changes."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        workspace, _ = self._create("source", rows)
        self._change(workspace)
        pyro.json("workspace", "snapshot", "create", workspace, "base")
        before = pyro.json("store", "stats")[0]
        fork, cost = pyro.json("workspace", "fork", workspace, "--snapshot", "base")
        after = pyro.json("store", "stats")[0]
        rows["fork"] = cost.seconds
        rows["chunks added"] = after["chunk_count"] - before["chunk_count"]
        rows["bytes added"] = after["pack_bytes"] - before["pack_bytes"]
        for one in (fork["workspace_id"], workspace):
            pyro.timed("workspace", "delete", one)
        return rows

    def git_status(self) -> dict[str, float]:
        """The first and second `git status` of a git repository, and what they served."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        workspace, _ = self._create("seed", rows)
        status = ["workspace", "exec", workspace, "--", "git", "status", "--short"]
        rows["first status"] = pyro.timed(*status).seconds
        served = pyro.json("workspace", "status", workspace)[0]["served"]
        rows["content served"] = served["content_bytes"]
        rows["tree served"] = served["tree_bytes"]
        rows["content of the seed"] = content_bytes(self.corpora / "seed")
        rows["second status"] = pyro.timed(*status).seconds
        pyro.timed("workspace", "delete", workspace)
        return rows

    def export(self, number: int) -> dict[str, float]:
        """A whole tree taken out after ten changes."""
        pyro = self.pyro
        rows: dict[str, float] = {}
        workspace, _ = self._create("source", rows)
        self._change(workspace)
        out = self.work / f"export-{number}"
        export, cost = pyro.json("workspace", "export", workspace, ".", "--output", str(out))
        rows["export"] = cost.seconds
        rows["fetched"] = export["bytes_fetched"]
        rows["written"] = export["bytes_written"]
        pyro.timed("workspace", "delete", workspace)
        return rows

    def copy(self, number: int) -> dict[str, float]:
        """What a workspace made of a copied tree would start with."""
        out = self.work / f"copy-{number}"
        return {"cp -a": run(["cp", "-a", str(self.corpora / "source"), str(out)]).seconds}


def measure(program: str, work: pathlib.Path, corpora: pathlib.Path, runs: int) -> dict[str, Any]:
    """All rows, a list of rounds. What takes minutes under emulation is done in the first round only."""
    workspaces, rounds = Workspaces(program, work, corpora), []
    try:
        for number in range(runs):
            first = number == 0
            rows = {
                "run": workspaces.run_true(),
                "small": workspaces.tree("small", full=first),
                "source": workspaces.tree("source", full=first),
                "export": workspaces.export(number),
                "copy": workspaces.copy(number),
                "dirs_few": workspaces.dirs("dirs_few", git=first),
                "dirs": workspaces.dirs("dirs", git=first),
                "fork": workspaces.fork(),
            }
            if first:
                rows["busy"] = workspaces.busy()
                rows["git"] = workspaces.git_status()
            rounds.append(rows)
            for name, row in rows.items():
                told = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
                say(f"vm {number + 1}: {name}: {told}")
    finally:
        workspaces.close()
    return {"runs": runs, "mode": workspaces.mode, "rounds": rounds}
