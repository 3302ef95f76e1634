"""A program that is missing, older, broken or killed, and requests that make no sense."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Home

from pyro_mcp import (
    BinaryFailed,
    BinaryNotFound,
    BinaryTooOld,
    InvalidArgument,
    NotFound,
    Pyro,
    PyroError,
    UnknownEnvironment,
    UnknownVm,
    UnknownWorkspace,
)

DEADLINE = 60


def program(path: Path, body: str, version: str = "pyro 99.0.0") -> Path:
    """A program that says its version and does as told otherwise."""
    script = f'#!/bin/sh\nif [ "$1" = --version ]; then echo "{version}"; exit; fi\n{body}\n'
    path.write_text(script)
    path.chmod(0o755)
    return path


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "pyro"
    with pytest.raises(BinaryNotFound, match="does not exist") as caught:
        Pyro(binary=missing).list_workspaces()
    assert str(missing) in str(caught.value)
    assert caught.value.hint


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pyro"
    path.write_text("text")
    with pytest.raises(BinaryNotFound, match="not executable"):
        Pyro(binary=path).list_workspaces()
    path.write_bytes(b"\x7fELF, but no more")
    path.chmod(0o755)
    with pytest.raises(BinaryNotFound, match="cannot be executed"):
        Pyro(binary=path).list_workspaces()
    with pytest.raises(BinaryNotFound):
        Pyro(binary=tmp_path).list_workspaces()


def test_without_any_program_the_way_out_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pyro_mcp.binary._installed", lambda: iter([tmp_path]))
    monkeypatch.delenv("PYRO_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BinaryNotFound, match="install the pyro-mcp wheel"):
        Pyro().list_workspaces()
    found = program(tmp_path / "pyro", "echo '{}'")
    assert Pyro().binary == str(found), "the one beside the interpreter"


def test_the_environment_may_name_the_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = program(tmp_path / "another", "echo '{\"workspaces\": []}'")
    monkeypatch.setenv("PYRO_BINARY", str(named))
    assert Pyro().list_workspaces() == {"workspaces": []}


def test_an_older_program_is_refused(tmp_path: Path) -> None:
    older = program(tmp_path / "pyro", "echo '{}'", version="pyro 0.1.0")
    with pytest.raises(BinaryTooOld, match=r"is pyro 0\.1\.0; this package needs") as caught:
        Pyro(binary=older).list_workspaces()
    assert "install" in str(caught.value.hint)


@pytest.mark.parametrize("printed", ["", "GNU pyro 1.2", "pyro"])
def test_another_program_is_not_taken_for_pyro(tmp_path: Path, printed: str) -> None:
    other = program(tmp_path / "pyro", "echo '{}'", version=printed)
    with pytest.raises(BinaryFailed, match="is not the pyro program"):
        Pyro(binary=other).list_workspaces()


@pytest.mark.parametrize("body", ["echo garbage", "true", "echo '[1]'", "printf '\\377'", "exit 3"])
def test_garbage_is_no_document(tmp_path: Path, body: str) -> None:
    broken = program(tmp_path / "pyro", body)
    with pytest.raises(BinaryFailed, match="printed no document"):
        Pyro(binary=broken).list_workspaces()


def test_what_a_broken_program_said_is_shown(tmp_path: Path) -> None:
    broken = program(tmp_path / "pyro", "echo 'cannot open shared object' >&2; exit 127")
    with pytest.raises(BinaryFailed, match="cannot open shared object") as caught:
        Pyro(binary=broken).list_workspaces()
    assert caught.value.exit_code == 127


def test_a_program_that_is_killed_is_told(tmp_path: Path) -> None:
    killed = program(tmp_path / "pyro", "kill -9 $$")
    with pytest.raises(BinaryFailed, match="was ended by SIGKILL") as caught:
        Pyro(binary=killed).list_workspaces()
    assert caught.value.exit_code is None


def test_an_interrupt_ends_the_program_once(tmp_path: Path) -> None:
    """It may clean up: the exception comes when it has."""
    log = tmp_path / "log"
    slow = program(
        tmp_path / "pyro",
        f'trap "echo interrupted >> {log}; exit 130" INT\necho $$ > {log}\n'
        "while :; do sleep 0.1; done",
    )
    script = "from pyro_mcp import Pyro\nPyro().list_workspaces()\n"
    sdk = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYRO_BINARY": str(slow), "PYTHONPATH": str(sdk)}
    caller = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True
    )
    until(lambda: log.exists() and log.read_text().strip(), "the program runs")
    pid = int(log.read_text())
    caller.send_signal(signal.SIGINT)
    _, said = caller.communicate(timeout=DEADLINE)
    assert "KeyboardInterrupt" in said
    assert log.read_text().splitlines() == [str(pid), "interrupted"]
    assert not Path(f"/proc/{pid}").exists()


def test_an_interrupt_while_the_program_starts_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    slow = program(tmp_path / "pyro", f"echo $$ > {log}; exec sleep 1000")
    pyro = Pyro(binary=slow)
    assert pyro.binary
    fork = subprocess._fork_exec  # type: ignore[attr-defined]

    def interrupted(*args: object) -> object:
        pid = fork(*args)
        until(lambda: log.exists() and log.read_text().strip(), "the program runs")
        # It runs, and nobody has its process id yet.
        signal.raise_signal(signal.SIGINT)
        return pid

    monkeypatch.setattr(subprocess, "_fork_exec", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        pyro.list_workspaces()
    assert not Path(f"/proc/{int(log.read_text())}").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_errors_have_code_message_hint_and_exit_code(bare: Home) -> None:
    with pytest.raises(UnknownWorkspace) as caught:
        bare.pyro.status_workspace("example")
    error = caught.value
    assert (error.code, error.exit_code) == ("unknown_workspace", 3)
    assert "example" in error.message
    assert error.hint
    assert error.hint in str(error)
    assert isinstance(error, NotFound)
    assert isinstance(error, PyroError)


def test_failures_of_pyro_do_not_look_like_the_guests(bare: Home) -> None:
    with pytest.raises(UnknownEnvironment) as caught:
        bare.pyro.run_in_vm("no:such", "true")
    assert caught.value.exit_code == 125
    with pytest.raises(UnknownWorkspace):
        bare.pyro.exec_workspace("example", command="exit 3")


def test_values_that_look_like_options_are_values(bare: Home) -> None:
    for name in ["--help", "-x", "--json", ""]:
        with pytest.raises(UnknownWorkspace):
            bare.pyro.status_workspace(name)
        with pytest.raises(UnknownVm):
            bare.pyro.status_vm(name)
    for name in ["--help", "-x", "--detach"]:
        with pytest.raises(InvalidArgument, match="begins with '-'"):
            bare.pyro.exec_workspace(name, command="true")
    with pytest.raises(UnknownWorkspace):
        bare.pyro.exec_workspace("example", command=["--help"], cwd="-x", env={"A": "--"})


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ([], "empty"),
        ("a\0b", "null byte"),
        ("x" * 200_000, "longer than the system takes"),
        ("\udfff\ud800", "is no text"),
    ],
)
def test_commands_that_cannot_be_passed_on_are_refused(
    bare: Home, command: str | list[str], why: str
) -> None:
    with pytest.raises(InvalidArgument, match=why):
        bare.pyro.exec_workspace("example", command=command)


def test_numbers_that_make_no_sense_are_refused(bare: Home) -> None:
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument):
            bare.pyro.run_in_vm("debian:12", "true", timeout_seconds=seconds)
    with pytest.raises(InvalidArgument):
        bare.pyro.create_workspace("debian:12", vcpu_count=0)
    with pytest.raises(InvalidArgument):
        bare.pyro.create_workspace("debian:12", labels={"": "x"})
