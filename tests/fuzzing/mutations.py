"""Random changes to the bytes or the structure of a file, each drawn from a given generator."""

import bz2
import copy
import gzip
import io
import json
import lzma
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import yaml

TOKENS = (
    b"\n", b"\t", b" ", b"-", b"nan", b"inf", b"1e999", b"-1e-999", b"\x00", b'"', b"'", b"null", b"[]", b"{}",
    b"[", b"{", b"0", b"-1", b"1000000000", b"99999999999999999999", b"\xff\xff\xff\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"../", b"/", b"&a", b"*a", b"!!python/object", b"\x1b[2J",
    b"\xe2\x80\xae", b"\\1-grams:", b"ngram 1=",
)  # fmt: skip
"""What parsers stumble over: numbers out of range, halves of characters, marks of encodings, paths, tags."""
VALUES: tuple[Any, ...] = (
    None, True, "", "x", "../x", "/x", "\x00", "\x1b[2J", "nan", -1, 0, 1, 7, 10**9, 10**30, 1.5, -1.0, 1e300, [], {},
    [None], ["x"], [[1]], [0], {"x": 1}, [10**9] * 3, ["x"] * 10_000,
)  # fmt: skip
"""What takes the place of a value in JSON and YAML."""

Mutation = Callable[[bytes, random.Random], bytes]


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change, remove, repeat, exchange or insert bytes, or cut the file, one to four times."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not changed:
            break
        # Half of the changes are in the header, which is a small part of most files.
        here = rng.randrange(len(changed) if rng.random() < 0.5 else min(len(changed), 600))
        there = rng.randrange(len(changed))
        match rng.randrange(8):
            case 0:
                changed[here] = rng.randrange(256)
            case 1:
                changed[here] ^= 1 << rng.randrange(8)
            case 2:
                del changed[here : here + rng.choice((1, 4, 100))]
            case 3:
                changed[here:here] = changed[here : here + rng.choice((1, 8, 200))]
            case 4:
                del changed[here:]
            case 5:
                changed[here:here] = rng.choice(TOKENS)
            case 6:
                changed[here : here + 4] = rng.choice(
                    (b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
                )
            case _:
                changed[here : here + 8], changed[there : there + 8] = (
                    changed[there : there + 8],
                    changed[here : here + 8],
                )
    return bytes(changed)


def of_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, remove or repeat a value anywhere in a JSON file, or change its bytes."""
    if rng.random() < 0.2:
        return of_bytes(data, rng)
    return json.dumps(_changed(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def of_json_lines(data: bytes, rng: random.Random) -> bytes:
    """Change one line of a file of JSON objects as `of_json` does, or its bytes."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    rows = data.splitlines()
    number = rng.randrange(len(rows))
    rows[number] = json.dumps(_changed(json.loads(rows[number]), rng)).encode()
    return b"\n".join(rows) + b"\n"


def of_yaml(data: bytes, rng: random.Random) -> bytes:
    """Replace, remove or repeat a value anywhere in a YAML file, or change its bytes."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    return yaml.safe_dump(_changed(yaml.safe_load(data), rng)).encode()


def of_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file and its length accordingly, or any bytes of the file."""
    if rng.random() < 0.4:
        return of_bytes(data, rng)
    (length,) = struct.unpack("<Q", data[:8])
    header = of_json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def of_zip(data: bytes, rng: random.Random) -> bytes:
    """Change one member of an archive, whose checksums are right again, or any bytes of the archive."""
    if rng.random() < 0.3:
        return of_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    pickles = [info for info in members if info.filename.endswith(".pkl")]
    chosen = rng.choice(pickles if pickles and rng.random() < 0.8 else list(members))
    members[chosen] = of_bytes(members[chosen], rng)
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for info, content in members.items():
            archive.writestr(info, content)
    return found.getvalue()


def packed(inner: Mutation, suffix: str) -> Mutation:
    """Return a mutation of the content of a compressed file (.gz, .xz or .bz2), or of the compressed bytes."""
    module: Any = {".gz": gzip, ".xz": lzma, ".bz2": bz2}[suffix]

    def change(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.2:
            return of_bytes(data, rng)
        found: bytes = module.compress(inner(module.decompress(data), rng))
        return found

    return change


def _changed(data: Any, rng: random.Random) -> Any:
    """Return a copy in which one value, anywhere, is replaced, removed, renamed or repeated."""
    data = copy.deepcopy(data)
    places = list(_places(data))
    if not places:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(("x", "", "../x", str(key) * 2))] = holder.pop(key)
        case 2 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice((-1, 0, 10, 10**9))
        case _:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return data


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Return each container with each of its keys, lists by their first elements."""
    keys = list(data)[:200] if isinstance(data, dict) else range(min(3, len(data))) if isinstance(data, list) else ()
    return [(data, key) for key in keys] + [place for key in keys for place in _places(data[key])]
