"""What every tool of the comparison is asked to do."""

from __future__ import annotations

import pathlib

from .measure import Cost, run


class Tool:
    """One tool with a store of its own in `home`. `jobs` names what it can do, of `bars.JOBS`."""

    name = ""
    jobs: frozenset[str] = frozenset()

    def __init__(self, home: pathlib.Path, *, made: bool = False):
        """`made`: the store is there already."""
        self.home = home
        if not made:
            home.mkdir(parents=True)
            self.create()

    def create(self) -> None:
        """Makes the store; not timed."""

    def prime(self, tree: pathlib.Path) -> None:
        """Before a store that was copied is timed: what a program that stays around would have in memory."""

    def put(self, tree: pathlib.Path) -> Cost:
        """Stores a tree: ingest, unchanged, v2 and v2_copy."""
        raise NotImplementedError

    def settle(self) -> dict[str, int]:
        """After `put`: does at once, untimed, what it would do by itself while others are timed.

        Returns what there is to tell of it beside the sizes.
        """
        return {}

    def diff(self) -> Cost:
        """Compares the tree stored before the last with the last."""
        raise NotImplementedError

    def checkout(self, out: pathlib.Path) -> Cost:
        """Writes the last tree to `out`, which is not there."""
        raise NotImplementedError

    def checkout_synced(self, out: pathlib.Path) -> Cost:
        """The same; it is on the disk afterwards."""
        raise NotImplementedError

    def verify(self) -> Cost:
        """Reads everything stored and checks it."""
        raise NotImplementedError

    def payload(self) -> int:
        """Bytes of what is kept of the trees themselves, indexes and caches apart."""
        raise NotImplementedError

    def directory(self) -> pathlib.Path:
        """All that has to be kept."""
        return self.home

    def close(self) -> None:
        """Ends what it left running."""

    def copy(self, home: pathlib.Path) -> Tool:
        """The same store again, to be changed apart from this one. This one is closed."""
        self.close()
        home.parent.mkdir(parents=True, exist_ok=True)
        run(["cp", "-a", str(self.home), str(home)])
        return type(self)(home, made=True)
