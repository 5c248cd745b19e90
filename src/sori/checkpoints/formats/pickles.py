"""Checkpoints that `torch.save` wrote elsewhere (fairseq's `*.pt`, `pytorch_model.bin`), read without running them.

A pickle is a small program that may call any function by name. Here it cannot call anything: reading takes two steps.

1. *Unpickling* builds a tree of inert records. Whatever the file names, class or function, becomes a fresh subclass of
   `_Record`, which keeps what it is given (arguments, state, items) and does nothing with it; no name is ever imported.
   Names outside the lists below are refused all the same: a hostile file ends in a message.
2. `_Plain` walks over the finished tree and makes tensors, dictionaries, lists and strings of what it knows.

`torch.load(weights_only=True)` would be the obvious choice. Measured with torch 2.13, it reads protocol 2 only, cannot
map the older format into memory and allocates there what the file claims, lets a storage run past its record with
`mmap=True`, and needs every stand-in registered by its exact name, for the whole process.
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
"""What the format before torch 1.6 begins with, each pickled on its own."""
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_STORAGES = {
    torch.empty(0, dtype=dtype, device="cpu").type().replace("Tensor", "Storage"): dtype
    for dtype in (*_FLOATS, *_INTEGERS)
}
"""Of `torch.FloatStorage` and so on."""
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")
"""Numpy's names of the types whose values are plain numbers."""
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
    # Configurations and enumerations, whatever their names; `examples` is fairseq's too.
    | (omegaconf|fairseq|examples)(\.(?!__)\w+)+""",
    re.VERBOSE,
)
_PYTHON_2 = {"__builtin__": "builtins", "builtins.long": "builtins.int", "builtins.unicode": "builtins.str"}
"""Protocol 2 keeps the old names."""
_DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, ArithmeticError, AttributeError, EOFError),
    *(LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
"""As what nonsense shows, in the unpickler or in torch."""


class _RefusedError(ValueError):
    """Its message lacks only the path in front."""


def read_pickle(path: str | Path) -> Any:
    """What `torch.save` wrote, as plain data: tensors, dictionaries, lists, tuples, sets, strings, numbers, None.

    Tensors lie on the CPU, without gradients. Namespaces, configurations and other known objects become dictionaries or
    lists, members of enumerations their values; paths, devices, types and classes become strings. Interpolations
    (`${a.b}`) and missing values (`???`) of omegaconf stay as they stand.

    Args:
        path: a checkpoint in the zip format or the one before torch 1.6, pickle protocols 2 to 5.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, is damaged, or asks for what no data needs. Nothing is ever run.
    """
    path = Path(path)
    with open_bytes(path) as file:
        if not file.seek(0, io.SEEK_END):
            raise ValueError(f"{path} is empty; the download or copy failed, repeat it")
        # A private map, as torch's own mmap=True: tensors are the file's pages, read when touched, copied when written.
        # So 380 MB cost no second copy, and changing a tensor leaves the file as it is. While tensors are in use, the
        # file may be replaced, but not cut or overwritten.
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
            f"{path} is damaged ({what}); expected a checkpoint of torch.save. Likely cut short on the way: compare "
            "its size with the original's, download or copy it again"
        ) from None
    raise ValueError(f"{path} {_name_format(content)}")


def _name_format(content: mmap.mmap) -> str:
    """What a file is that can be no checkpoint, and what to do."""
    head = content[:512]
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer of a few lines, not the checkpoint itself; run `git lfs pull` where it came from"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page (HTML), likely the server's error or log-in page; download the checkpoint itself"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < len(content):
        return "is a safetensors file and not a pickle; let its name end in .safetensors, or read it with safetensors"
    if head[257:262] == b"ustar":
        return "is a tar file, perhaps of torch before 0.1.10; unpack it, or save it again with torch.save"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return "is a text file; expected a checkpoint that torch.save wrote. Likely the wrong file: look into it"
    return "does not begin like a file of torch.save (zip or pickle); likely the wrong file or a failed download"


class _Record:
    """Stands for whatever a pickle names: keeps what it is given, computes nothing."""

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
        """Without it, the pickle would set attributes of its choosing."""
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        self.entries[key] = value

    def append(self, item: object) -> None:
        """As a list."""
        self.items.append(item)

    def extend(self, items: list[Any]) -> None:
        """As a list."""
        self.items.extend(items)


class _Unpickler(pickle.Unpickler):
    """Builds records; `claims` are the type and length of every storage that was mentioned."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.claims: dict[str, tuple[torch.dtype, int]] = {}
        self._records: dict[str, type[_Record]] = {}

    def find_class(self, module: str, name: str) -> type[_Record]:
        """A record in place of whatever is named; nothing is imported."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        full = _PYTHON_2.get(full, full)
        # A dotted name is a path through attributes: argparse has an `_os`, and that a `system`.
        if "." in name or not _KNOWN.fullmatch(full):
            raise _RefusedError(
                f"wants to run {full}, which neither weights nor their configuration need; nothing was executed. "
                "Likely from an untrusted source, or code is in it (a whole model instead of its state_dict). Get the "
                "file from its makers, or save the state_dict alone where it was made"
            )
        # A class for each name and file: instructions insist on classes, and nothing done to one outlives the file.
        return self._records.setdefault(full, type("_Record", (_Record,), {"__slots__": (), "name": full}))

    def persistent_load(self, pid: Any) -> Any:
        """A record for a storage; its type and length are noted."""
        kind, storage, key, _, numel, *view = pid
        dtype = _STORAGES[storage.name.replace(".cuda", "")]
        if kind != "storage" or type(key) is not str or type(numel) is not int or numel < 0 or any(view):
            raise ValueError(f"a reference to a storage reads {kind!r}, {key!r}, {numel!r}, {view!r}")
        if self.claims.setdefault(key, (dtype, numel)) != (dtype, numel):
            raise ValueError(f"storage {key!r} is described in two ways")
        return self.find_class("torch", "KeyStorage")(key)


def _unpickle(content: mmap.mmap, start: int) -> tuple[Any, dict[str, tuple[torch.dtype, int]], int]:
    """One pickle as a tree of records, the storages it mentions, and where it ends."""
    content.seek(start)
    # Is the pickle whole and in order? The unpickler would set memory aside for whatever length it reads.
    for count, (instruction, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", content))):
        # These take from a cache of this process, and put into it, past `find_class`.
        if instruction.name.startswith("EXT"):
            raise _RefusedError(
                f"uses {instruction.name}, a number in place of a name, which no checkpoint needs; nothing was "
                "executed. Likely from an untrusted source: get the file from its makers"
            )
        # The memo is a list: one huge number in it would fill the memory.
        if instruction.name.endswith("PUT") and not 0 <= cast("int", argument) <= count:
            raise ValueError(f"object {argument} is numbered after {count} instructions")
    unpickler = _Unpickler(content[start : content.tell()])
    return unpickler.load(), unpickler.claims, content.tell()


def _read_zip(content: mmap.mmap) -> Any:
    """The format since torch 1.6: members `*/data.pkl` and `*/data/<key>`; they are looked at, never unpacked."""
    with zipfile.ZipFile(cast("IO[bytes]", content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in members):
        raise _RefusedError(
            "is a TorchScript archive, a program with its weights; foreign programs are not run. Get the original "
            "checkpoint, or save torch.jit.load(...).state_dict() where its source is trusted"
        )
    folders = [name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(folders) != 1:
        raise _RefusedError(
            f"is a zip file, but not of torch.save: expected one */data.pkl, got {len(folders)} among {len(members)} "
            "files. Likely an archive around the checkpoint: unpack it"
        )
    places = {}
    for name in (name for name in members if name.startswith(folders[0])):
        begin, size = members[name].header_offset, members[name].file_size
        # Of a header's 30 bytes, the last four are the lengths of the name and the padding that follow.
        mark, *lengths = struct.unpack_from("<4s22xHH", content, begin)
        if (
            mark != b"PK\x03\x04"
            or size != members[name].compress_size
            or begin + 30 + sum(lengths) + size > len(content)
        ):
            raise ValueError(f"{name} is not stored where and as the archive says")
        places[name.removeprefix(folders[0])] = begin + 30 + sum(lengths), size
    begin, size = places.get("byteorder", (0, 0))
    if size and content[begin : begin + size] != sys.byteorder.encode():
        raise _RefusedError(f"was not written on a {sys.byteorder}-endian machine as this one; save it again on one")
    begin, size = places["data.pkl"]
    tree, claims, end = _unpickle(content, begin)
    if end > begin + size:
        raise ValueError("data.pkl is longer than the archive says")
    return _Plain(content, claims, {key: places[f"data/{key}"] for key in claims})(tree)


def _read_legacy(content: mmap.mmap) -> Any:
    """The format before torch 1.6: five pickles, then the storages, each after its length."""
    magic, _, position = _unpickle(content, 0)
    if magic != _MAGIC:
        raise _RefusedError("is a pickle, but not of torch.save; likely the wrong file of the model's folder")
    version, _, position = _unpickle(content, position)
    system, _, position = _unpickle(content, position)
    if version != _VERSION or system["little_endian"] != (sys.byteorder == "little"):
        raise _RefusedError(f"was written by another torch (format {version}) or machine ({system}); save it again")
    tree, claims, position = _unpickle(content, position)
    keys, _, position = _unpickle(content, position)
    places = {}
    for key in keys:
        (numel,) = struct.unpack_from("<q", content, position)
        size = claims[key][0].itemsize * numel
        places[key] = position + 8, size
        position += 8 + size
        if numel < 0 or position > len(content):
            raise ValueError(f"storage {key!r} should hold {numel} numbers, but the file ends before")
    return _Plain(content, claims, places)(tree)


class _Plain:
    """Makes plain data of a tree of records; each object once, so what is shared stays shared and work stays linear."""

    def __init__(
        self, content: mmap.mmap, claims: dict[str, tuple[torch.dtype, int]], places: dict[str, tuple[int, int]]
    ) -> None:
        self._storages = {key: _map_storage(content, *claims[key], *places[key]) for key in claims}
        # With its source, which must live as long: its id could be given to another object.
        self._done: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        """The plain form of anything in the tree."""
        if id(value) not in self._done:
            self._done[id(value)] = value, _Plain  # a mark: not finished
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
            case ["collections", _]:  # its state are torch's versions of modules, or nothing
                pairs = args if name != "collections.defaultdict" else ()
                return dict(*map(self, pairs)) | self(record.entries)
        return self._object(record)

    def _object(self, record: _Record) -> Any:
        """The values of an object whose class is not here."""
        # With __slots__, the state is a pair of dictionaries.
        states = record.state if isinstance(record.state, tuple) else (record.state,)
        fields = {key: item for state in (*states, record.entries) for key, item in (state or {}).items()}
        if record.name.startswith("omegaconf."):
            # The rest, `_parent` above all, is bookkeeping that leads in circles.
            fields = {key: item for key, item in fields.items() if key in ("_content", "_val")}
            return self(next(iter(fields.values()), None))
        if fields or not (record.items or record.args):
            return {self(key): self(item) for key, item in fields.items()}
        # A member of an enumeration is written as its class and one value.
        return self(record.items or (record.args[0] if len(record.args) == 1 else record.args))


def _map_storage(content: mmap.mmap, dtype: torch.dtype, numel: int, start: int, size: int) -> Tensor:
    if size != numel * dtype.itemsize:
        raise ValueError(f"a storage should hold {numel} numbers in {numel * dtype.itemsize} bytes, but has {size}")
    if not numel:
        return torch.empty(0, dtype=dtype, device="cpu")
    if start % dtype.itemsize == 0:
        return torch.frombuffer(content, dtype=dtype, count=numel, offset=start)
    # The older format puts storages anywhere; processors want numbers at multiples of their size.
    return torch.frombuffer(content, dtype=torch.uint8, count=size, offset=start).clone().view(dtype)


def _view(flat: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """A tensor in a storage; `rest` are gradients and hooks, which are left out, and lazy negation."""
    if any(rest[2:]):
        raise ValueError(f"a tensor is still to be computed: {rest[2:]}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    wrong = any(type(number) is not int or number < 0 for number in (offset, *size, *stride))
    if wrong or math.prod(size) > flat.numel() or (math.prod(size) and last >= flat.numel()):
        raise ValueError(f"a tensor of shape {size}, steps {stride}, from {offset} on is not in {flat.numel()} numbers")
    return cast("Tensor", flat.as_strided(size, stride, offset))


def _number(dtype: Any, raw: Any) -> Any:
    """The Python number in a scalar of numpy."""
    if not _NUMBER.fullmatch(dtype.args[0]):
        raise ValueError(f"a numpy scalar is of type {dtype.args[0]!r}, not a number")
    order = dtype.state[1] if dtype.state else "="
    return np.frombuffer(raw, dtype=np.dtype(dtype.args[0]).newbyteorder(order), count=1)[0].item()
