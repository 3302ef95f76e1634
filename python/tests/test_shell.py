"""Shells, used by several instances."""

from __future__ import annotations

import hashlib

import pytest
from conftest import ENVIRONMENT, Home, Recorded
from documents import check

from pyro_mcp import InvalidArgument, Pyro, ShellStopped, UnknownShell, results

pytestmark = pytest.mark.vm


def until(pyro: Pyro, workspace: str, shell: str, wanted: str, cursor: int = 0) -> int:
    """Reads until the text was printed; the cursor after it."""
    seen = ""
    while wanted not in seen:
        read = pyro.read_shell(workspace, shell, cursor=cursor, plain=True, wait_for_idle_ms=200)
        check(read, results.ShellRead)
        assert read["state"] == "running", seen
        seen, cursor = seen + read["output"], read["next_cursor"]
    return cursor


def test_a_shell_is_shared_by_instances(home: Home) -> None:
    opener, writer, reader = (Recorded(binary=home.pyro.binary, home=home.path) for _ in range(3))
    workspace = opener.create_workspace(ENVIRONMENT)["workspace_id"]
    opened = opener.open_shell(workspace, cwd="/tmp", cols=100, rows=40)
    check(opened, results.ShellInfo)
    assert (opened["cwd"], opened["cols"], opened["rows"]) == ("/tmp", 100, 40)
    shell = opened["shell_id"]
    written = writer.write_shell(workspace, shell, input="A=6; stty size; echo $((A * 7))!")
    check(written, results.ShellWrite)
    assert (written["input_length"], written["append_newline"]) == (32, True)
    home.daemon("stop")
    cursor = until(reader, workspace, shell, "42!")
    listed = reader.list_shells(workspace)
    check(listed, results.ShellList)
    assert [each["shell_id"] for each in listed["shells"]] == [shell]
    writer.write_shell(workspace, shell, input="-x", append_newline=False)
    writer.write_shell(workspace, shell, input="", append_newline=False)
    cursor = until(reader, workspace, shell, "-x", cursor)
    signaled = writer.signal_shell(workspace, shell)
    check(signaled, results.ShellSignal)
    assert signaled["signal"] == "INT"
    with pytest.raises(InvalidArgument):
        writer.signal_shell(workspace, shell, signal_name="NONSENSE")
    assert reader.logs_workspace(workspace)["entries"] == []
    closed = opener.close_shell(workspace, shell)
    check(closed, results.ShellClose)
    with pytest.raises(UnknownShell):
        reader.read_shell(workspace, shell)


def test_long_and_binary_input_arrives_whole(home: Home) -> None:
    pyro = home.pyro
    workspace = pyro.create_workspace(ENVIRONMENT)["workspace_id"]
    shell = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell, input="stty raw -echo; echo rea''dy; head -c 300000 > got")
    until(pyro, workspace, shell, "ready")
    long = bytes(range(256)) * 1172
    # A terminal takes a little at a time: the write ends when it has taken all.
    pyro.write_shell(workspace, shell, input=long[:300_000], append_newline=False)
    ran = pyro.exec_workspace(
        workspace, command="until [ $(stat -c %s got) = 300000 ]; do sleep 0.1; done; md5sum < got"
    )
    assert ran["stdout"].split()[0] == hashlib.md5(long[:300_000]).hexdigest()
    with pytest.raises(InvalidArgument):
        pyro.write_shell(workspace, shell, input=b"x" * (10 << 20))


def test_a_shell_that_has_ended_says_so(home: Home) -> None:
    pyro = home.pyro
    workspace = pyro.create_workspace(ENVIRONMENT)["workspace_id"]
    shell = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell, input="exit 3")
    while (read := pyro.read_shell(workspace, shell, wait_for_idle_ms=100))["state"] == "running":
        pass
    assert read["exit_code"] == 3
    with pytest.raises(ShellStopped):
        pyro.write_shell(workspace, shell, input="more")
    assert pyro.close_shell(workspace, shell)["exit_code"] == 3
