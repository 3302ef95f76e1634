"""Random operations on a tree, in rounds: SEED, TREE, FIFO to be told to go on, FIFO to say done.

Everything it does is on standard output. What the kernel may refuse is part of the game; what no
healthy filesystem says ends the script with an error.
"""

import errno
import mmap
import os
import random
import shutil
import sys
import time

SEED, TOP, GO, DONE = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
OPERATIONS = int(sys.argv[5])
ANY_MODE = sys.argv[6] == "any"
# Where directories of the lower layer cannot be renamed, they are copied.
COPIES = sys.argv[7] == "copies"
ILL = {errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EUCLEAN} | (set() if COPIES else {errno.EXDEV})
NAMES = ["a", "b", "c", "d", "f0", "f1", "f2", "new", "n\u00e9w", "with space", "line\nbreak", "\udcff"]

pick = random.Random(SEED)
mappings = []


def tree():
    """Directories and everything else, sorted, links not followed."""
    dirs, others = [TOP], []
    for at in dirs:
        for entry in sorted(os.scandir(at), key=lambda entry: entry.name):
            (dirs if entry.is_dir(follow_symlinks=False) else others).append(entry.path)
    return dirs, others


def some_file():
    files = [path for path in tree()[1] if not os.path.islink(path) and os.path.isfile(path)]
    return pick.choice(files)


def some_link_or_file():
    return pick.choice(tree()[1])


def some_dir():
    return pick.choice(tree()[0])


def anything():
    dirs, others = tree()
    return pick.choice(dirs[1:] + others)


def place():
    return os.path.join(some_dir(), pick.choice(NAMES))


def content():
    # Empty, tiny, one chunk, several chunks.
    size = pick.choice([0, 1, 37, 5000, 40_000, pick.randrange(300_000)])
    return pick.randbytes(size)


def fresh(path):
    """An empty file to write to; a fifo without a reader is refused rather than waited for."""
    return open(path, "wb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK, 0o666))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def write():
    path = place()
    yield path
    with fresh(path) as file:
        file.write(content())


def overwrite():
    path = some_file()
    yield path
    with open(path, "r+b") as file:
        file.seek(pick.randrange(os.path.getsize(path) + 10))
        file.write(pick.randbytes(pick.randrange(1, 5000)))


def append():
    path = some_file()
    yield path
    with open(path, "ab") as file:
        file.write(content())


def truncate():
    path = some_file()
    yield path
    os.truncate(path, pick.choice([0, 1, pick.randrange(100_000)]))


def same_bytes_again():
    path = some_file()
    yield path
    with open(path, "rb") as file:
        old = file.read()
    with fresh(path) as file:
        file.write(old)


def move(old, new):
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV or not COPIES:
            raise
        # As mv does.
        shutil.copytree(old, new, symlinks=True)
        shutil.rmtree(old)


def rename():
    old, new = anything(), place()
    yield old, new
    move(old, new)


def rename_dir():
    old, new = pick.choice(tree()[0][1:]), place()
    yield old, new
    move(old, new)


def rename_and_back():
    old, new = anything(), place() + ".away"
    yield old, new
    move(old, new)
    if pick.random() < 0.5 and os.path.isdir(new):
        with fresh(os.path.join(new, "while away")) as file:
            file.write(content())
    move(new, old)


def swap():
    one, two = anything(), anything()
    yield one, two
    aside = os.path.join(TOP, ".aside")
    move(one, aside)
    try:
        move(two, one)
        move(aside, two)
    except OSError:
        move(aside, one)
        raise


def delete():
    path = anything()
    yield path
    remove(path)


def recreate():
    path = pick.choice(tree()[0][1:])
    yield path
    shutil.rmtree(path)
    os.mkdir(path)
    with fresh(os.path.join(path, pick.choice(NAMES))) as file:
        file.write(content())


def mkdir():
    path = place()
    yield path
    os.makedirs(os.path.join(path, pick.choice(NAMES)))


def chmod():
    path = some_link_or_file() if pick.random() < 0.6 else some_dir()
    mode = pick.randrange(0o10000)
    if not ANY_MODE:
        mode |= 0o700 if os.path.isdir(path) else 0o400
    yield path, oct(mode)
    if not os.path.islink(path):
        os.chmod(path, mode)


def hard_link():
    old, new = some_file(), place()
    yield old, new
    os.link(old, new)


def symlink():
    target, new = pick.choice(["a/b", "/etc/passwd", "..", ".", "gone", "\udcfe"]), place()
    yield target, new
    os.symlink(target, new)


def file_over_dir():
    path = pick.choice(tree()[0][1:])
    yield path
    shutil.rmtree(path)
    with fresh(path) as file:
        file.write(content())


def dir_over_file():
    path = some_link_or_file()
    yield path
    os.remove(path)
    os.makedirs(os.path.join(path, "inner"))


def atomic_replace():
    path = some_file()
    yield path
    with fresh(path + "~") as file:
        file.write(content())
    os.rename(path + "~", path)


def fifo():
    path = place()
    yield path
    os.mkfifo(path)


def map_shared():
    path = some_file()
    yield path
    with open(path, "r+b") as file:
        if os.path.getsize(path) > 0:
            mappings.append((path, mmap.mmap(file.fileno(), 0)))


def poke():
    if not mappings:
        return
    path, mapping = pick.choice(mappings)
    # Pages beyond the end of a file that was truncated meanwhile must not be touched.
    size = mapping.size()
    if size == 0:
        return
    yield path
    at = pick.randrange(min(size, len(mapping)))
    mapping[at] = pick.randrange(256)


def touch():
    path = anything()
    when = pick.choice([0, 1, 2**31 - 1, time.time() - 3600, time.time() + 3600])
    yield path, when
    os.utime(path, (when, when), follow_symlinks=False)


def step_clock():
    step = pick.choice([-86400, -3600, -1, 1, 3600, 86400])
    yield step
    time.clock_settime(time.CLOCK_REALTIME, time.time() + step)


WEIGHTS = {
    write: 6, overwrite: 4, append: 3, truncate: 3, same_bytes_again: 2, rename: 5, rename_dir: 6,
    rename_and_back: 3, swap: 2, delete: 4, recreate: 2, mkdir: 3, chmod: 3, hard_link: 2,
    symlink: 2, file_over_dir: 2, dir_over_file: 2, atomic_replace: 2, fifo: 1, map_shared: 4,
    poke: 8, touch: 2, step_clock: 2,
}


def play(number, operation):
    said = ""
    try:
        for said in operation():
            pass
        outcome = "done"
    except IndexError:
        outcome = "nothing to do it to"
    except (OSError, shutil.Error) as error:
        if getattr(error, "errno", None) in ILL:
            print(number, operation.__name__, ascii(said), error, flush=True)
            raise
        outcome = str(error)
    print(number, operation.__name__, ascii(said), ascii(outcome))


def rounds():
    number = 0
    while True:
        with open(GO) as go:
            if go.read().strip() != "go":
                return
        for operation in pick.choices(list(WEIGHTS), WEIGHTS.values(), k=OPERATIONS):
            number += 1
            play(number, operation)
        # A mapping is written right before the report too, and stays open across it.
        for _ in range(3):
            number += 1
            play(number, poke)
        print("round over", flush=True)
        with open(DONE, "w") as done:
            done.write("done")


try:
    rounds()
except BaseException:
    with open(DONE, "w") as done:
        done.write("failed")
    raise
