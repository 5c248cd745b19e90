"""Read checkpoints written by `torch.save` (fairseq's `*.pt`, `pytorch_model.bin`) without executing code in them.

A pickle is a program that may call any function by name. Here it cannot call anything. Reading takes two steps:

1. *Unpickling* builds a tree of inert records. Every class or function named in the file becomes a new subclass of
   `_Record`, which only stores arguments, state and items; no name is ever imported. Names outside the lists below are
   refused, so that a malicious file raises an error.
2. `_Plain` converts the finished tree to tensors, dictionaries, lists and strings.

`torch.load(weights_only=True)` is not used because (torch 2.13) it reads only protocol 2, cannot memory-map the older
format and allocates whatever size the file states, lets a storage extend past its record with `mmap=True`, and requires
every replacement class to be registered by its exact name for the whole process.
"""

import io
import math
import mmap
import pickle
import pickletools
import re
import struct
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np
import torch

from sori.core.shapes import Tensor
from sori.core.user_files import open_bytes

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""Header of the format before torch 1.6; each value is a separate pickle."""
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_STORAGES = {
    torch.empty(0, dtype=dtype, device="cpu").type().replace("Tensor", "Storage"): dtype
    for dtype in (*_FLOATS, *_INTEGERS)
}
"""Data types by the names of their storages, such as `torch.FloatStorage`."""
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")
"""Numpy's names of numeric types."""
_KNOWN = re.compile(
    r"""argparse\.Namespace
    | collections\.(OrderedDict|defaultdict|Counter)
    | builtins\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|object|set|str|tuple)
    | _codecs\.encode  # how protocol 2 writes bytes
    | _operator\.getitem  # how typing writes List[int]
    | pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path
    | numpy\.(dtype | _?core\.multiarray\.scalar)
    | torch\.(Size | device | (b?float|u?int|complex)\d+ | bool | (cuda\.)?\w+Storage)
    | torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)
    | typing\.[A-Z]\w*
    # Configurations and enumerations of any name; `examples` belongs to fairseq.
    | (omegaconf|fairseq|examples)(\.(?!__)\w+)+""",
    re.VERBOSE,
)
_PYTHON_2 = {"__builtin__": "builtins", "builtins.long": "builtins.int", "builtins.unicode": "builtins.str"}
"""Python 2 names, used by protocol 2."""
_DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, ArithmeticError, AttributeError, EOFError),
    *(LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
"""Exceptions that damaged data raise in the unpickler or in torch."""


class _RefusedError(ValueError):
    """A refused file; the message is completed by the path in front."""


def read_pickle(path: str | Path) -> Any:
    """Read a file of `torch.save` as plain data: tensors, dictionaries, lists, tuples, sets, strings, numbers, None.

    Tensors are on the CPU, without gradients. Namespaces, configurations and other known objects become dictionaries or
    lists, enumeration members their values; paths, devices, types and classes become strings. Interpolations (`${a.b}`)
    and missing values (`???`) of omegaconf are not resolved.

    Args:
        path: Checkpoint in the zip format or the one before torch 1.6, pickle protocols 2 to 5.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not such a checkpoint, is damaged, or refers to code. Nothing is ever executed.
    """
    path = Path(path)
    with open_bytes(path) as file:
        if not file.seek(0, io.SEEK_END):
            raise ValueError(f"{path} is empty; likely the download or copy failed: repeat it")
        # A private map, as with torch's mmap=True: tensors are pages of the file, read on access, copied on write. So a
        # large file is not copied, and changing a tensor does not change the file. While tensors are in use, the file
        # may be replaced, but not truncated or overwritten.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        if content[:4] == b"PK\x03\x04":
            return _read_zip(content)
        if content[:1] == b"\x80":
            return _read_legacy(content)
    except _RefusedError as error:
        raise ValueError(f"{path} {error}") from None
    except _DAMAGE as error:
        what = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is damaged ({what}); expected a checkpoint of torch.save. Likely an incomplete copy: compare its "
            "size with the original's, download or copy it again"
        ) from None
    raise ValueError(f"{path} {_name_format(content)}")


