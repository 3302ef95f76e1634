"""Commands that go on without a caller."""

from __future__ import annotations

import pytest
from conftest import ENVIRONMENT, Home
from documents import check

from pyro_mcp import InvalidArgument, UnknownCommand, exact_bytes, results

pytestmark = pytest.mark.vm


def test_a_detached_command_is_read_awaited_and_logged(home: Home) -> None:
    pyro = home.pyro
    workspace = pyro.create_workspace(ENVIRONMENT)["workspace_id"]
    started = pyro.start_exec(
        workspace, command="echo begun; echo odd >&2; until [ -e go ]; do sleep 0.1; done; exit 5"
    )
    check(started, results.ExecView)
    assert started["state"] == "running"
    sequence = started["sequence"]
    seen = ""
    cursor = 0
    while seen != "begun\n":
        view = pyro.read_exec(workspace, sequence, stdout_cursor=cursor, max_bytes=3)
        check(view, results.ExecView)
        assert view["stdout_cursor"] == cursor
        assert len(exact_bytes(view, "stdout")) <= 3
        seen, cursor = seen + view["stdout"], view["stdout_next_cursor"]
    waited = pyro.wait_exec(workspace, sequence, wait_seconds=0.2)
    assert (waited["state"], waited["exit_code"]) == ("running", None)
    assert pyro.logs_workspace(workspace)["running"] == [sequence]
    pyro.exec_workspace(workspace, command=["touch", "go"])
    ended = pyro.wait_exec(workspace, sequence)
    check(ended, results.ExecView)
    assert (ended["state"], ended["exit_code"], ended["stderr"]) == ("exited", 5, "odd\n")
    logged = pyro.logs_workspace(workspace)["entries"]
    assert [entry["exit_code"] for entry in logged if entry["sequence"] == sequence] == [5]


def test_a_detached_command_is_killed(home: Home) -> None:
    workspace = home.pyro.create_workspace(ENVIRONMENT)["workspace_id"]
    started = home.pyro.start_exec(workspace, command=["sleep", "1000"], cwd="/tmp")
    killed = home.pyro.kill_exec(workspace, started["sequence"])
    check(killed, results.ExecView)
    assert (killed["state"], killed["killed"]) == ("exited", True)
    assert home.pyro.kill_exec(workspace, started["sequence"])["state"] == "exited"
    with pytest.raises(UnknownCommand):
        home.pyro.read_exec(workspace, 99)


def test_commands_run_as_the_user_that_is_named(home: Home) -> None:
    pyro = home.pyro
    created = pyro.create_workspace(ENVIRONMENT, name="users", user="www-data")
    assert created["user"] == "www-data"
    assert pyro.exec_workspace("users", command="touch x; id -un")["stdout"] == "www-data\n"
    as_root = pyro.start_exec("users", command=["id", "-u"], user="root")
    assert pyro.wait_exec("users", as_root["sequence"])["stdout"] == "0\n"
    with pytest.raises(InvalidArgument, match="no user"):
        pyro.open_shell("users", user="nobody-such")
    pyro.delete_workspace("users")
