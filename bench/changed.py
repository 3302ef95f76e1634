"""What a next version has to add at least: its changed bytes, compressed."""

from __future__ import annotations

import os
import pathlib
import subprocess

# A change to a larger file counts as this much of it around the change: a store that cuts files into pieces needs no more.
WINDOW = 65_536


def common(one: bytes, other: bytes) -> int:
    """Length of what two byte strings begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def changed_part(old: bytes, new: bytes) -> bytes:
    """The new file, or the part of a large one that holds all that differs."""
    if len(new) <= WINDOW:
        return new
    begin = common(old, new)
    end = len(new) - common(old[begin:][::-1], new[begin:][::-1])
    around = max(0, WINDOW - (end - begin)) // 2
    return new[max(0, begin - around) : end + around]


def changed_bytes(old: pathlib.Path, new: pathlib.Path) -> bytes:
    """All files of `new` that `old` does not have just so, one behind the other, as changed parts."""
    parts = []
    for folder, directories, names in os.walk(new):
        directories.sort()
        for name in sorted(names):
            file = pathlib.Path(folder, name)
            before = old / file.relative_to(new)
            if file.is_symlink() or (before.exists() and before.samefile(file)):
                continue
            content = file.read_bytes()
            known = before.read_bytes() if before.is_file() else b""
            if content != known:
                parts.append(changed_part(known, content))
    return b"".join(parts)


def compressed(data: bytes) -> int:
    """Bytes that `zstd -3` makes of it."""
    return len(
        subprocess.run(
            ["zstd", "-q", "-3", "-c"], input=data, capture_output=True, check=True
        ).stdout
    )
