"""What a trivial tool call costs over MCP, beside the bare daemon call. Standard library only.

    bench/mcp.py --pyro PYRO --out docs/benchmarks.md       writes its section into the page

The three take turns: the bare call on the daemon's Unix socket, the tool on standard streams, the tool over HTTP.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time

TITLE = "## MCP"
TOOL, CALL = "vm_list_environments", "environment_list"
WARM, ROUNDS = 20, 300
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}


def request(number: int, method: str, params: dict) -> bytes:
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
    def __init__(self, pyro: str, directory: str):
        self.process = subprocess.Popen(
            [pyro, "mcp", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory
        )
        self.number = 0
        self.ask("initialize", INITIALIZE)

    def ask(self, method: str, params: dict) -> dict:
        self.number += 1
        self.process.stdin.write(request(self.number, method, params) + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.number, answer
        return answer["result"]

    def call(self) -> None:
        assert self.ask("tools/call", {"name": TOOL, "arguments": {}})["isError"] is False

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Http:
    def __init__(self, pyro: str, directory: str):
        self.process = subprocess.Popen(
            [pyro, "mcp", "serve", "--http", "127.0.0.1:0", "--json"], stdout=subprocess.PIPE, cwd=directory
        )
        ready = b""
        while not ready.endswith(b"}\n"):
            ready += self.process.stdout.readline()
        document = json.loads(ready)
        address = re.fullmatch(r"http://(.*)/mcp", document["url"]).group(1)
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

    def ask(self, method: str, params: dict) -> tuple[http.client.HTTPResponse, dict]:
        self.number += 1
        self.connection.request("POST", "/mcp", request(self.number, method, params), self.headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        data = [line[5:] for line in text.splitlines() if line.startswith("data:") and line[5:].strip()]
        answer = json.loads(data[-1] if data else text)
        assert answer["id"] == self.number, answer
        return response, answer["result"]

    def call(self) -> None:
        assert self.ask("tools/call", {"name": TOOL, "arguments": {}})[1]["isError"] is False

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def measure(pyro: str) -> dict[str, float]:
    """The median seconds of each way."""
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
    return {name: statistics.median(values) for name, values in seconds.items()}


def section(cost: dict[str, float], build: str) -> str:
    def row(title: str, name: str) -> str:
        more = cost[name] - cost["bare"]
        return f"| {title} | {cost[name] * 1000:.2f} | {cost[name] / cost['bare']:.1f} | {more * 1000:.2f} |"

    return f"""{TITLE}

Written by `bench/mcp.py --pyro {build} --out docs/benchmarks.md` (`make bench` runs it too), {time.strftime("%Y-%m-%d")}: the
trivial tool `{TOOL}` beside the daemon call that it makes, the median of {ROUNDS} rounds in which the three take turns,
the client being Python's standard library; load average {os.getloadavg()[0]:.1f}.

| | ms | ratio | more than the bare call, ms |
|---|--:|--:|--:|
| bare call on the daemon's Unix socket | {cost["bare"] * 1000:.2f} | 1.0 | |
{row("tool, standard streams", "stdio")}
{row("tool, HTTP with a session and a token", "HTTP")}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pyro", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    program = pathlib.Path(args.pyro).resolve()
    root = pathlib.Path(__file__).resolve().parent.parent
    build = program.relative_to(root) if program.is_relative_to(root) else program.name
    text = section(measure(str(program)), str(build))
    page = args.out.read_text() if args.out.exists() else ""
    before, _, after = page.partition(f"\n{TITLE}\n")
    # The section ends where the next one begins.
    next_section = re.search(r"^## ", after, re.MULTILINE)
    rest = "\n" + after[next_section.start() :] if next_section else ""
    args.out.write_text(before.rstrip("\n") + "\n\n" + text + rest)


main()
