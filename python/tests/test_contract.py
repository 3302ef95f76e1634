"""The names that users of the SDK know."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from pyro_mcp import Pyro

ANY = inspect.Parameter.empty

# Method: its parameters in order, those after None by keyword only; a value is the default.
CONTRACT: dict[str, list[str | tuple[str, object] | None]] = {
    "create_server": [],
    "list_environments": [],
    "pull_environment": ["environment"],
    "inspect_environment": ["environment"],
    "prune_environments": [],
    "run_in_vm": [
        "environment",
        "command",
        ("vcpu_count", 1),
        ("mem_mib", 1024),
        "timeout_seconds",
        "ttl_seconds",
        ("network", False),
        ("allow_host_compat", False),
    ],
    "create_vm": ["environment"],
    "start_vm": ["vm_id"],
    "exec_vm": ["vm_id", None, "command", ("timeout_seconds", 30)],
    "stop_vm": ["vm_id"],
    "delete_vm": ["vm_id"],
    "status_vm": ["vm_id"],
    "network_info_vm": ["vm_id"],
    "reap_expired": [],
    "create_workspace": ["environment", "seed_path"],
    "push_workspace_sync": ["workspace_id", "source_path", None, "dest"],
    "exec_workspace": ["workspace_id", None, "command"],
    "diff_workspace": ["workspace_id"],
    "export_workspace": ["workspace_id", "path", None, "output_path"],
    "status_workspace": ["workspace_id"],
    "logs_workspace": ["workspace_id"],
    "delete_workspace": ["workspace_id"],
    "open_shell": ["workspace_id", None, ("cwd", "/workspace"), ("cols", 120), ("rows", 30)],
    "read_shell": ["workspace_id", "shell_id", None, ("cursor", 0), ("max_chars", 65536)],
    "write_shell": ["workspace_id", "shell_id", None, "input", ("append_newline", True)],
    "signal_shell": ["workspace_id", "shell_id", None, ("signal_name", "INT")],
    "close_shell": ["workspace_id", "shell_id"],
}


@pytest.mark.parametrize("name", CONTRACT)
def test_a_method_of_the_contract_has_its_parameters(name: str) -> None:
    given = list(inspect.signature(getattr(Pyro, name)).parameters.values())[1:]
    positional = True
    for index, wanted in enumerate(each for each in CONTRACT[name] if each is not None):
        positional &= None not in CONTRACT[name][: index + 1]
        wanted_name, default = wanted if isinstance(wanted, tuple) else (wanted, ANY)
        parameter = given[index]
        assert parameter.name == wanted_name
        by_position = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert by_position == positional, f"{name}: {wanted_name}"
        if default is not ANY:
            assert parameter.default == default
    # What is added later must not stand in the way of a call that was right before.
    known = len([each for each in CONTRACT[name] if each is not None])
    for added in given[known:]:
        assert added.default is not ANY, f"{name}: {added.name} has no default"


def test_all_of_the_sdk_is_typed() -> None:
    assert (Path(inspect.getfile(Pyro)).parent / "py.typed").exists()
    for name, method in inspect.getmembers(Pyro, inspect.isfunction):
        if not name.startswith("_"):
            signature = inspect.signature(method)
            assert signature.return_annotation is not ANY, name
            assert method.__doc__, name