def _name_format(content: mmap.mmap) -> str:
    """Describe what a file that is not a checkpoint is, and what to do."""
    head = content[:512]
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer of a few lines, not the checkpoint itself; run `git lfs pull` where it came from"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page (HTML), likely the server's error or log-in page; download the checkpoint itself"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(content):
        return "is a safetensors file and not a pickle; rename it to .safetensors, or read it with safetensors"
    if head[257:262] == b"ustar":
        return "is a tar file, perhaps of torch before 0.1.10; unpack it, or save it again with torch.save"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "is a text file; expected a checkpoint written by torch.save. Likely the wrong file: check its content"
    return "does not start like a file of torch.save (zip or pickle); likely the wrong file or a failed download"


class _Record:
    """Placeholder for any class or function in a pickle: stores its arguments and state, computes nothing."""

    __slots__ = ("args", "entries", "items", "state")
    name = ""

    def __new__(cls, *args: object, **_: object) -> Any:
        record = object.__new__(cls)
        record.args, record.state, record.items, record.entries = args, None, [], {}
        return record

    args: tuple[Any, ...]
    state: Any
    items: list[Any]
    entries: dict[Any, Any]

    def __setstate__(self, state: object) -> None:
        """Store the state; without this method, the pickle could set arbitrary attributes."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.entries[key] = value

    def append(self, item: object) -> None:
        """Store as a list does."""
        self.items.append(item)

    def extend(self, items: list[Any]) -> None:
        """Store as a list does."""
        self.items.extend(items)


class _Unpickler(pickle.Unpickler):
    """Builds records; `storages` holds the type and length of every storage referred to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.storages: dict[str, tuple[torch.dtype, int]] = {}
        self._records: dict[str, type[_Record]] = {}

    def find_class(self, module: str, name: str) -> type[_Record]:
        """Return a record class for any name; nothing is imported."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        full = _PYTHON_2.get(full, full)
        # A dotted name is an attribute path: argparse has `_os`, which has `system`.
        if "." in name or not _KNOWN.fullmatch(full):
            raise _RefusedError(
                f"refers to {full}, which neither weights nor their configuration need; nothing was executed. Likely "
                "it is from an untrusted source, or contains code (a whole model instead of its state_dict). Get the "
                "file from its authors, or save only the state_dict where it was made"
            )
        # A class per name and file: pickle requires classes, and changes to one must not outlive the file.
        return self._records.setdefault(full, type("_Record", (_Record,), {"__slots__": (), "name": full}))

    def persistent_load(self, pid: Any) -> Any:
        """Return a record for a storage; store its type and length."""
        kind, storage, key, _, numel, *view = pid
        dtype = _STORAGES[storage.name.replace(".cuda", "")]
        if kind != "storage" or type(key) is not str or type(numel) is not int or numel < 0 or any(view):
            raise ValueError(f"a reference to a storage is {kind!r}, {key!r}, {numel!r}, {view!r}")
        if self.storages.setdefault(key, (dtype, numel)) != (dtype, numel):
            raise ValueError(f"storage {key!r} is described in two ways")
        return self.find_class("torch", "KeyStorage")(key)


def _unpickle(content: mmap.mmap, start: int) -> tuple[Any, dict[str, tuple[torch.dtype, int]], int]:
    """Return one pickle as a tree of records, the storages it refers to, and the position of its end."""
    content.seek(start)
    # Check the whole pickle first, as the unpickler allocates memory for any length it reads.
    for count, (instruction, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", content))):
        # These use a cache of the process and bypass `find_class`.
        if instruction.name.startswith("EXT"):
            raise _RefusedError(
                f"uses {instruction.name}, a number in place of a name, which no checkpoint needs; nothing was "
                "executed. Likely it is from an untrusted source: get the file from its authors"
            )
        # The memo is a list: a huge index would fill the memory.
        if instruction.name.endswith("PUT") and not 0 <= cast("int", argument) <= count:
            raise ValueError(f"object {argument} is numbered after {count} instructions")
    unpickler = _Unpickler(content[start : content.tell()])
    return unpickler.load(), unpickler.storages, content.tell()


def _read_zip(content: mmap.mmap) -> Any:
    """Read the format since torch 1.6: members `*/data.pkl` and `*/data/<key>`, which are never unpacked."""
    with zipfile.ZipFile(cast("IO[bytes]", content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in members):
        raise _RefusedError(
            "is a TorchScript archive, which contains code; foreign code is not executed. Get the original checkpoint, "
            "or save torch.jit.load(...).state_dict() where its source is trusted"
        )
    folders = [name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(folders) != 1:
        raise _RefusedError(
            f"is a zip file, but not of torch.save: expected one */data.pkl, got {len(folders)} among {len(members)} "
            "files. Likely an archive that contains the checkpoint: unpack it"
        )
    locations = {}
    for name in (name for name in members if name.startswith(folders[0])):
        begin, size = members[name].header_offset, members[name].file_size
        # The last four of a header's 30 bytes are the lengths of the name and padding that follow.
        mark, *lengths = struct.unpack_from("<4s22xHH", content, begin)
        if (
            mark != b"PK\x03\x04"
            or size != members[name].compress_size
            or begin + 30 + sum(lengths) + size > len(content)
        ):
            raise ValueError(f"{name} is not stored as the archive's directory states")
        locations[name.removeprefix(folders[0])] = begin + 30 + sum(lengths), size
    begin, size = locations.get("byteorder", (0, 0))
    if size and content[begin : begin + size] != sys.byteorder.encode():
        raise _RefusedError(f"was not written on a {sys.byteorder}-endian machine like this one; save it again on one")
    begin, size = locations["data.pkl"]
    tree, storages, end = _unpickle(content, begin)
    if end > begin + size:
        raise ValueError("data.pkl is longer than the archive's directory states")
    return _Plain(content, storages, {key: locations[f"data/{key}"] for key in storages})(tree)


def _read_legacy(content: mmap.mmap) -> Any:
    """Read the format before torch 1.6: five pickles, then the storages, each preceded by its length."""
    magic, _, position = _unpickle(content, 0)
    if magic != _MAGIC:
        raise _RefusedError("is a pickle, but not of torch.save; likely the wrong file of the model's folder")
    version, _, position = _unpickle(content, position)
    system, _, position = _unpickle(content, position)
    if version != _VERSION or system["little_endian"] != (sys.byteorder == "little"):
        raise _RefusedError(f"was written by another torch (format {version}) or machine ({system}); save it again")
    tree, storages, position = _unpickle(content, position)
    keys, _, position = _unpickle(content, position)
    locations = {}
    for key in keys:
        (numel,) = struct.unpack_from("<q", content, position)
        size = storages[key][0].itemsize * numel
        locations[key] = position + 8, size
        position += 8 + size
        if numel < 0 or position > len(content):
            raise ValueError(f"storage {key!r} should hold {numel} numbers, but the file ends earlier")
    return _Plain(content, storages, locations)(tree)


class _Plain:
    """Converts a tree of records to plain data; each object once, which preserves sharing and takes linear time."""

    def __init__(
        self, content: mmap.mmap, storages: dict[str, tuple[torch.dtype, int]], locations: dict[str, tuple[int, int]]
    ) -> None:
        self._storages = {key: _map_storage(content, *storages[key], *locations[key]) for key in storages}
        # Keeps the source object alive, as its id could otherwise be reused.
        self._done: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the plain form of any object in the tree."""
        if id(value) not in self._done:
            self._done[id(value)] = value, _Plain  # marks unfinished conversion
            self._done[id(value)] = value, self._convert(value)
        result = self._done[id(value)][1]
        if result is _Plain:
            raise ValueError("an object contains itself")
        return result

    def _convert(self, value: Any) -> Any:
        match value:
            case dict():
                return {self(key): self(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return type(value)(self(item) for item in value)
            case _Record():
                return self._make(value.name, value, value.args)
            case type():
                return cast("type[_Record]", value).name
        return value

    def _make(self, name: str, record: _Record, args: tuple[Any, ...]) -> Any:  # noqa: C901, PLR0911
        match name.split("."):
            case ["torch", "_utils", "_rebuild_tensor" | "_rebuild_tensor_v2"]:
                return _view(*map(self, args))
            case ["torch", "_utils", _]:  # a parameter
                return self(args[0])
            case ["torch", "KeyStorage"]:
                return self._storages[args[0]]
            case ["torch", "device"]:
                return ":".join(map(str, args))
            case ["torch", "Size"] | ["builtins", "tuple"]:
                return tuple(self(args[0]))
            case ["builtins", "set" | "frozenset"]:
                return (set if name.endswith(".set") else frozenset)(*map(self, args))
            case ["builtins", "bytes" | "bytearray"]:
                return b"".join(map(self, args))
            case ["builtins", "complex"]:
                return complex(*args)
            case ["_codecs", _]:
                return args[0].encode("latin1")
            case ["numpy", *_, "scalar"]:
                return _number(args[0], *map(self, args[1:]))
            case ["pathlib", *_]:
                return str(PurePosixPath(*args))
            case ["collections", _]:  # its state is torch's versions of modules, or empty
                pairs = args if name != "collections.defaultdict" else ()
                return dict(*map(self, pairs)) | self(record.entries)
        return self._object(record)

    def _object(self, record: _Record) -> Any:
        """Return the values of an object whose class is not available."""
        # With __slots__, the state is a pair of dictionaries.
        states = record.state if isinstance(record.state, tuple) else (record.state,)
        fields = {key: item for state in (*states, record.entries) for key, item in (state or {}).items()}
        if record.name.startswith("omegaconf."):
            # Other fields are bookkeeping; `_parent` causes cycles.
            fields = {key: item for key, item in fields.items() if key in ("_content", "_val")}
            return self(next(iter(fields.values()), None))
        if fields or not (record.items or record.args):
            return {self(key): self(item) for key, item in fields.items()}
        # An enumeration member is stored as its class and one value.
        return self(record.items or (record.args[0] if len(record.args) == 1 else record.args))


def _map_storage(content: mmap.mmap, dtype: torch.dtype, numel: int, start: int, size: int) -> Tensor:
    if size != numel * dtype.itemsize:
        raise ValueError(f"a storage should hold {numel} numbers in {numel * dtype.itemsize} bytes, but has {size}")
    if not numel:
        return torch.empty(0, dtype=dtype, device="cpu")
    if start % dtype.itemsize == 0:
        return torch.frombuffer(content, dtype=dtype, count=numel, offset=start)
    # Storages are not aligned in the older format, so copy.
    return torch.frombuffer(content, dtype=torch.uint8, count=size, offset=start).clone().view(dtype)


def _view(flat: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """Return a view of a storage; `rest` holds gradients and hooks, which are ignored, and lazy negation."""
    if any(rest[2:]):
        raise ValueError(f"a tensor is lazily evaluated: {rest[2:]}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    wrong = any(type(number) is not int or number < 0 for number in (offset, *size, *stride))
    if wrong or math.prod(size) > flat.numel() or (math.prod(size) and last >= flat.numel()):
        raise ValueError(f"a tensor of shape {size}, steps {stride}, from {offset} on is not in {flat.numel()} numbers")
    return cast("Tensor", flat.as_strided(size, stride, offset))


def _number(dtype: Any, raw: Any) -> Any:
    """Return a numpy scalar as a Python number."""
    if not _NUMBER.fullmatch(dtype.args[0]):
        raise ValueError(f"a numpy scalar is of type {dtype.args[0]!r}, not a number")
    order = dtype.state[1] if dtype.state else "="
    return np.frombuffer(raw, dtype=np.dtype(dtype.args[0]).newbyteorder(order), count=1)[0].item()
