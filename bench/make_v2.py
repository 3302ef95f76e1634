"""Turns a tree of hard links to `source` into its next version. Writes no file in place."""

import os
import random
import sys


def replace(path: str, data: bytes) -> None:
    """A new file under the old name: the other tree keeps its own."""
    mode = os.stat(path).st_mode & 0o777
    with open(path + ".new", "wb") as out:
        out.write(data)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


def read(path: str) -> bytes:
    """All of a file."""
    with open(path, "rb") as file:
        return file.read()


def main(root: str) -> None:
    """The same edits each time."""
    rng = random.Random(42)
    files = []
    for folder, dirs, names in os.walk(root):
        dirs.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                files.append(path)
    chosen = rng.sample(files, len(files) // 100 + 50)
    largest = max(files, key=os.path.getsize)
    deleted, edited = chosen[:50], [path for path in chosen[50:] if path != largest]
    for path in deleted:
        if path != largest:
            os.unlink(path)
    for number, path in enumerate(edited):
        data = read(path)
        middle = len(data) // 2
        replace(path, data[:middle] + b"/* edit %d */" % number + data[middle + 8 :])
    for number in range(50):
        folder = os.path.dirname(rng.choice(files))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"added_{number}.c"), "w") as out:
            out.write(f"int added_{number}(void){{return {number};}}\n" * rng.randint(1, 600))
    data = read(largest)
    middle = len(data) // 2
    replace(largest, data[:middle] + rng.randbytes(1024) + data[middle:])


if __name__ == "__main__":
    main(sys.argv[1])
