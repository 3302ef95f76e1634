"""Every example is run, in real microVMs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT, Home

EXAMPLES = ROOT / "examples"
TIMEOUT = 300
QUESTION = "Which version of git is it?"
COMMAND = "git --version; exit 3"

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def environment(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a user has: pyro on the PATH, and a home."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pyro").symlink_to(home.pyro.binary)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYRO_BINARY", str(programs / "pyro"))
    monkeypatch.setenv("PYRO_HOME", str(home.path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python"))


def run(*words: str | Path) -> str:
    """An example as its users run it; what it printed."""
    ran = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def load(name: str) -> ModuleType:
    """An example as a module, for those that need a model."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_test() -> None:
    text = Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert path.stem in text, path.name


def test_python_run() -> None:
    printed = run(EXAMPLES / "python_run.py").splitlines()
    assert printed[0].startswith("git version")
    assert re.fullmatch(r"exit code 0 after \d+ ms on qemu-\w+", printed[2])
    assert printed[3].startswith("exit code 2: ls: cannot access")
    assert printed[4].startswith("unknown_environment: ")


def test_python_lifecycle(home: Home) -> None:
    printed = run(EXAMPLES / "python_lifecycle.py").splitlines()
    assert printed[:3] == ["created", "started", "network: off"]
    assert printed[4:] == ["1", "exit code 0, VM deleted: True", "expired meanwhile: 0"]
    assert home.pyro.list_vms() == {"vms": []}


def test_python_workspace(home: Home) -> None:
    before = {path: path.read_bytes() for path in (ROOT / "fixtures").rglob("*") if path.is_file()}
    printed = run(EXAMPLES / "python_workspace.py")
    assert "added     greetings.txt\nmodified  names.txt\n" in printed
    assert "+Barbara\n" in printed
    assert printed.endswith("Hello, Barbara!\n")
    after = {path: path.read_bytes() for path in (ROOT / "fixtures").rglob("*") if path.is_file()}
    assert before == after
    assert home.pyro.list_workspaces() == {"workspaces": []}


def test_python_shell(home: Home) -> None:
    printed = run(EXAMPLES / "python_shell.py")
    assert "hello, Ada, in /tmp" in printed
    assert printed.endswith("closed: True\nlogged commands: 0\n")
    assert home.pyro.list_workspaces() == {"workspaces": []}


