"""What workspaces cost: creating, the first command, a diff of the same changes in a large and a small tree."""

from __future__ import annotations

import pathlib

from measure import Pyro, content_bytes, disk_bytes, peak_mib, reset_peak, run

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


class Workspaces:
    """A home whose store knows the corpora already; every row makes and deletes its own workspace."""

    def __init__(self, program: str, work: pathlib.Path, corpora: pathlib.Path):
        self.pyro = Pyro(program, work / "vm-home")
        self.corpora = corpora
        self.work = work
        self.pyro.start()
        self.pyro.timed("env", "pull", ENVIRONMENT)
        for name in ["small", "source", "seed"]:
            self.pyro.timed("store", "ingest", str(corpora / name))
        # The first machine of a home probes KVM and packs the initramfs.
        self.pyro.timed("run", ENVIRONMENT, "--", "true")

    def close(self) -> None:
        self.pyro.stop()

    def run_true(self) -> dict[str, float]:
        """One command in a machine of its own, from nothing to nothing."""
        return {"run true": self.pyro.timed("run", ENVIRONMENT, "--", "true").seconds}

    def tree(self, name: str) -> dict[str, float]:
        """The life of a workspace seeded from a corpus."""
        pyro, rows = self.pyro, {}
        daemon = pyro.daemon()
        reset_peak(daemon)
        stored = disk_bytes(pyro.home / "store" / "packs")
        made, rows["create"] = pyro.json("workspace", "create", ENVIRONMENT, "--seed-path", str(self.corpora / name))
        workspace = made["workspace_id"]
        rows["content served by create"] = made["served"]["content_bytes"]
        rows["store growth"] = disk_bytes(pyro.home / "store" / "packs") - stored
        rows["scratch disk"] = disk_bytes(pyro.home / "workspaces" / workspace)
        rows["first exec"] = pyro.timed("workspace", "exec", workspace, "--", "true").seconds
        rows["exec"] = pyro.timed("workspace", "exec", workspace, "--", "true").seconds
        pyro.timed("workspace", "exec", workspace, "--", "bash", "-c", CHANGES, "changes", "fs")
        diff, rows["diff"] = pyro.json("workspace", "diff", workspace)
        assert diff["summary"]["total"] == 10, diff["summary"]
        rows["diff again"] = pyro.json("workspace", "diff", workspace)[1]
        rows["report bytes"] = diff["report"]["report_bytes"]
        rows["visited"] = diff["report"]["visited"]
        full, rows["diff --full"] = pyro.json("workspace", "diff", "--full", workspace)
        assert full["tree"] == diff["tree"], "a full scan and the report must give the same tree"
        rows["daemon peak MiB"] = peak_mib(daemon)
        rows["delete"] = pyro.timed("workspace", "delete", workspace).seconds
        return rows

    def git_status(self) -> dict[str, float]:
        """The first and second `git status` of a git repository, and what they served."""
        pyro, rows = self.pyro, {}
        made, rows["create"] = pyro.json("workspace", "create", ENVIRONMENT, "--seed-path", str(self.corpora / "seed"))
        workspace = made["workspace_id"]
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
        pyro, rows = self.pyro, {}
        made, _ = pyro.json("workspace", "create", ENVIRONMENT, "--seed-path", str(self.corpora / "source"))
        workspace = made["workspace_id"]
        pyro.timed("workspace", "exec", workspace, "--", "bash", "-c", CHANGES, "changes", "fs")
        out = self.work / f"export-{number}"
        export, rows["export"] = pyro.json("workspace", "export", workspace, ".", "--output", str(out))
        rows["fetched"] = export["bytes_fetched"]
        rows["written"] = export["bytes_written"]
        pyro.timed("workspace", "delete", workspace)
        return rows

    def copy(self, number: int) -> dict[str, float]:
        """What a workspace made of a copied tree would start with."""
        out = self.work / f"copy-{number}"
        return {"cp -a": run(["cp", "-a", str(self.corpora / "source"), str(out)]).seconds}
