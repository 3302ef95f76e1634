"""A reader of the store that knows nothing but docs/store-format.md: the page suffices.

It reads the sound store among the fixtures, and checks every digest on the way.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import zstandard
from blake3 import blake3

STORE = Path(__file__).parents[2] / "fixtures" / "stores" / "sound"
CHUNK, LIST, TREE, TIMES, ROOT = 1, 2, 3, 4, 5


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


class Pack:
    """One pack file."""

    def __init__(self, path: Path):
        self.data = path.read_bytes()
        assert self.data[:8] == b"PYROPACK"
        assert self.data[8] == 1
        assert self.data[9] in (0, 68)
        assert self.data[10:16] == bytes(6)
        frames, records, table = struct.unpack_from("<IIQ", self.data, len(self.data) - 56)
        footer = self.data[len(self.data) - 40 : len(self.data) - 8]
        assert self.data[-8:] == b"PYROEND\x01"
        assert digest(self.data[table : len(self.data) - 40]) == footer
        assert path.name == footer.hex() + ".pack"
        end = table + frames * 33
        assert end + records * 45 + 56 == len(self.data)
        self.frames = [
            struct.unpack_from("<QIIB16s", self.data, at) for at in range(table, end, 33)
        ]
        self.records = [
            struct.unpack_from("<32sBIII", self.data, end + at * 45) for at in range(records)
        ]
        assert self.records == sorted(self.records, key=lambda record: record[:2])

    def objects(self) -> Iterator[tuple[tuple[int, bytes], bytes]]:
        """Each object: kind and id, and its bytes."""
        for ident, kind, frame, offset, length in self.records:
            at, stored, raw, encoding, checksum = self.frames[frame]
            data = self.data[at : at + stored]
            assert digest(data)[:16] == checksum
            if encoding == 1:
                data = zstandard.decompress(data, max_output_size=raw)
            assert len(data) == raw
            yield (kind, ident), data[offset : offset + length]


class Bytes:
    """Reads integers and bytes one after the other."""

    def __init__(self, data: bytes, magic: bytes):
        assert data.startswith(magic)
        self.data, self.at = data, len(magic)

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> int:
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def length(self) -> int:
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bytes(self) -> bytes:
        return self.take(self.length())


def content(objects: dict[tuple[int, bytes], bytes], ident: bytes, size: int) -> bytes:
    """A file's bytes."""
    if size == 0:
        assert ident == digest(b"")
        return b""
    if (CHUNK, ident) in objects:
        return objects[CHUNK, ident]
    data = objects[LIST, ident]
    assert digest(data[:-32]) == data[-32:]
    chunks = Bytes(data, b"PC\x01")
    assert chunks.take(32) == ident
    whole = b""
    for _ in range(chunks.length()):
        chunk, length = chunks.take(32), chunks.length()
        assert len(objects[CHUNK, chunk]) == length
        whole += objects[CHUNK, chunk]
    assert digest(whole) == ident
    return whole


def walk(
    objects: dict[tuple[int, bytes], bytes], tree: bytes, times: bytes, path: str
) -> Iterator[tuple[str, int, bytes | None]]:
    """Every entry below a directory: path, mode, and content or target."""
    node, mtimes = Bytes(objects[TREE, tree], b"PT\x01"), Bytes(objects[TIMES, times], b"PM\x01")
    count = node.length()
    assert mtimes.length() == count
    for _ in range(count):
        kind, name = node.number("B"), path + node.bytes().decode()
        has_children = mtimes.number("B") == 1
        mtimes.number("q")
        assert mtimes.number("I") < 1_000_000_000
        if kind == 1:
            mode, size = node.number("H"), node.length()
            found = content(objects, node.take(32), size)
            assert len(found) == size
            yield name, mode, found
        elif kind == 2:
            mode, below = node.number("H"), node.take(32)
            assert has_children
            yield name, mode, None
            yield from walk(objects, below, mtimes.take(32), name + "/")
        else:
            assert kind == 3
            yield name, 0o777, node.bytes()
        assert node.length() == 0, "a workspace's entry has no extension"


def test_a_reader_made_from_the_page_reads_the_kept_store() -> None:
    assert (STORE / "version").read_text() == "2\n"
    objects: dict[tuple[int, bytes], bytes] = {}
    for path in (STORE / "packs").iterdir():
        objects.update(Pack(path).objects())
    for (kind, ident), data in objects.items():
        assert kind == LIST or digest(data) == ident
    (record,) = (json.loads(path.read_text()) for path in (STORE / "baselines").iterdir())
    root, times = bytes.fromhex(record["root"]), bytes.fromhex(record["times"])
    mtime = struct.pack("<qI", record["mtime"]["secs"], record["mtime"]["nanos"])
    assert digest(b"PB\x01" + root + times + mtime).hex() == record["id"]
    top = Bytes(objects[ROOT, root], b"PR\x01")
    top.number("H")
    found = {name: data for name, _, data in walk(objects, top.take(32), times, "")}
    assert found == {
        "dir": None,
        "dir/below": None,
        "dir/below/two": b"the second file\n" * 40,
        "dir/one": b"the first file\n",
        "empty": b"",
        "link": b"dir/one",
        "zeroes": bytes(300_000),
    }
    assert len(found) == record["entry_count"]
