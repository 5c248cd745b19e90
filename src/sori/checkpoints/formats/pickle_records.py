"""Unpickle into a tree of inert records, within limits; the first step of `pickles.read_pickle`."""

import io
import pickle
import pickletools
import re
from typing import IO, Any, ClassVar, cast

import torch

from sori.core.foreign_values import shown

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_STORAGES = {
    torch.empty(0, dtype=dtype, device="cpu").type().replace("Tensor", "Storage"): dtype
    for dtype in (*FLOATS, *INTEGERS)
}
"""Data types by the names of their storages, such as `torch.FloatStorage`."""
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
MAX_PROGRAM_BYTES, MAX_INSTRUCTIONS, MAX_NAMES = 64 << 20, 2_000_000, 1000
"""Limits of one pickle. Published checkpoints with the state of the optimiser have about 1 MB and 100,000 instructions,
and refer to about 30 names."""
_MAX_KEY = 8
"""Largest tuple as a key."""


class RefusedError(ValueError):
    """A refused file; the message is completed by the path in front."""


class Record:
    """Placeholder for any class or function in a pickle: stores its arguments and state, computes nothing."""

    __slots__ = ("args", "entries", "items", "state")
    name = ""

    def __new__(cls, *args: object, **_: object) -> Any:
        """Store the arguments."""
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


def require_keys(keys: list[Any]) -> None:
    """Refuse keys and members of sets that could take long to hash, or make hashing slow by equal hashes.

    Raises:
        ValueError: One is neither a name, an integer of 64 bits, a type, nor a small tuple of these.
    """
    for key in keys:
        parts = key if type(key) is tuple and len(key) <= _MAX_KEY else (key,)
        if not all(map(_is_simple, parts)):
            raise ValueError(f"expected names and numbers as keys, got {shown(key)}")


def _is_simple(key: object) -> bool:
    if isinstance(key, Record) or (isinstance(key, type) and issubclass(key, Record)):
        return True  # hashed by identity
    if type(key) is int:
        return -(2**63) <= key < 2**63
    return key is None or type(key) in (str, bytes, bool)


_InPython: Any = pickle._Unpickler  # noqa: SLF001 - the one in C has no place to check a key before it is hashed


class _Unpickler(_InPython):  # type: ignore[misc]
    """Builds records; `storages` holds the type and length of every storage referred to."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self.storages: dict[str, tuple[torch.dtype, int]] = {}
        self._records: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> type[Record]:
        """Return a record class for any name; nothing is imported."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        full = _PYTHON_2.get(full, full)
        # A dotted name is an attribute path: argparse has `_os`, which has `system`.
        if "." in name or not _KNOWN.fullmatch(full):
            raise RefusedError(
                f"refers to {shown(full)[1:-1]}, which neither weights nor their configuration need; nothing was "
                "executed. Likely it is from an untrusted source, or contains code (a whole model instead of its "
                "state_dict). Get the file from its authors, or save only the state_dict where it was made"
            )
        if full not in self._records and len(self._records) == MAX_NAMES:
            raise ValueError(f"it refers to over {MAX_NAMES} classes")
        # A class per name and file: pickle requires classes, and changes to one must not outlive the file.
        return self._records.setdefault(full, type("Record", (Record,), {"__slots__": (), "name": full}))

    def persistent_load(self, pid: Any) -> Any:
        """Return a record for a storage; store its type and length."""
        kind, storage, key, _, numel, *view = pid
        dtype = _STORAGES[storage.name.replace(".cuda", "")]
        if kind != "storage" or type(key) is not str or type(numel) is not int or numel < 0 or any(view):
            raise ValueError(f"a reference to a storage is {shown(pid)}")
        if self.storages.setdefault(key, (dtype, numel)) != (dtype, numel):
            raise ValueError(f"storage {shown(key)} is described in two ways")
        return self.find_class("torch", "KeyStorage")(key)

    def _set_item(self) -> None:
        require_keys([self.stack[-2]])
        super().load_setitem()

    def _set_items(self) -> None:
        require_keys(self.stack[::2])
        super().load_setitems()

    def _make_dict(self) -> None:
        require_keys(self.stack[::2])
        super().load_dict()

    def _add_items(self) -> None:
        require_keys(self.stack)
        super().load_additems()

    def _make_frozenset(self) -> None:
        require_keys(self.stack)
        super().load_frozenset()

    dispatch: ClassVar[dict[int, Any]] = {
        **_InPython.dispatch,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _make_dict,
        pickle.ADDITEMS[0]: _add_items,
        pickle.FROZENSET[0]: _make_frozenset,
    }


def unpickle(content: Any, start: int) -> tuple[Any, dict[str, tuple[torch.dtype, int]], int]:
    """Return one pickle as a tree of records, the storages it refers to, and the position of its end.

    Args:
        content: The file, as a map.
        start: Position at which the pickle starts.

    Raises:
        RefusedError: It refers to code.
        ValueError: It is damaged or exceeds a limit, or another exception that damaged data raise.
    """
    content.seek(start)
    # Check the whole pickle first, as the unpickler allocates memory for any length it reads.
    for count, (instruction, argument, position) in enumerate(pickletools.genops(cast("IO[bytes]", content))):
        if count >= MAX_INSTRUCTIONS or cast("int", position) - start > MAX_PROGRAM_BYTES:
            raise ValueError(
                f"expected a pickle of at most {MAX_INSTRUCTIONS:,} instructions and {MAX_PROGRAM_BYTES >> 20} MiB "
                "besides the tensors, got a larger one"
            )
        # These use a cache of the process and bypass `find_class`.
        if instruction.name.startswith("EXT"):
            raise RefusedError(
                f"uses {instruction.name}, a number in place of a name, which no checkpoint needs; nothing was "
                "executed. Likely it is from an untrusted source: get the file from its authors"
            )
        if instruction.name == "FRAME" and cast("int", argument) > len(content) - cast("int", position):
            raise ValueError(f"a part of {argument} bytes is longer than the file")
        # The memo of the unpickler in C is a list: a huge index would fill the memory.
        if instruction.name.endswith("PUT") and not 0 <= cast("int", argument) <= count:
            raise ValueError(f"object {shown(argument)} is numbered after {count} instructions")
    if content.tell() - start > MAX_PROGRAM_BYTES:
        raise ValueError(f"expected a pickle of at most {MAX_PROGRAM_BYTES >> 20} MiB besides the tensors")
    unpickler = _Unpickler(content[start : content.tell()])
    return unpickler.load(), unpickler.storages, content.tell()
