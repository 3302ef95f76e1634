"""What a trivial tool call costs over MCP, beside the bare daemon call.

The three take turns: the bare call on the daemon's Unix socket, the tool on standard streams, the tool over HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time
from typing import Any

TOOL, CALL = "vm_list_environments", "environment_list"
WARM, ROUNDS = 20, 300
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


class Bare:
    """One connection for each call, as every client of the daemon makes it."""

    def __init__(self, home: str):
        self.socket = os.path.join(home, "daemon.sock")

    def call(self) -> None:
        connection = http.client.HTTPConnection("pyro")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.socket)
        connection.request("POST", f"/v1/{CALL}", "{}", {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        connection.close()
        assert b'"result"' in answer, answer


class Stdio:
    """The server on standard streams."""

    def __init__(self, pyro: str, directory: str):
        self.process = subprocess.Popen(
            [pyro, "mcp", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory
        )
        assert self.process.stdin
        assert self.process.stdout
        self.requests, self.answers = self.process.stdin, self.process.stdout
        self.number = 0
        self.ask("initialize", INITIALIZE)

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        self.requests.write(request(self.number, method, params) + b"\n")
        self.requests.flush()
        answer: dict[str, Any] = json.loads(self.answers.readline())
        assert answer["id"] == self.number, answer
        result: dict[str, Any] = answer["result"]
        return result

    def call(self) -> None:
        assert self.ask("tools/call", {"name": TOOL, "arguments": {}})["isError"] is False

    def close(self) -> None:
        self.requests.close()
        self.process.wait()


class Http:
    """The server over HTTP, one connection for all calls."""

    def __init__(self, pyro: str, directory: str):
        self.process = subprocess.Popen(
            [pyro, "mcp", "serve", "--http", "127.0.0.1:0", "--json"],
            stdout=subprocess.PIPE,
            cwd=directory,
        )
        assert self.process.stdout
        ready = b""
        while not ready.endswith(b"}\n"):
            ready += self.process.stdout.readline()
        document = json.loads(ready)
        address = document["url"].removeprefix("http://").removesuffix("/mcp")
        token = pathlib.Path(document["token_file"]).read_text().strip()
        self.headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        self.connection = http.client.HTTPConnection(address)
        self.number = 0
        response, _ = self.ask("initialize", INITIALIZE)
        self.headers["Mcp-Session-Id"] = response.headers["Mcp-Session-Id"]

    def ask(
        self, method: str, params: dict[str, Any]
    ) -> tuple[http.client.HTTPResponse, dict[str, Any]]:
        self.number += 1
        self.connection.request("POST", "/mcp", request(self.number, method, params), self.headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        data = [
            line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()
        ]
        answer = json.loads(data[-1] if data else text)
        assert answer["id"] == self.number, answer
        return response, answer["result"]

    def call(self) -> None:
        assert self.ask("tools/call", {"name": TOOL, "arguments": {}})[1]["isError"] is False

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def measure(pyro: str) -> dict[str, Any]:
    """The median seconds of each way, in `seconds`."""
    with tempfile.TemporaryDirectory() as directory:
        home = os.path.join(directory, "home")
        os.environ["PYRO_HOME"] = home
        try:
            stdio, web = Stdio(pyro, directory), Http(pyro, directory)
            ways = {"stdio": stdio.call, "HTTP": web.call, "bare": Bare(home).call}
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            names = list(ways)
            for number in range(WARM + ROUNDS):
                shift = number % len(names)
                for name in names[shift:] + names[:shift]:
                    before = time.perf_counter()
                    ways[name]()
                    if number >= WARM:
                        seconds[name].append(time.perf_counter() - before)
            stdio.close()
            web.close()
        finally:
            subprocess.run([pyro, "daemon", "stop"], capture_output=True, check=False)
    medians = {name: round(statistics.median(values), 6) for name, values in seconds.items()}
    return {"runs": ROUNDS, "tool": TOOL, "seconds": medians}