class Responses(BaseHTTPRequestHandler):
    """The part of the OpenAI Responses API that the loop uses; it checks what it is asked."""

    asked: list[dict[str, Any]]
    complaints: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            assert self.path == "/v1/responses", self.path
            assert self.headers["Authorization"] == "Bearer a-key"
            output = self.answer(body)
        except Exception as complaint:
            self.complaints.append(repr(complaint))
            output = []
        self.asked.append(body)
        response = {
            "id": f"resp_{len(self.asked)}",
            "object": "response",
            "created_at": 0,
            "model": body.get("model"),
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": body.get("tools", []),
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
        }
        encoded = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def answer(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """First two calls at once, then one that fails, then what the model has to say."""
        from openai.types.responses.response_create_params import (
            ResponseCreateParamsNonStreaming,
        )
        from pydantic import TypeAdapter

        TypeAdapter(ResponseCreateParamsNonStreaming).validate_python(body)
        [tool] = body["tools"]
        assert tool["type"] == "function"
        assert tool["strict"] is True
        parameters = tool["parameters"]
        assert sorted(parameters["required"]) == sorted(parameters["properties"])
        assert parameters["additionalProperties"] is False
        turn = len(self.asked)
        if turn == 0:
            assert body["input"] == [{"role": "user", "content": QUESTION}]
            assert body.get("previous_response_id") is None
            return [self.call("call_a", COMMAND), self.call("call_b", "uname -s")]
        assert body["previous_response_id"] == f"resp_{turn}"
        outputs = {item["call_id"]: json.loads(item["output"]) for item in body["input"]}
        assert {item["type"] for item in body["input"]} == {"function_call_output"}
        if turn == 1:
            assert outputs["call_a"]["stdout"].startswith("git version")
            assert outputs["call_a"]["exit_code"] == 3
            assert outputs["call_b"]["stdout"] == "Linux\n"
            return [self.call("call_c", "true", timeout_seconds=-1)]
        assert outputs["call_c"]["error"]["code"] == "invalid_argument"
        text = {"type": "output_text", "text": "It has one.", "annotations": []}
        return [
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [text],
            }
        ]

    def call(self, call_id: str, command: str, timeout_seconds: float = 60) -> dict[str, Any]:
        arguments = {
            "environment": ENVIRONMENT,
            "command": command,
            "timeout_seconds": timeout_seconds,
            "network": False,
        }
        return {
            "type": "function_call",
            "id": f"fc_{call_id}",
            "call_id": call_id,
            "name": "vm_run",
            "arguments": json.dumps(arguments),
            "status": "completed",
        }

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test speaks."""


@contextmanager
def responses() -> Iterator[tuple[str, type[Responses]]]:
    handler = type("Handler", (Responses,), {"asked": [], "complaints": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", handler
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_openai_responses_vm_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with responses() as (url, server):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        printed = run(EXAMPLES / "openai_responses_vm_run.py", QUESTION)
    assert server.complaints == []
    assert printed == "It has one.\n"
    assert len(server.asked) == 3


def test_langchain_vm_run() -> None:
    from langchain_core.language_models import FakeMessagesListChatModel
    from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
    from langchain_core.tools import BaseTool

    seen: list[Any] = []

    class Scripted(FakeMessagesListChatModel):
        def bind_tools(self, tools: Any, **_: Any) -> Scripted:
            assert [tool.name for tool in tools if isinstance(tool, BaseTool)] == ["vm_run"]
            return self

        def _generate(self, messages: Any, *args: Any, **named: Any) -> Any:
            seen.append(list(messages))
            return super()._generate(messages, *args, **named)

    def call(number: int, environment: str) -> AIMessage:
        args = {"environment": environment, "command": COMMAND, "timeout_seconds": 60}
        called = {"name": "vm_run", "args": args, "id": f"call_{number}", "type": "tool_call"}
        return AIMessage("", tool_calls=[called])

    script: list[BaseMessage] = [
        call(1, "debian:99"),
        call(2, ENVIRONMENT),
        AIMessage("It has one."),
    ]
    example = load("langchain_vm_run")
    assert example.main(Scripted(responses=script), QUESTION) == "It has one."
    refused, result = (messages[-1] for messages in seen[1:])
    assert isinstance(refused, ToolMessage)
    assert refused.status == "error"
    assert str(refused.content).startswith("unknown_environment: ")
    assert isinstance(result, ToolMessage)
    document = json.loads(str(result.content))
    assert document["stdout"].startswith("git version")
    assert document["exit_code"] == 3
    assert set(example.vm_run.args) == {"environment", "command", "timeout_seconds", "network"}


def test_pydantic_ai_vm_run() -> None:
    from pydantic_ai.messages import (
        ModelMessage,
        ModelResponse,
        TextPart,
        ToolCallPart,
        ToolReturnPart,
    )
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    seen: list[Any] = []

    def script(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        [tool] = info.function_tools
        assert tool.name == "vm_run"
        assert set(tool.parameters_json_schema["required"]) == {"environment", "command"}
        seen.append(messages[-1].parts[-1])
        if len(seen) == 3:
            return ModelResponse(parts=[TextPart("It has one.")])
        name = "debian:99" if len(seen) == 1 else ENVIRONMENT
        arguments = {"environment": name, "command": COMMAND, "timeout_seconds": 60}
        return ModelResponse(parts=[ToolCallPart("vm_run", arguments)])

    example = load("pydantic_ai_vm_run")
    assert example.main(FunctionModel(script), QUESTION) == "It has one."
    _, refused, result = seen
    assert isinstance(refused, ToolReturnPart)
    assert refused.outcome == "retried"
    assert str(refused.content).startswith("unknown_environment: ")
    assert isinstance(result, ToolReturnPart)
    document: Any = result.content
    assert document["stdout"].startswith("git version")
    assert document["exit_code"] == 3


def blocks(language: str) -> list[str]:
    """The code blocks of mcp_client_config.md."""
    page = (EXAMPLES / "mcp_client_config.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def servers() -> Iterator[tuple[str, list[str]]]:
    """Every command that a configuration starts, by where it is written."""
    written = {path.name: path.read_text() for path in EXAMPLES.glob("*_mcp_config.json")}
    assert set(written) == {"claude_desktop_mcp_config.json", "cursor_mcp_config.json"}
    written |= {f"json block {at}": block for at, block in enumerate(blocks("json"), 1)}
    for place, text in written.items():
        configured = json.loads(text)
        [server] = (configured.get("mcpServers") or configured["servers"]).values()
        yield place, [server["command"], *server["args"]]
    tomllib = pytest.importorskip("tomllib", reason="Python before 3.11 reads no TOML")
    for at, block in enumerate(blocks("toml"), 1):
        server = tomllib.loads(block)["mcp_servers"]["pyro"]
        yield f"toml block {at}", [server["command"], *server["args"]]
    for at, block in enumerate(blocks("sh"), 1):
        words = shlex.split(block)
        yield f"sh block {at}", words[words.index("--") + 1 :]


def test_mcp_client_config(home: Home, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonschema import Draft202012Validator
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    monkeypatch.chdir(project)

    async def use(words: list[str]) -> set[str]:
        """Starts a server as configured, and calls it; the names of its tools."""
        # Editors put the folder that is open in the place of this name.
        args = [word.replace("${workspaceFolder}", str(project)) for word in words[1:]]
        server = StdioServerParameters(
            command=words[0], args=args, env={"PYRO_HOME": str(home.path)}, cwd=project
        )
        async with stdio_client(server) as streams, ClientSession(*streams) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            arguments = {"environment": ENVIRONMENT, "command": COMMAND}
            called = await session.call_tool("vm_run", arguments)
            document: Any = called.structured_content
            schema = tools["vm_run"].output_schema
            assert schema is not None
            Draft202012Validator(schema).validate(document)
            assert document["stdout"].startswith("git version")
            assert document["exit_code"] == 3
            return set(tools)

    found = {place: asyncio.run(use(words)) for place, words in servers()}
    assert len(found) == 6
    assert found["claude_desktop_mcp_config.json"] == {"vm_run"}
    assert "workspace_export" in found["cursor_mcp_config.json"]
    assert "shell_open" in found["json block 1"]


def test_the_python_of_mcp_client_config(tmp_path: Path, home: Home) -> None:
    [block] = blocks("python")
    script = tmp_path / "client.py"
    # The client hands on only a few variables: where this test's home is comes by the arguments.
    script.write_text(block.replace('"vm-run"]', f'"vm-run"], env={{"PYRO_HOME": "{home.path}"}}'))
    assert run(script).startswith("git version")
