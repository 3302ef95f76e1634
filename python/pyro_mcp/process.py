"""Runs one pyro command to its end and reads its document."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, PIPE
from types import FrameType
from typing import Any

from pyro_mcp.binary import not_executable
from pyro_mcp.errors import BinaryFailed, InvalidArgument, PyroError, error_of

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""An argument. Text is encoded as file names are, so that any bytes can be given as text, too."""

_UNDO_SECONDS = 15
"""After an interrupt pyro waits up to ten seconds until what was half done is undone."""

_SHOWN = 400
"""Characters of unexpected output in a message."""


class Patience:
    """Holds Ctrl-C back until it is released: a program that was just started is known by then.

    A signal is handled as soon as a system call returns, which may be between the program's start
    and the moment when anybody has its process id.
    """

    def __init__(self) -> None:
        self._came: list[tuple[int, FrameType | None]] = []
        self._handler = signal.getsignal(signal.SIGINT)
        here = threading.current_thread() is threading.main_thread()
        # Another thread is never interrupted; what is no function of Python's raises nothing.
        self._held = here and callable(self._handler)
        if self._held:
            signal.signal(signal.SIGINT, lambda *came: self._came.append(came))

    def release(self) -> None:
        """From now on it comes at once; one that came is handled now."""
        if not self._held:
            return
        self._held = False
        signal.signal(signal.SIGINT, self._handler)
        if self._came and callable(self._handler):
            self._handler(*self._came[-1])


class Child(subprocess.Popen[bytes]):
    """A running pyro.

    In a session of its own: Ctrl-C on a terminal reaches this process alone, which passes it on
    once. A second interrupt would make pyro leave before it has cleaned up.
    """

    def end(self) -> None:
        """Interrupts it and waits until it is gone, whatever it takes."""
        try:
            self.send_signal(signal.SIGINT)
            self.communicate(timeout=_UNDO_SECONDS)
        except BaseException:
            # A second Ctrl-C, or a program that does not end: the daemon cleans up all the same.
            self.kill()
            self.wait()
        finally:
            for stream in (self.stdin, self.stdout, self.stderr):
                if stream is not None:
                    stream.close()


def start(
    argv: Sequence[str | bytes],
    environment: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> tuple[Child, Patience]:
    """Starts the program; Ctrl-C is held back until the caller can end what was started."""
    patience = Patience()
    try:
        child = Child(
            argv,
            env=dict(environment),
            start_new_session=True,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        return child, patience
    except ValueError as error:
        patience.release()
        raise InvalidArgument(
            "invalid_argument", f"an argument cannot be passed on: {error}"
        ) from error
    except OSError as error:
        patience.release()
        if error.errno == errno.E2BIG:
            raise InvalidArgument(
                "invalid_argument",
                "the arguments are longer than the system takes (128 KiB for one of them)",
                "write long text to a file and bring it in with push_workspace_sync",
            ) from error
        raise not_executable(os.fsdecode(argv[0]), error) from error
    except BaseException:
        patience.release()
        raise


def document(
    binary: str,
    words: Sequence[bytes],
    environment: Mapping[str, str],
    stdin: bytes | None = None,
) -> Any:
    """Runs `binary --json words...`; what it printed, or its error as an exception.

    An exception that comes in between (`KeyboardInterrupt` for one) interrupts the program, waits
    until it has cleaned up, and is raised then.
    """
    process, patience = start(
        [binary, b"--json", *words],
        environment,
        stdin=DEVNULL if stdin is None else PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        patience.release()
        stdout, stderr = process.communicate(stdin)
    except BaseException:
        process.end()
        raise
    return read_document(binary, stdout, stderr, process.returncode)


def read_document(binary: str, stdout: bytes, stderr: bytes, exit_code: int) -> Any:
    """The document of a program that has ended, or its error as an exception."""
    try:
        printed = json.loads(stdout)
    except ValueError:
        printed = None
    if not isinstance(printed, dict):
        raise _no_document(binary, stdout, stderr, exit_code)
    if exit_code != 0 and isinstance(printed.get("error"), dict):
        raise _error(printed["error"], exit_code)
    return printed


def _error(body: Mapping[str, Any], exit_code: int) -> PyroError:
    hint = body.get("hint")
    return error_of(
        str(body.get("code")),
        str(body.get("message")),
        None if hint is None else str(hint),
        exit_code,
    )


def _no_document(binary: str, stdout: bytes, stderr: bytes, exit_code: int) -> BinaryFailed:
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return BinaryFailed(
            "binary_failed", f"'{binary}' was ended by {name} before it had answered"
        )
    printed = stdout or stderr
    shown = printed[:_SHOWN].decode(errors="replace").strip()
    return BinaryFailed(
        "binary_failed",
        f"'{binary}' ended with {exit_code} and printed no document: {shown!r}",
        "is it the pyro program?",
        exit_code,
    )


def word(value: Word) -> bytes:
    """An argument, its bytes as they are."""
    try:
        return os.fsencode(value)
    except UnicodeEncodeError as error:
        raise InvalidArgument("invalid_argument", f"{value!r} is no text: {error}") from error


def option(name: str, value: Word | int | float | None) -> list[bytes]:
    """`--name=value`, so that a value may begin with a dash or be empty; nothing for `None`."""
    if value is None:
        return []
    if isinstance(value, (int, float)):
        value = str(value)
    return [b"--" + name.encode() + b"=" + word(value)]


def flag(name: str, given: bool) -> list[bytes]:
    """`--name` when given."""
    return [b"--" + name.encode()] if given else []
