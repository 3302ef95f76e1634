"""The main job through the official Python client, over one transport and one way to begin.

    python_client.py --stdio PYRO   | --url URL --token TOKEN
                     --mode auto|legacy        auto: server/discover first; legacy: initialize

Runs in a directory of its own, which is the allowed root. Every answer is checked against the schema that
the tool declares, by this client and once more here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import sys
from contextlib import AsyncExitStack

import httpx2
import jsonschema
import mcp_types as types
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

CONTRACT = """vm_run vm_list_environments vm_create vm_start vm_exec vm_stop vm_delete vm_status vm_network_info
vm_reap_expired workspace_create workspace_sync_push workspace_exec workspace_diff workspace_export workspace_status
workspace_logs workspace_delete shell_open shell_read shell_write shell_signal shell_close exec_read exec_wait exec_kill
workspace_list workspace_start workspace_stop shell_list""".split()
ENVIRONMENT = "debian:12"


class Job:
    def __init__(self, client: Client, schemas: dict[str, dict]):
        self.client = client
        self.schemas = schemas

    async def call(self, name: str, progress=None, **arguments):
        result = await self.client.call_tool(name, arguments, progress_callback=progress)
        structured = result.structured_content
        jsonschema.Draft202012Validator(self.schemas[name]).validate(structured)
        text = result.content[0].text
        assert json.loads(text) == structured, f"{name}: the text says something else"
        return result.is_error, structured

    async def ok(self, name: str, progress=None, **arguments):
        failed, structured = await self.call(name, progress, **arguments)
        assert not failed, f"{name}: {structured}"
        return structured

    async def refused(self, name: str, code: str, word: str, **arguments):
        failed, structured = await self.call(name, **arguments)
        assert failed, f"{name} was not refused: {structured}"
        error = structured["error"]
        assert error["code"] == code, error
        assert word in error["message"], error


async def tools(client: Client) -> dict[str, dict]:
    listed = (await client.list_tools()).tools
    names = [tool.name for tool in listed]
    missing = set(CONTRACT) - set(names)
    assert not missing, missing
    for tool in listed:
        assert tool.title and tool.description and tool.annotations and tool.output_schema, tool.name
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    return {tool.name: tool.output_schema for tool in listed}


async def run(job: Job):
    told = []

    async def progress(value, total, message):
        told.append((value, message))

    ran = await job.ok("vm_run", progress, environment=ENVIRONMENT, command="echo out; echo err >&2; exit 3")
    assert (ran["stdout"], ran["stderr"], ran["exit_code"]) == ("out\n", "err\n", 3), ran
    assert told and told == sorted(told, key=lambda one: one[0]), told
    listed = await job.ok("vm_list_environments")
    assert ENVIRONMENT in [one["name"] for one in listed["environments"]], listed


async def workspace(job: Job, root: pathlib.Path):
    (root / "seed").mkdir()
    (root / "seed" / "names.txt").write_text("Ada\nGrace\n")
    (root / "more").mkdir()
    (root / "more" / "pushed.txt").write_text("pushed\n")
    created = await job.ok("workspace_create", environment=ENVIRONMENT, seed_path="seed")
    workspace = created["workspace_id"]
    assert created["workspace_seed"]["seed_path"] == str(root / "seed"), created
    pushed = await job.ok("workspace_sync_push", workspace_id=workspace, source_path=str(root / "more"), dest="sub")
    assert pushed["destination"] == "/workspace/sub", pushed
    command = "echo Barbara >> names.txt; cat names.txt sub/pushed.txt; mkdir out; echo x > out/result"
    ran = await job.ok("workspace_exec", workspace_id=workspace, command=command)
    assert (ran["state"], ran["exit_code"]) == ("exited", 0), ran
    assert ran["stdout"] == "Ada\nGrace\nBarbara\npushed\n", ran
    words = await job.ok("workspace_exec", workspace_id=workspace, command=["printf", "%s|", "a b", "$HOME"])
    assert words["stdout"] == "a b|$HOME|", words
    diff = await job.ok("workspace_diff", workspace_id=workspace)
    assert [entry["path"] for entry in diff["entries"]] == ["names.txt", "out", "out/result", "sub", "sub/pushed.txt"]
    assert "+Barbara" in diff["patch"], diff
    logs = await job.ok("workspace_logs", workspace_id=workspace)
    assert [entry["exit_code"] for entry in logs["entries"]] == [0, 0], logs
    assert logs["entries"][0]["stdout"] == ran["stdout"], logs
    export = dict(workspace_id=workspace, path="out", output_path=str(root / "exported"), tree=diff["tree"])
    exported = await job.ok("workspace_export", **export)
    assert exported["artifact_type"] == "directory", exported
    assert (root / "exported" / "result").read_text() == "x\n"
    await job.refused("workspace_export", "already_exists", "exported", **export)
    status = await job.ok("workspace_status", workspace_id=workspace)
    assert status["command_count"] == 2, status
    await job.ok("workspace_delete", workspace_id=workspace)
    await job.refused("workspace_status", "unknown_workspace", workspace, workspace_id=workspace)


async def shell(job: Job):
    created = await job.ok("workspace_create", environment=ENVIRONMENT)
    where = {"workspace_id": created["workspace_id"]}
    opened = await job.ok("shell_open", **where, cols=80)
    shell = {**where, "shell_id": opened["shell_id"]}
    written = await job.ok("shell_write", **shell, input="echo $((6 * 7)) > answer; cat answer")
    assert (written["input_length"], written["append_newline"]) == (36, True), written
    output, cursor = "", 0
    while "42" not in output:
        read = await job.ok("shell_read", **shell, cursor=cursor, wait_for_idle_ms=1000)
        output, cursor = output + read["output"], read["next_cursor"]
    listed = await job.ok("shell_list", **where)
    assert [one["shell_id"] for one in listed["shells"]] == [opened["shell_id"]], listed
    await job.ok("shell_signal", **shell)
    await job.refused("shell_signal", "invalid_argument", "NONE", **shell, signal="NONE")
    await job.refused("shell_write", "invalid_argument", "input", **shell, input=7)
    await job.ok("shell_close", **shell)
    await job.refused("shell_read", "unknown_shell", opened["shell_id"], **shell)
    logs = await job.ok("workspace_logs", **where)
    assert logs["entries"] == [], "a shell is not in the log"
    await job.ok("workspace_stop", **where)
    await job.refused("workspace_exec", "workspace_state", "", **where, command="true")
    await job.ok("workspace_start", **where)
    kept = await job.ok("workspace_exec", **where, command="cat answer")
    assert kept["stdout"] == "42\n", kept
    listed = await job.ok("workspace_list")
    assert where["workspace_id"] in [one["workspace_id"] for one in listed["workspaces"]], listed
    await job.ok("workspace_delete", **where)


async def machine(job: Job):
    created = await job.ok("vm_create", environment=ENVIRONMENT)
    vm = {"vm_id": created["vm_id"]}
    assert created["state"] == "created", created
    assert (await job.ok("vm_start", **vm))["state"] == "started"
    assert (await job.ok("vm_stop", **vm))["state"] == "stopped"
    await job.ok("vm_start", **vm)
    assert (await job.ok("vm_status", **vm))["state"] == "started"
    assert (await job.ok("vm_network_info", **vm))["network_enabled"] is False
    ran = await job.ok("vm_exec", **vm, command="echo $((6 * 7))")
    assert (ran["stdout"], ran["deleted"]) == ("42\n", True), ran
    await job.refused("vm_status", "unknown_vm", vm["vm_id"], **vm)
    other = await job.ok("vm_create", environment=ENVIRONMENT, ttl_seconds=600)
    assert (await job.ok("vm_delete", vm_id=other["vm_id"]))["deleted"] is True
    assert "count" in await job.ok("vm_reap_expired")


async def bad_input(job: Job, root: pathlib.Path):
    create = {"environment": ENVIRONMENT}
    await job.refused("workspace_create", "path_not_allowed", "~/.ssh", **create, seed_path="~/.ssh")
    await job.refused("workspace_create", "path_not_allowed", "/etc", **create, seed_path="/etc")
    await job.refused("workspace_create", "path_not_allowed", "..", **create, seed_path="../x")
    os.symlink("/etc", root / "link")
    await job.refused("workspace_create", "path_not_allowed", "link", **create, seed_path="link/ssh")
    export = {"workspace_id": "none", "path": "."}
    await job.refused("workspace_export", "path_not_allowed", "/tmp", **export, output_path="/tmp")
    await job.refused("workspace_export", "path_not_allowed", "link", **export, output_path=str(root / "link/new"))
    await job.refused("workspace_export", "unknown_workspace", "none", **export, output_path=str(root / "new"))
    await job.refused("vm_run", "invalid_argument", "mem_mib", **create, command="true", mem_mib="much")
    await job.refused("vm_run", "invalid_argument", "colour", **create, command="true", colour="red")
    await job.refused("vm_run", "invalid_argument", "command", **create)
    await job.refused("vm_run", "unknown_environment", "debian:99", environment="debian:99", command="true")
    await job.refused("vm_status", "unknown_vm", "nope", vm_id="nope")
    try:
        await job.client.session.send_request(
            types.CallToolRequest(params=types.CallToolRequestParams(name="no_such_tool", arguments={})),
            types.CallToolResult,
        )
    except Exception as error:
        assert "no_such_tool" in str(error), error
    else:
        raise AssertionError("an unknown tool is no error")


async def main(arguments) -> None:
    root = pathlib.Path.cwd().resolve()
    async with AsyncExitStack() as stack:
        if arguments.stdio:
            server = StdioServerParameters(
                command=arguments.stdio, args=["mcp", "serve"], env=dict(os.environ), cwd=str(root)
            )
        else:
            headers = {"Authorization": f"Bearer {arguments.token}"}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=300))
            server = streamable_http_client(arguments.url, http_client=http)
        client = await stack.enter_async_context(Client(server, mode=arguments.mode))
        job = Job(client, await tools(client))
        await run(job)
        await workspace(job, root)
        await shell(job)
        await machine(job)
        await bad_input(job, root)
        print(f"python client, protocol {client.protocol_version}: done", file=sys.stderr)


parser = argparse.ArgumentParser()
parser.add_argument("--stdio", metavar="PYRO")
parser.add_argument("--url")
parser.add_argument("--token")
parser.add_argument("--mode", default="auto")
asyncio.run(main(parser.parse_args()))
