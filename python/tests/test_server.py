"""The MCP server that the SDK holds."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT, Home

from pyro_mcp import InvalidArgument, PyroError

pytestmark = pytest.mark.vm

TIMEOUT = 300


async def use(session: Any) -> set[str]:
    """Makes one real call; the names of the tools."""
    await session.initialize()
    tools = {tool.name for tool in (await session.list_tools()).tools}
    arguments = {"environment": ENVIRONMENT, "command": "echo served"}
    called = await session.call_tool("vm_run", arguments)
    assert called.structured_content["stdout"] == "served\n"
    return tools


def test_the_server_speaks_http(home: Home, project: Path) -> None:
    mcp = pytest.importorskip("mcp", reason="the mcp package is not installed")
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async def talk(url: str, token: str) -> set[str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=TIMEOUT) as http,
            streamable_http_client(url, http_client=http) as streams,
            mcp.ClientSession(*streams[:2]) as session,
        ):
            return await use(session)

    given = "a-token-that-nobody-guesses"
    for token in (given, None):
        with home.pyro.create_server(
            profile="workspace-core", allow_roots=[project], http=True, token=token
        ) as server:
            assert server.url is not None
            assert server.url.startswith("http://127.0.0.1:")
            assert server.token is not None
            assert (server.token == given) == (token is not None)
            assert server.process is not None
            pid = server.process.pid
            assert given not in Path(f"/proc/{pid}/cmdline").read_text()
            assert "workspace_export" in asyncio.run(talk(server.url, server.token))
        assert not Path(f"/proc/{pid}").exists()
        server.close()


def test_the_server_speaks_on_the_callers_own_streams(home: Home) -> None:
    script = "from pyro_mcp import Pyro; Pyro().create_server(profile='vm-run').run('stdio')"

    mcp = pytest.importorskip("mcp", reason="the mcp package is not installed")

    async def talk() -> set[str]:
        from mcp.client.stdio import stdio_client

        environment = {
            "PYRO_BINARY": home.pyro.binary,
            "PYRO_HOME": str(home.path),
            "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT / "python")),
        }
        parameters = mcp.StdioServerParameters(
            command=sys.executable, args=["-c", script], env=environment
        )
        async with stdio_client(parameters) as streams, mcp.ClientSession(*streams) as session:
            return await use(session)

    assert asyncio.run(talk()) == {"vm_run"}


def test_the_server_has_a_command_for_client_configurations(home: Home) -> None:
    server = home.pyro.create_server(profile="vm-run", allow_roots=["/tmp"])
    assert server.process is None
    assert server.command == [
        home.pyro.binary, "mcp", "serve", "--profile=vm-run", "--allow-root=/tmp",
    ]  # fmt: skip
    with server:
        assert server.process is not None
        assert server.process.poll() is None
    assert server.process.returncode == 0
    with pytest.raises(InvalidArgument):
        server.run("streamable-http")


def test_a_server_that_cannot_start_says_why(home: Home) -> None:
    with pytest.raises(PyroError) as caught:
        home.pyro.create_server(http="192.0.2.1:1")
    assert caught.value.message
    with pytest.raises(InvalidArgument):
        home.pyro.create_server(http=True, profile="no-such")
    with home.pyro.create_server(http=True) as first:
        assert first.url is not None
        address = first.url.split("/")[2]
        with pytest.raises(PyroError, match=address):
            home.pyro.create_server(http=address)
