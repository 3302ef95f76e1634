"""From `create` to the first command's end on each backend, beside a bare boot of the same kernel in the
same QEMU."""

from __future__ import annotations

import pathlib
import subprocess
import time
from typing import Any

from .measure import Cost, run
from .pyro import Pyro
from .rounds import say

ENVIRONMENT = "debian:12"
# Backends, and the check of `pyro doctor` that tells whether each works here.
BACKENDS = {
    "firecracker": "firecracker",
    "qemu-kvm": "kvm",
    "qemu-tcg": "qemu",
    "host-compat": "host-compat",
}
# More than a machine takes to boot until it waits. Seconds.
WARMING = 4

INIT = r"""
#include <sys/reboot.h>
int main(void) { return reboot(RB_AUTOBOOT); }
"""

# Options of a workspace's QEMU that a bare boot does without: disks, vsock, console.
NEEDLESS = ("-initrd", "-add-fd", "-blockdev", "-chardev", "-serial", "-sandbox")

# Words of the kernel's command line by which pyro has it leave out what guests do not need. A boot without
# them is what the kernel does by itself.
SHORTCUTS = ("cryptomgr", "initcall_blacklist", "8250", "mitigations", "noreplace-smp")


def cpio(name: str, content: bytes) -> bytes:
    """An initramfs of one executable: the "new ASCII format" of cpio, as the kernel reads it
    (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def member(name: str, mode: int, content: bytes) -> bytes:
        numbers = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % number for number in numbers)
        text = head + name.encode() + b"\0"
        text += bytes(-len(text) % 4) + content
        return text + bytes(-len(text) % 4)

    return member(name, 0o100755, content) + member("TRAILER!!!", 0, b"")


class Bare:
    """QEMU as pyro starts it, less what a workspace needs, with an init that ends at once."""

    def __init__(self, pyro: Pyro, work: pathlib.Path):
        source, init, self.initrd = work / "init.c", work / "init", work / "bare.cpio"
        source.write_text(INIT)
        subprocess.run(["cc", "-Os", "-static", "-o", str(init), str(source)], check=True)
        self.initrd.write_bytes(cpio("init", init.read_bytes()))
        made, _ = pyro.json("workspace", "create", ENVIRONMENT)
        self.argv = self._command(pyro.home / "workspaces" / made["workspace_id"])
        pyro.timed("workspace", "delete", made["workspace_id"])

    def _command(self, directory: pathlib.Path) -> list[str]:
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                files = {file.name: file.readlink() for file in (process / "fd").iterdir()}
                words = (process / "cmdline").read_bytes().decode().split("\0")[:-1]
            except OSError:
                continue
            ours = any(file.is_relative_to(directory) for file in files.values())
            if not ours or "qemu" not in words[0]:
                continue
            argv, rest = [words[0]], iter(words[1:])
            for option in rest:
                value = (
                    []
                    if option in ("-nodefaults", "-no-user-config", "-no-reboot")
                    else [next(rest)]
                )
                if option == "-kernel":
                    value = [str(files[pathlib.Path(value[0]).name])]
                if option in NEEDLESS or (option == "-device" and "rng" not in value[0]):
                    continue
                argv += [option, *value]
            return [*argv, "-serial", "null", "-initrd", str(self.initrd)]
        raise RuntimeError("no QEMU works in " + str(directory))

    def boot(self) -> Cost:
        return run(self.argv)

    def boot_by_itself(self) -> Cost:
        """The same with the command line that the machine needs and nothing more."""
        argv = list(self.argv)
        at = argv.index("-append") + 1
        argv[at] = " ".join(word for word in argv[at].split() if not word.startswith(SHORTCUTS))
        return run(argv)


def skipped(pyro: Pyro) -> dict[str, str]:
    """Backends that cannot run here, and why."""
    checks = {check["name"]: check for check in pyro.json("doctor")[0]["checks"]}
    absent = {"status": "absent", "message": "this pyro does not have it"}
    found = {name: checks.get(check, absent) for name, check in BACKENDS.items()}
    return {name: check["message"] for name, check in found.items() if check["status"] != "ok"}


def start(pyro: Pyro, *flags: str) -> dict[str, float]:
    """The two calls until a command has run in a new, empty workspace."""
    made, create = pyro.json("workspace", "create", ENVIRONMENT, *flags)
    first = pyro.timed("workspace", "exec", made["workspace_id"], "--", "true")
    pyro.timed("workspace", "delete", made["workspace_id"])
    return {"create": create.seconds, "exec": first.seconds, "both": create.seconds + first.seconds}


def measure(program: str, work: pathlib.Path, runs: int) -> dict[str, Any]:
    """Rounds in which each takes its turn."""
    pyro, warm = Pyro(program, work / "home"), Pyro(program, work / "warm")
    warm.env["PYRO_WARM"] = "1"
    rounds = []
    backends: dict[str, Pyro] = {}
    try:
        pyro.start()
        pyro.timed("env", "pull", ENVIRONMENT)
        without = skipped(pyro)
        backends |= {name: Pyro(program, work / name) for name in BACKENDS if name not in without}
        for name, other in backends.items():
            other.env["PYRO_BACKEND"] = name
        for other in (warm, *backends.values()):
            other.home.mkdir()
            (other.home / "environments").symlink_to(pyro.home / "environments")
        # The first machine of a home probes KVM and packs the initramfs.
        mode = pyro.json("run", ENVIRONMENT, "--", "true")[0]["execution_mode"]
        warm.timed("run", ENVIRONMENT, "--", "true")
        for other in backends.values():
            start(other, "--allow-host-compat")
        bare = Bare(pyro, work)
        for number in range(runs):
            time.sleep(WARMING)
            rows: dict[str, Any] = {"bare": bare.boot().seconds}
            rows["plain"] = bare.boot_by_itself().seconds
            rows |= {"cold": start(pyro), "warm": start(warm)}
            rows["backends"] = {
                name: start(other, "--allow-host-compat") for name, other in backends.items()
            }
            rows["run"] = pyro.timed("run", ENVIRONMENT, "--", "true").seconds
            rounds.append(rows)
            say(f"boot {number + 1}: {rows}")
    finally:
        for other in (pyro, warm, *backends.values()):
            other.stop()
    return {"runs": runs, "mode": mode, "rounds": rounds, "skipped": without}
