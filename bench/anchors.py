"""The tools that pyro is compared with, each with its defaults."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Iterator

from .measure import Cost, content_bytes, run
from .pyro import PyroTool
from .tool import Tool

STORES = ["ingest", "unchanged", "v2", "v2_copy", "diff", "checkout", "verify"]


class Restic(Tool):
    """Encrypts always."""

    name = "restic"
    jobs = frozenset(STORES)

    def _run(self, *args: str, cwd: pathlib.Path | None = None) -> Cost:
        env = {
            "RESTIC_REPOSITORY": str(self.home / "repository"),
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(self.home / "cache"),
        }
        return run(["restic", *args], env=env, cwd=str(cwd) if cwd else None)

    def create(self) -> None:
        self._run("init")

    def put(self, tree: pathlib.Path) -> Cost:
        return self._run("--quiet", "backup", ".", cwd=tree)

    def diff(self) -> Cost:
        snapshots = json.loads(self._run("snapshots", "--json").stdout)
        snapshots.sort(key=lambda snapshot: snapshot["time"])
        before, after = snapshots[-2:]
        return self._run("--quiet", "diff", before["id"], after["id"])

    def checkout(self, out: pathlib.Path) -> Cost:
        return self._run("--quiet", "restore", "latest", "--target", str(out))

    def verify(self) -> Cost:
        return self._run("--quiet", "check", "--read-data")

    def payload(self) -> int:
        return content_bytes(self.home / "repository" / "data")

    def directory(self) -> pathlib.Path:
        return self.home / "repository"


class Rustic(Restic):
    """The same repository format, in Rust."""

    name = "rustic"
    program = ""

    def _run(self, *args: str, cwd: pathlib.Path | None = None) -> Cost:
        env = {
            "RUSTIC_REPOSITORY": str(self.home / "repository"),
            "RUSTIC_PASSWORD": "bench",
            "RUSTIC_CACHE_DIR": str(self.home / "cache"),
            "RUSTIC_NO_PROGRESS": "true",
            "RUSTIC_LOG_LEVEL": "error",
            # No profile of whoever runs this.
            "XDG_CONFIG_HOME": str(self.home),
        }
        return run([self.program, *args], env=env, cwd=str(cwd) if cwd else None)

    def put(self, tree: pathlib.Path) -> Cost:
        return self._run("backup", ".", cwd=tree)

    def diff(self) -> Cost:
        return self._run("diff", "latest~1", "latest")

    def checkout(self, out: pathlib.Path) -> Cost:
        return self._run("restore", "latest", str(out))

    def verify(self) -> Cost:
        return self._run("check", "--read-data")


class Borg(Tool):
    """lz4 and no encryption."""

    name = "borg"
    jobs = frozenset(STORES)

    def _run(self, *args: str, cwd: pathlib.Path | None = None) -> Cost:
        env = {
            "BORG_REPO": str(self.directory()),
            "BORG_BASE_DIR": str(self.home / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        return run(["borg", *args], env=env, cwd=str(cwd) if cwd else None)

    def _archives(self) -> list[str]:
        return self._run("list", "--short").stdout.split()

    def create(self) -> None:
        self._run("init", "-e", "none")

    def put(self, tree: pathlib.Path) -> Cost:
        return self._run("create", f"::n{len(self._archives())}", ".", cwd=tree)

    def diff(self) -> Cost:
        before, after = self._archives()[-2:]
        return self._run("diff", f"::{before}", after)

    def checkout(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        return self._run("extract", f"::{self._archives()[-1]}", cwd=out)

    def verify(self) -> Cost:
        return self._run("check", "--verify-data")

    def payload(self) -> int:
        return content_bytes(self.directory() / "data")

    def directory(self) -> pathlib.Path:
        return self.home / "repository"


class Git(Tool):
    """`git add --all`, `git commit`: loose objects, none of them synced."""

    name = "git"
    jobs = frozenset(STORES)

    def _git(self, *args: str, tree: pathlib.Path | None = None) -> Cost:
        options = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
        if tree:
            options += ["--work-tree", str(tree), "-c", "core.bare=false"]
        return run(
            ["git", "--git-dir", str(self.home), *options, *args], cwd=str(tree) if tree else None
        )

    def create(self) -> None:
        self._git("init", "-q", "--bare")

    def put(self, tree: pathlib.Path) -> Cost:
        add = self._git("add", "--all", "--force", ".", tree=tree)
        commit = self._git("commit", "-q", "--allow-empty", "-m", "bench", tree=tree)
        return Cost(add.seconds + commit.seconds, max(add.peak_mib, commit.peak_mib))

    def diff(self) -> Cost:
        return self._git("diff-tree", "-r", "--name-status", "HEAD~1", "HEAD")

    def checkout(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        (self.home / "index").unlink()
        return self._git("checkout", "-q", "-f", "HEAD", "--", ".", tree=out)

    def verify(self) -> Cost:
        return self._git("fsck", "--full", "--no-progress")

    def payload(self) -> int:
        return content_bytes(self.home / "objects")


class Seed(Tool):
    """A git repository that is packed and whose index is clean: the corpus `seed`, which is not written to."""

    name = "git, packed"
    jobs = frozenset(["unchanged", "diff"])
    repository = pathlib.Path()

    def create(self) -> None:
        self.put(self.repository)

    def put(self, tree: pathlib.Path) -> Cost:
        return run(["git", "-C", str(self.repository), "status", "--short"])

    def diff(self) -> Cost:
        tags = ["refs/tags/first", "refs/tags/second"]
        return run(["git", "-C", str(self.repository), "diff-tree", "-r", "--name-status", *tags])


class TarZstd(Tool):
    """No store: the whole tree each time."""

    jobs = frozenset(["ingest", "checkout", "verify"])
    level = 0

    @property
    def file(self) -> str:
        return str(self.home / "tree.tar.zst")

    def _pipe(self, script: str, *args: str) -> Cost:
        return run(["bash", "-c", f"set -o pipefail; {script}", "pipe", *args])

    def put(self, tree: pathlib.Path) -> Cost:
        script = f'tar -C "$1" -cf - . | zstd -q -{self.level} -T2 -o "$2"'
        return self._pipe(script, str(tree), self.file)

    def checkout(self, out: pathlib.Path) -> Cost:
        out.mkdir()
        return self._pipe('zstd -q -dc "$1" | tar -C "$2" -xf -', self.file, str(out))

    def verify(self) -> Cost:
        return run(["zstd", "-q", "-t", self.file])

    def payload(self) -> int:
        return content_bytes(self.home)


class TarZstd1(TarZstd):
    name, level = "tar, zstd -1", 1


class TarZstd3(TarZstd):
    name, level = "tar, zstd -3", 3


class Copy(Tool):
    """`cp -a` of the tree itself, to compare checkouts with."""

    name = "cp -a"
    jobs = frozenset(["checkout", "checkout_synced"])
    tree = pathlib.Path()

    def checkout(self, out: pathlib.Path) -> Cost:
        return run(["cp", "-a", str(self.tree), str(out)])

    def checkout_synced(self, out: pathlib.Path) -> Cost:
        return run(
            ["bash", "-c", 'cp -a "$1" "$2" && sync -f "$2"', "copy", str(self.tree), str(out)]
        )


def installed(
    pyro: str, rustic: str | None, corpora: pathlib.Path, tree: pathlib.Path
) -> Iterator[type[Tool]]:
    """Every tool that is here."""
    PyroTool.program = pyro
    yield PyroTool
    if rustic:
        Rustic.program = rustic
        yield Rustic
    Seed.repository, Copy.tree = corpora / "seed", tree
    anchors: list[tuple[str, type[Tool]]] = [
        ("restic", Restic),
        ("borg", Borg),
        ("git", Git),
        ("git", Seed),
        ("zstd", TarZstd1),
        ("zstd", TarZstd3),
        ("cp", Copy),
    ]
    for program, tool in anchors:
        if shutil.which(program):
            yield tool
