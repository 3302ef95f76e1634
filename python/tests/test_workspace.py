"""Workspaces and one-shot commands, in real microVMs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, Home
from documents import check

from pyro_mcp import (
    AlreadyExists,
    InvalidArgument,
    Pyro,
    PyroError,
    TreeChanged,
    UnknownEnvironment,
    UnknownSnapshot,
    WorkspaceStateError,
    exact_bytes,
    results,
)

pytestmark = pytest.mark.vm

DEADLINE = 120


def test_the_main_job_from_create_to_delete(home: Home, project: Path, tmp_path: Path) -> None:
    pyro = home.pyro
    created = pyro.create_workspace(
        ENVIRONMENT, project, name="fix", labels={"team": "sdk"}, exclude=["*.log"]
    )
    check(created, results.WorkspaceInfo)
    assert created["labels"] == {"team": "sdk"}
    assert created["workspace_seed"]["entry_count"] == 3

    ran = pyro.exec_workspace(
        "fix", command="cat src/app.txt; echo two >> src/app.txt; rm gone.txt"
    )
    check(ran, results.LogEntry)
    assert (ran["stdout"], ran["exit_code"], ran["cwd"]) == ("one\n", 0, "/workspace")

    pushed = tmp_path / "pushed.txt"
    pushed.write_text("pushed\n")
    reply = pyro.push_workspace_sync("fix", pushed, dest="in/")
    check(reply, results.SyncPush)
    assert reply["changed_count"] >= 1

    diff = pyro.diff_workspace("fix")
    check(diff, results.Diff)
    assert [(entry["path"], entry["status"]) for entry in diff["entries"]] == [
        ("gone.txt", "deleted"),
        ("in", "added"),
        ("in/pushed.txt", "added"),
        ("src/app.txt", "modified"),
    ]
    assert "+two\n" in diff["patch"]
    assert pyro.diff_workspace("fix", full=True)["tree"] == diff["tree"]

    output = tmp_path / "out"
    exported = pyro.export_workspace("fix", ".", output_path=output, tree=diff["tree"])
    check(exported, results.Export)
    assert (output / "src/app.txt").read_text() == "one\ntwo\n"
    assert (output / "in/pushed.txt").read_text() == "pushed\n"
    with pytest.raises(AlreadyExists):
        pyro.export_workspace("fix", "src", output_path=output)
    pyro.export_workspace("fix", "src", output_path=output, force=True)
    assert [path.name for path in output.iterdir()] == ["app.txt"]

    pyro.exec_workspace("fix", command=["touch", "later"])
    reviewed = tmp_path / "reviewed"
    pyro.export_workspace("fix", ".", output_path=reviewed, tree=diff["tree"])
    assert not (reviewed / "later").exists(), "exactly the tree that was shown"
    with pytest.raises(TreeChanged):
        pyro.export_workspace("fix", ".", output_path=tmp_path / "no", tree="0" * 64)
    assert not (tmp_path / "no").exists()

    some = pyro.diff_workspace("fix", paths=["src"], exclude=["*.o"], gitignore=True, binary=True)
    assert ([entry["path"] for entry in some["entries"]], some["hidden"]["by_path"]) == (
        ["src/app.txt"],
        4,
    )
    new = tmp_path / "new.tar"
    parts = pyro.export_workspace("fix", ".", output_path=new, changed=True, archive=True)
    check(parts, results.Export)
    assert parts["deleted"] == ["gone.txt"]
    with tarfile.open(new) as archive:
        assert set(archive.getnames()) == {"in", "in/pushed.txt", "later", "src", "src/app.txt"}

    made = pyro.create_snapshot("fix", "before", tree=diff["tree"])
    check(made, results.SnapshotCreate)
    assert made["snapshot"]["tree"] == diff["tree"]
    check(pyro.list_snapshots("fix"), results.SnapshotList)
    since = pyro.diff_workspace("fix", old="before", pin=False, freeze=False)
    assert [entry["path"] for entry in since["entries"]] == ["later"]
    twin = pyro.fork_workspace("fix", snapshot="before", name="twin")
    check(twin, results.WorkspaceInfo)
    assert pyro.diff_workspace("twin")["tree"] == diff["tree"]
    pyro.exec_workspace("twin", command="rm -r src")
    again = pyro.reset_workspace("twin")
    assert (again["workspace_id"], again["command_count"]) == (twin["workspace_id"], 0)
    assert not pyro.diff_workspace("twin")["changed"]
    pyro.delete_workspace("twin")
    check(pyro.delete_snapshot("fix", "before"), results.SnapshotDelete)
    with pytest.raises(UnknownSnapshot):
        pyro.delete_snapshot("fix", "before")

    logs = pyro.logs_workspace("fix")
    check(logs, results.WorkspaceLogs)
    assert len(logs["entries"]) == 2, "only what was run is logged"
    status = pyro.status_workspace("fix")
    check(status, results.WorkspaceInfo)
    assert status["last_command"] == {"command": "touch later", "exit_code": 0}
    listed = pyro.list_workspaces()
    check(listed, results.WorkspaceList)
    assert [each["name"] for each in listed["workspaces"]] == ["fix"]

    stopped = pyro.stop_workspace("fix")
    assert stopped["state"] == "stopped"
    with pytest.raises(WorkspaceStateError):
        pyro.exec_workspace("fix", command="true")
    assert pyro.start_workspace("fix")["state"] == "started"
    assert pyro.exec_workspace("fix", command="cat in/pushed.txt")["stdout"] == "pushed\n"
    deleted = pyro.delete_workspace("fix")
    check(deleted, results.WorkspaceDelete)
    assert pyro.list_workspaces() == {"workspaces": []}


def test_one_command_in_a_vm_of_its_own(home: Home) -> None:
    result = home.pyro.run_in_vm(ENVIRONMENT, "git --version; echo no >&2; exit 7")
    check(result, results.CommandResult)
    assert result["stdout"].startswith("git version")
    assert (result["stderr"], result["exit_code"], result["timed_out"]) == ("no\n", 7, False)
    words = ["printf", "%s.", "a b", "", "$HOME", "-x"]
    assert home.pyro.run_in_vm(environment=ENVIRONMENT, command=words)["stdout"] == "a b..$HOME.-x."


def test_a_command_that_takes_too_long_is_a_result(pyro: Pyro) -> None:
    result = pyro.run_in_vm(ENVIRONMENT, "echo begun; sleep 600", timeout_seconds=2)
    assert (result["exit_code"], result["timed_out"], result["stdout"]) == (124, True, "begun\n")


def test_what_a_guest_prints_is_never_taken_for_an_error_of_pyro(pyro: Pyro) -> None:
    printed = '{"error": {"code": "unknown_workspace", "message": "no", "hint": null}}'
    result = pyro.run_in_vm(ENVIRONMENT, ["sh", "-c", 'echo "$0"; exit 125', printed])
    assert (result["stdout"], result["exit_code"]) == (printed + "\n", 125)


def test_bytes_that_are_not_utf8_go_in_and_out(home: Home, tmp_path: Path) -> None:
    name = b"odd\xff"
    seed = os.fsencode(tmp_path) + b"/seed\xfe"
    Path(os.fsdecode(seed)).mkdir()
    Path(os.fsdecode(seed + b"/" + name)).write_bytes(b"\x80\x81")
    created = home.pyro.create_workspace(ENVIRONMENT, seed)
    assert exact_bytes(created["workspace_seed"], "seed_path") == seed
    workspace = created["workspace_id"]
    ran = home.pyro.exec_workspace(
        workspace,
        command=[b"sh", b"-c", b'cat "$0"; echo -n "$A" >> "$0"', name],
        env={"A": b"\xfd"},
    )
    assert exact_bytes(ran, "stdout") == b"\x80\x81"
    check(ran, results.LogEntry)
    [entry] = home.pyro.diff_workspace(workspace)["entries"]
    check(entry, results.DiffEntry)
    assert exact_bytes(entry, "path") == name
    output = os.fsencode(tmp_path) + b"/out\xfe"
    exported = home.pyro.export_workspace(
        workspace, os.fsdecode(exact_bytes(entry, "path")), output_path=output
    )
    check(exported, results.Export)
    assert exact_bytes(exported, "output_path") == output
    assert Path(os.fsdecode(output)).read_bytes() == b"\x80\x81\xfd"


def test_paths_that_escape_are_refused_before_anything_happens(
    home: Home, project: Path, tmp_path: Path
) -> None:
    workspace = home.pyro.create_workspace(ENVIRONMENT, project)["workspace_id"]
    for dest in ["../x", "/etc", "a/../../x"]:
        with pytest.raises(InvalidArgument) as caught:
            home.pyro.push_workspace_sync(workspace, project, dest=dest)
        assert caught.value.code == "outside_workspace"
    with pytest.raises(InvalidArgument):
        home.pyro.export_workspace(workspace, "/etc/passwd", output_path=tmp_path / "x")
    assert not home.pyro.diff_workspace(workspace)["changed"]
    assert not (tmp_path / "x").exists()


def test_names_that_begin_with_a_dash_are_paths(home: Home, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "--force").write_text("yes\n")
    workspace = home.pyro.create_workspace(ENVIRONMENT, seed)["workspace_id"]
    exported = home.pyro.export_workspace(workspace, "--force", output_path=tmp_path / "-out")
    assert exported["artifact_type"] == "file"
    assert (tmp_path / "-out").read_text() == "yes\n"
    home.pyro.push_workspace_sync(workspace, tmp_path / "-out", dest="-dest/")
    ran = home.pyro.exec_workspace(workspace, command=["cat", "./-out"], cwd="-dest")
    assert ran["stdout"] == "yes\n"


def test_seeds_that_do_not_exist_are_named(home: Home) -> None:
    for path in (b"/no/\xff", os.fsdecode(b"/no/\xff"), Path(os.fsdecode(b"/no/\xff"))):
        with pytest.raises(PyroError, match=r"/no/\\xFF"):
            home.pyro.create_workspace(ENVIRONMENT, path)


def test_an_interrupted_call_leaves_nothing_running(home: Home) -> None:
    script = (
        "import sys\n"
        "from pyro_mcp import Pyro\n"
        "Pyro(binary=sys.argv[1], home=sys.argv[2]).run_in_vm(\n"
        f"    {ENVIRONMENT!r}, 'sleep 600', timeout_seconds=None)\n"
    )
    sdk = os.fsdecode(Path(sys.modules["pyro_mcp"].__path__[0]).parent)
    caller = subprocess.Popen(
        [sys.executable, "-c", script, home.pyro.binary, str(home.path)],
        env={**os.environ, "PYTHONPATH": sdk},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + DEADLINE
        while not any(" shim " in line for line in home.processes()):
            assert time.monotonic() < deadline, "the VM boots"
            time.sleep(0.1)
        caller.send_signal(signal.SIGINT)
        _, said = caller.communicate(timeout=DEADLINE)
    finally:
        caller.kill()
    assert "KeyboardInterrupt" in said
    left = [line for line in home.processes() if "daemon run" not in line]
    assert left == []


def test_the_machine_and_its_environments(home: Home) -> None:
    doctor = home.pyro.doctor()
    check(doctor, results.Doctor)
    assert doctor["ready"]
    listed = home.pyro.list_environments()
    check(listed, results.EnvironmentList)
    assert {"debian:12", "debian:12-base", "debian:12-build"} <= {
        each["name"] for each in listed["environments"]
    }
    check(home.pyro.pull_environment(ENVIRONMENT), results.EnvironmentDetail)
    detail = home.pyro.inspect_environment(ENVIRONMENT)
    check(detail, results.EnvironmentDetail)
    assert "git" in {package["name"] for package in detail["packages"]}
    pruned = home.pyro.prune_environments(dry_run=True)
    check(pruned, results.EnvironmentPrune)
    assert pruned["dry_run"]


def test_an_environment_is_made_of_a_directory_or_an_image(home: Home, tmp_path: Path) -> None:
    pyro = home.pyro
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "true").write_bytes(b"")
    made = pyro.create_environment("sdk-made", from_dir=root)
    check(made, results.EnvironmentDetail)
    assert made["origin"]["source"] == str(root)
    assert pyro.inspect_environment("sdk-made") == made
    check(pyro.remove_environment("sdk-made"), results.EnvironmentPrune)
    with pytest.raises(UnknownEnvironment):
        pyro.inspect_environment("sdk-made")
    with pytest.raises(PyroError, match=str(root)):
        pyro.import_environment(root, name="sdk-imported")


def test_changes_come_home_and_are_taken_back(home: Home, tmp_path: Path) -> None:
    pyro = home.pyro
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "both").write_text("one\n")
    pyro.create_workspace(ENVIRONMENT, seed, name="apply")
    pyro.exec_workspace("apply", command="echo guest > both; echo new > new")
    tree = pyro.diff_workspace("apply")["tree"]
    (seed / "both").write_text("host\n")
    plan = pyro.apply_workspace("apply", seed, dry_run=True)
    check(plan, results.Apply)
    assert not plan["applied"]
    assert not (seed / "new").exists()
    reply = pyro.apply_workspace("apply", seed, tree=tree, beside=True)
    check(reply, results.Apply)
    assert [(each["path"], each["action"]) for each in reply["entries"]] == [
        ("both", "conflict"),
        ("new", "create"),
    ]
    assert (seed / "both").read_text() == "host\n"
    assert (seed / "both.pyro-theirs").read_text() == "guest\n"
    (seed / "new").write_text("mine\n")
    undone = pyro.undo_apply_workspace("apply", seed)
    check(undone, results.ApplyUndo)
    assert [each["path"] for each in undone["left"]] == ["new"]
    assert sorted(each.name for each in seed.iterdir()) == ["both", "new"]
    with pytest.raises(InvalidArgument):
        pyro.apply_workspace("apply", tmp_path)
    pyro.delete_workspace("apply")


def test_commits_come_home_as_a_branch(home: Home, tmp_path: Path) -> None:
    pyro = home.pyro
    seed = tmp_path / "seed"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "init", "-q", str(seed)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], cwd=seed, check=True)
    pyro.create_workspace(ENVIRONMENT, seed, name="home")
    commit = "git -c user.name=g -c user.email=g commit -q --allow-empty -m second"
    pyro.exec_workspace("home", command=commit)
    reply = pyro.fetch_workspace_git("home")
    check(reply, results.GitFetch)
    assert (reply["branch"], reply["commit_count"]) == ("pyro/home", 1)
    log = subprocess.run(
        [*git, "log", "--format=%s", "pyro/home"], cwd=seed, check=True, capture_output=True
    )
    assert log.stdout == b"second\nfirst\n"
    pyro.delete_workspace("home")
