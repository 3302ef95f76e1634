"""Runs one program to its end and writes what it cost to a descriptor.

    once.py DESCRIPTOR PROGRAM ARGUMENT...

Written: wall seconds, KiB of memory that the largest of its processes held at its peak, exit code.

A process of its own, and a small one, because Linux counts the memory of whoever starts a program as the program's: no
peak below some 9 MiB can be told.
"""

import os
import sys
import time


def main() -> None:
    """Forwards the program's exit code only in what it writes: its own is 0."""
    descriptor, argv = int(sys.argv[1]), sys.argv[2:]
    # Whatever the program leaves behind must not keep the descriptor open.
    os.set_inheritable(descriptor, False)
    started = time.monotonic()
    child = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    os.write(descriptor, f"{seconds} {usage.ru_maxrss} {code}".encode())


main()
