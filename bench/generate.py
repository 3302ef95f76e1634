"""Makes up what would be too much to download: the same bytes each time, on every machine.

generate.py many DIR FILES        small files, 250 to a directory
generate.py large DIR MEGABYTES   one file
generate.py dirs DIR COUNT        so many directories with a file in each, and twenty files in one more
"""

from __future__ import annotations

import os
import random
import sys

PER_DIRECTORY = 250
MEGABYTE = 1_000_000
# Sixteen letters for every byte: what compresses to half, as numbers do.
TO_LETTERS = bytes(0x41 + (byte & 15) for byte in range(256))


def lines(rng: random.Random, count: int) -> list[bytes]:
    """Lines of words, from which texts are put together: they compress about as source code does."""
    words = [rng.randbytes(rng.randint(1, 5)).hex().encode() for _ in range(2_000)]
    return [b" ".join(rng.choices(words, k=rng.randint(1, 12))) + b"\n" for _ in range(count)]


def many(root: str, files: int) -> None:
    """No two files are alike; their lengths run from 10 bytes to 2 KiB, most of them short."""
    rng = random.Random(1)
    text = b"".join(lines(rng, 20_000))
    for number in range(files):
        directory, place = divmod(number, PER_DIRECTORY)
        folder = os.path.join(root, f"{directory // 64:02x}", f"{directory % 64:02x}")
        if place == 0:
            os.makedirs(folder)
        begin = rng.randrange(len(text) - 2_048)
        length = rng.randrange(1 << rng.randint(2, 11))
        descriptor = os.open(
            os.path.join(folder, f"file-{place:03}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644
        )
        os.write(descriptor, b"%09d\n" % number + text[begin : begin + length])
        os.close(descriptor)


def large(root: str, megabytes: int) -> None:
    """Text, numbers and noise, a megabyte each in turn; nothing comes twice."""
    rng = random.Random(2)
    texts = lines(rng, 50_000)
    with open(os.path.join(root, "large.bin"), "xb") as out:
        for number in range(megabytes):
            if number % 3 == 0:
                block = b"".join(rng.choices(texts, k=40_000))[:MEGABYTE]
            else:
                block = rng.randbytes(MEGABYTE)
                block = block.translate(TO_LETTERS) if number % 3 == 1 else block
            assert len(block) == MEGABYTE
            out.write(block)


def dirs(root: str, count: int) -> None:
    """Two levels of directories, the files in them no larger than their names."""
    os.makedirs(os.path.join(root, "fs"))
    for number in range(20):
        with open(os.path.join(root, "fs", f"file-{number:02}.c"), "x") as out:
            out.write(f"/* {number} */\n" * 40)
    made = 0
    while made < count:
        above = os.path.join(root, "tree", f"{made // 512:03}")
        os.makedirs(above)
        below = [above, *(os.path.join(above, f"{place:03}") for place in range(511))]
        for folder in below[: count - made]:
            if folder != above:
                os.mkdir(folder)
            with open(os.path.join(folder, "name"), "x") as out:
                out.write(os.path.relpath(folder, root) + "\n")
        made += len(below)


if __name__ == "__main__":
    kind, directory, amount = sys.argv[1:]
    {"many": many, "large": large, "dirs": dirs}[kind](directory, int(amount))
