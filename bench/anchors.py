"""The same jobs done by each tool: put a tree in, again, its next version, compare, take out, check.

A job that a tool has no equivalent of is None.
"""

from __future__ import annotations

import json
import pathlib
import shutil

from measure import Cost, Pyro, disk_bytes, peak_mib, reset_peak, run, run_measured

JOBS = ["ingest", "unchanged", "v2", "diff", "restore", "verify"]


class PyroTool:
    name = "pyro"

    def __init__(self, program: str, work: pathlib.Path):
        self.pyro = Pyro(program, work / "pyro-home")
        self.ids: list[str] = []

    def _call(self, *args: str) -> tuple[dict, Cost]:
        """The daemon does the work: its memory counts, and so does its client's."""
        # An idle daemon may have ended while other tools were at work.
        daemon = self.pyro.start()
        reset_peak(daemon)
        document, seconds = self.pyro.json("store", *args)
        return document, Cost(seconds, peak_mib(daemon) + self._client_mib())

    def _client_mib(self) -> float:
        # The client only passes lines on: the same for every call.
        if not hasattr(self, "_client"):
            argv = [self.pyro.program, "store", "list"]
            self._client = run_measured(argv, env=self.pyro.env).peak_mib
        return self._client

    def _ingest(self, tree: pathlib.Path) -> Cost:
        document, cost = self._call("ingest", str(tree))
        self.ids.append(document["baseline"])
        return cost

    ingest = unchanged = v2 = _ingest

    def diff(self) -> Cost:
        return self._call("diff", self.ids[0], self.ids[-1])[1]

    def restore(self, out: pathlib.Path) -> Cost:
        return self._call("checkout", self.ids[-1], str(out))[1]

    def verify(self) -> Cost:
        document, cost = self._call("verify")
        assert document["clean"], document
        return cost

    def stored(self) -> int:
        return disk_bytes(self.pyro.home / "store")

    def close(self) -> None:
        self.pyro.stop()


class Restic:
    name = "restic"

    def __init__(self, work: pathlib.Path):
        self.repo = work / "restic"
        self.env = {
            "RESTIC_REPOSITORY": str(self.repo),
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(work / "restic-cache"),
        }
        self._run("init")

    def _run(self, *args: str, cwd: str | None = None) -> Cost:
        return run_measured(["restic", "--quiet", *args], env=self.env, cwd=cwd)

    def _backup(self, tree: pathlib.Path) -> Cost:
        self.count = getattr(self, "count", 0) + 1
        return self._run("backup", "--tag", f"n{self.count}", ".", cwd=str(tree))

    ingest = unchanged = v2 = _backup

    def diff(self) -> Cost:
        listed = run(["restic", "snapshots", "--json"], env=self.env)
        ids = [snapshot["id"] for snapshot in json.loads(listed.stdout)]
        return self._run("diff", ids[0], ids[-1])

    def restore(self, out: pathlib.Path) -> Cost:
        return self._run("restore", "latest", "--target", str(out))

    def verify(self) -> Cost:
        return self._run("check", "--read-data")

    def stored(self) -> int:
        return disk_bytes(self.repo)

    def close(self) -> None:
        pass


class Borg:
    name = "borg"

    def __init__(self, work: pathlib.Path):
        self.repo = work / "borg"
        self.env = {
            "BORG_REPO": str(self.repo),
            "BORG_BASE_DIR": str(work / "borg-base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        self.count = 0
        self._run("init", "-e", "none")

    def _run(self, *args: str, cwd: str | None = None) -> Cost:
        return run_measured(["borg", *args], env=self.env, cwd=cwd)

    def _create(self, tree: pathlib.Path) -> Cost:
        self.count += 1
        return self._run("create", f"::n{self.count}", ".", cwd=str(tree))

    ingest = unchanged = v2 = _create

    def diff(self) -> Cost:
        return self._run("diff", "::n1", f"n{self.count}")

    def restore(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        return self._run("extract", f"::n{self.count}", cwd=str(out))

    def verify(self) -> Cost:
        return self._run("check", "--verify-data")

    def stored(self) -> int:
        return disk_bytes(self.repo)

    def close(self) -> None:
        pass


class Git:
    name = "git"

    def __init__(self, work: pathlib.Path):
        self.dir = work / "git"
        run_measured(["git", "init", "-q", "--bare", str(self.dir)])
        self.count = 0

    def _git(self, tree: pathlib.Path | None, *args: str) -> Cost:
        where = ["--work-tree", str(tree), "-c", "core.bare=false"] if tree else []
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
        return run_measured(
            ["git", "--git-dir", str(self.dir), *identity, *where, *args], cwd=str(tree) if tree else None
        )

    def _commit(self, tree: pathlib.Path) -> Cost:
        self.count += 1
        add = self._git(tree, "add", "--all", "--force", ".")
        commit = self._git(tree, "commit", "-q", "--allow-empty", "-m", "bench")
        tag = self._git(tree, "tag", f"n{self.count}")
        return Cost(add.seconds + commit.seconds + tag.seconds, max(add.peak_mib, commit.peak_mib))

    ingest = unchanged = v2 = _commit

    def diff(self) -> Cost:
        return self._git(None, "diff", "--name-status", "n1", f"n{self.count}")

    def restore(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        (self.dir / "index").unlink()
        return self._git(out, "checkout", "-q", "-f", f"n{self.count}", "--", ".")

    def verify(self) -> Cost:
        return self._git(None, "fsck", "--full", "--no-progress")

    def stored(self) -> int:
        return disk_bytes(self.dir)

    def close(self) -> None:
        pass


class TarZstd:
    name = "tar+zstd"
    unchanged = v2 = diff = None

    def __init__(self, work: pathlib.Path):
        self.file = work / "tree.tar.zst"

    def ingest(self, tree: pathlib.Path) -> Cost:
        return run_measured(["tar", "-C", str(tree), "-I", "zstd -3 -T0", "-cf", str(self.file), "."])

    def restore(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        return run_measured(["tar", "-C", str(out), "-I", "zstd", "-xf", str(self.file)])

    def verify(self) -> Cost:
        return run_measured(["zstd", "-q", "-t", str(self.file)])

    def stored(self) -> int:
        return self.file.stat().st_blocks * 512

    def close(self) -> None:
        pass


def installed(pyro: str, work: pathlib.Path):
    """A new store of each tool that is here."""
    yield PyroTool(pyro, work)
    for program, tool in [("restic", Restic), ("borg", Borg), ("git", Git), ("zstd", TarZstd)]:
        if shutil.which(program):
            yield tool(work)
