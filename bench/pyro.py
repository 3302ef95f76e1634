"""pyro itself: the binary with a home of its own, and the jobs done by it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from .measure import Cost, Failed, peak_mib, reset_peak, run
from .tool import Tool

# Leaves it to the kernel when a checkout reaches the disk, where the program has it.
UNSYNCED = "--no-sync"


class Pyro:
    """A program and the directory that is its `PYRO_HOME`."""

    def __init__(self, program: str, home: pathlib.Path):
        self.program = program
        self.home = home
        self.env = {"PYRO_HOME": str(home)}

    def timed(self, *args: str, cwd: str | None = None) -> Cost:
        """What a call cost; memory is the client's."""
        return run([self.program, *args], env=self.env, cwd=cwd)

    def json(self, *args: str) -> tuple[dict[str, Any], Cost]:
        """A call's document and what it cost. Flags precede `--`."""
        at = args.index("--") if "--" in args else len(args)
        cost = self.timed(*args[:at], "--json", *args[at:])
        return json.loads(cost.stdout), cost

    def daemon(self) -> int:
        """Process id of the daemon, which must run."""
        return int(self.json("daemon", "status")[0]["pid"])

    def start(self) -> int:
        """The daemon runs afterwards; its process id."""
        self.timed("store", "stats")
        return self.daemon()

    def stop(self) -> None:
        """The daemon runs no more."""
        self.timed("daemon", "stop")


class PyroTool(Tool):
    """Every job is one call; its memory is that of the daemon and of the client together."""

    name = "pyro"
    program = ""
    jobs = frozenset(
        ["ingest", "unchanged", "v2", "v2_copy", "diff", "checkout", "checkout_synced", "verify"]
    )

    def __init__(self, home: pathlib.Path, *, made: bool = False):
        self.pyro = Pyro(self.program, home)
        self.running = False
        super().__init__(home, made=made)

    def _call(self, *args: str) -> tuple[dict[str, Any], Cost]:
        # An idle daemon may have ended while other tools were at work.
        daemon = self.pyro.start()
        self.running = True
        reset_peak(daemon)
        document, cost = self.pyro.json("store", *args)
        return document, Cost(cost.seconds, cost.peak_mib + peak_mib(daemon))

    def _baselines(self) -> list[str]:
        """Their ids, oldest first."""
        listed = self.pyro.json("store", "list")[0]["baselines"]
        return [one["baseline"] for one in sorted(listed, key=lambda one: one["created_at"])]

    def prime(self, tree: pathlib.Path) -> None:
        self.put(tree)

    def put(self, tree: pathlib.Path) -> Cost:
        return self._call("ingest", str(tree))[1]

    def diff(self) -> Cost:
        return self._call("diff", *self._baselines()[-2:])[1]

    def checkout(self, out: pathlib.Path) -> Cost:
        if UNSYNCED not in self.pyro.timed("store", "checkout", "--help").stdout:
            raise Failed("a checkout is always synced")
        return self._call("checkout", self._baselines()[-1], str(out), UNSYNCED)[1]

    def checkout_synced(self, out: pathlib.Path) -> Cost:
        return self._call("checkout", self._baselines()[-1], str(out))[1]

    def verify(self) -> Cost:
        document, cost = self._call("verify")
        if not document["clean"]:
            raise Failed(f"the store is damaged: {document['damage']}")
        return cost

    def settle(self) -> dict[str, int]:
        """Tidies the store, as an idle daemon does; `hasty` is the payload before that, in bytes."""
        hasty = self.payload()
        cost = self._call("gc")[1]
        return {
            "hasty": hasty,
            "tidied_ms": round(cost.seconds * 1000),
            "tidied_mib": round(cost.peak_mib),
        }

    def payload(self) -> int:
        return int(self.pyro.json("store", "stats")[0]["pack_bytes"])

    def directory(self) -> pathlib.Path:
        return self.home / "store"

    def close(self) -> None:
        if self.running:
            self.pyro.stop()
            self.running = False
