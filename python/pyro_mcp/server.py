"""The MCP server as a process that this one holds."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as HostPath
from subprocess import DEVNULL, PIPE, TimeoutExpired
from types import TracebackType

from pyro_mcp.errors import BinaryFailed, InvalidArgument
from pyro_mcp.process import Child, option, read_document, start

_START_SECONDS = 60
_END_SECONDS = 15
_ANY_PORT = "127.0.0.1:0"
_CLIENT_GONE = 141
"""Exit code when the client has closed its end of standard output, before the other."""


@dataclass(frozen=True)
class Serve:
    """How the server shall be."""

    profile: str | None
    allow_roots: tuple[bytes, ...]
    http: bool | str
    token: str | None

    def words(self) -> list[bytes]:
        """As arguments of pyro."""
        words = [b"mcp", b"serve", *option("profile", self.profile)]
        for root in self.allow_roots:
            words += option("allow-root", root)
        if self.http:
            words += option("http", self.http if isinstance(self.http, str) else _ANY_PORT)
        return words


class PyroServer:
    """An MCP server: `pyro mcp serve`, as `Pyro.create_server` makes it.

    With `http` it runs already: clients connect to `url` with `token`. Without, it speaks on
    standard input and output: `run` serves this process's own, `start` makes pipes for a client in
    this process, and `command` is what an MCP client configuration starts by itself. `close`, or
    the end of a `with` block, ends it.
    """

    process: Child | None
    """The running server; its pipes are the connection when it has no `url`."""
    url: str | None
    """Where it listens, over HTTP."""
    token: str | None
    """What clients send as `Authorization: Bearer TOKEN`, over HTTP."""

    def __init__(self, binary: str, serve: Serve, environment: Mapping[str, str]) -> None:
        self._binary = binary
        self._serve = serve
        self._environment = dict(environment)
        if serve.token is not None:
            # Arguments can be seen by others.
            self._environment["PYRO_MCP_TOKEN"] = serve.token
        self.process = None
        self.url = None
        self.token = None

    @property
    def command(self) -> list[str]:
        """The program and arguments that serve on standard input and output."""
        return [self._binary, *map(os.fsdecode, self._serve.words())]

    def start(self) -> PyroServer:
        """Starts it, unless it runs. Over HTTP it takes connections when this returns."""
        if self.process is not None and self.process.poll() is None:
            return self
        http = bool(self._serve.http)
        words = self._serve.words()
        self.process, patience = start(
            [self._binary, *([b"--json"] if http else []), *words],
            self._environment,
            stdin=DEVNULL if http else PIPE,
            stdout=PIPE,
        )
        try:
            patience.release()
            if http:
                self._listening(self.process)
        except BaseException:
            self.process.end()
            raise
        return self

    def run(self, transport: str | None = None) -> None:
        """Serves until the client leaves, or until interrupted.

        Without `http` this process's standard input and output are the connection, so nothing else
        may read or print there. `transport` may name what is served anyway: `stdio` or
        `streamable-http`.
        """
        served = "streamable-http" if self._serve.http else "stdio"
        if transport not in (None, served):
            raise InvalidArgument(
                "invalid_argument",
                f"this server speaks {served}, not {transport!r}",
                "create_server(http=True) makes one that speaks streamable-http",
            )
        if self._serve.http:
            with self:
                self.wait()
            return
        sys.stdout.flush()
        self.process, patience = start([self._binary, *self._serve.words()], self._environment)
        try:
            patience.release()
            code = self.process.wait()
        except BaseException:
            self.process.end()
            raise
        if code not in (0, _CLIENT_GONE):
            raise BinaryFailed(
                "binary_failed", f"the MCP server ended with {code}; see standard error", None, code
            )

    def wait(self, timeout: float | None = None) -> int:
        """Exit code, once it has ended. Raises `subprocess.TimeoutExpired` after `timeout`."""
        self.start()
        assert self.process is not None, "started"
        return self.process.wait(timeout)

    def close(self) -> None:
        """Ends it and waits until it has cleaned up. One that has ended is no error."""
        process = self.process
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                # The end of its input is how a client leaves.
                process.stdin.close()
            with contextlib.suppress(TimeoutExpired):
                process.wait(_END_SECONDS)
            process.stdin = None
        process.end()

    def __enter__(self) -> PyroServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _listening(self, process: Child) -> None:
        """Reads where it listens: a document that it prints when it does."""
        stream = process.stdout
        assert stream is not None, "a pipe"
        printed = b""
        deadline = time.monotonic() + _START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise BinaryFailed(
                        "binary_failed", f"'{self._binary} mcp serve' does not start to listen"
                    )
                piece = os.read(stream.fileno(), 65536)
                printed += piece
                if not piece:
                    code = process.wait()
                    read_document(self._binary, printed, b"", code)
                    raise BinaryFailed(
                        "binary_failed", f"the MCP server ended with {code} at once", None, code
                    )
                with contextlib.suppress(ValueError):
                    told = json.loads(printed)
                    break
        if "error" in told:
            read_document(self._binary, printed, b"", process.wait())
        self.url = told["url"]
        self.token = self._environment.get("PYRO_MCP_TOKEN") or None
        if told["token_file"] is not None:
            self.token = HostPath(told["token_file"]).read_text().strip()
