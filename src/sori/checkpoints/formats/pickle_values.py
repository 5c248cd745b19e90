"""Convert a tree of inert records to plain data, within limits; the second step of `pickles.read_pickle`."""

import math
import re
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np

from sori.checkpoints.formats.pickle_records import Record, require_keys
from sori.core.foreign_values import shown
from sori.core.shapes import Tensor

MAX_DEPTH = 64
"""Levels of objects in objects. Published checkpoints have about 15."""
MAX_UNFOLDED_BYTES, _VALUE_BYTES = 128 << 20, 64
"""Largest size of all values if objects that are referred to repeatedly were copied, as programs do that walk through
the data; and the size of one value, to which the length of its text is added. Published checkpoints have about 5 MB."""
_MAX_VIEWS, _SMALL = 8, 1 << 20
"""Largest size of all tensors together, as a multiple of the file's (and of a small file's)."""
_MAX_AXES = 64
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")
"""Numpy's names of numeric types."""


class Plain:
    """Converts a tree of records to plain data; each object once, which preserves sharing and takes linear time.

    Args:
        storages: Storages of the tensors, by name.
        num_bytes: Size of the file.
    """

    def __init__(self, storages: dict[str, Tensor], num_bytes: int) -> None:
        self._storages = storages
        self._left = _MAX_VIEWS * max(num_bytes, _SMALL)
        self._unfolded = self._depth = 0
        # Keeps the source object alive, as its id could otherwise be reused; and its unfolded size.
        self._done: dict[int, tuple[Any, Any, int]] = {}

    def __call__(self, value: Any) -> Any:
        """Return the plain form of any object in the tree.

        Raises:
            ValueError: The tree contains itself or exceeds a limit, or another exception that damaged data raise.
        """
        if id(value) not in self._done:
            if self._depth == MAX_DEPTH:
                raise ValueError(f"expected at most {MAX_DEPTH} levels of objects, got more")
            before = self._unfolded
            self._done[id(value)] = value, Plain, 0  # marks unfinished conversion
            self._depth += 1
            result = self._convert(value)
            self._depth -= 1
            self._unfolded += _VALUE_BYTES + (len(result) if isinstance(result, str | bytes) else 0)
            self._done[id(value)] = value, result, self._unfolded - before
        else:
            _, result, size = self._done[id(value)]
            self._unfolded += size
        if result is Plain:
            raise ValueError("an object contains itself")
        if self._unfolded > MAX_UNFOLDED_BYTES:
            raise ValueError(
                f"expected at most {MAX_UNFOLDED_BYTES >> 20} MiB of settings and names, got more, counting an object "
                "each time it is referred to"
            )
        return result

    def _convert(self, value: Any) -> Any:
        match value:
            case dict():
                return self._dict(value)
            case set() | frozenset():
                return type(value)(_hashable([self(item) for item in value]))
            case list() | tuple():
                return type(value)(self(item) for item in value)
            case Record():
                return self._make(value.name, value, value.args)
            case type():
                return cast("type[Record]", value).name
        return value

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        keys = _hashable([self(key) for key in value])
        return dict(zip(keys, map(self, value.values()), strict=True))

    def _make(self, name: str, record: Record, args: tuple[Any, ...]) -> Any:  # noqa: C901, PLR0911
        match name.split("."):
            case ["torch", "_utils", "_rebuild_tensor" | "_rebuild_tensor_v2"]:
                return self._tensor(args)
            case ["torch", "_utils", _]:  # a parameter
                return self(args[0])
            case ["torch", "KeyStorage"]:
                return self._storages["".join(_names(args))]
            case ["torch", "device"]:
                return ":".join(_names(tuple(str(part) if type(part) is int else part for part in args)))
            case ["torch", "Size"] | ["builtins", "tuple"]:
                return tuple(self(args[0]))
            case ["builtins", "set" | "frozenset"]:
                members = _hashable([item for arg in args for item in self(arg)])
                return set(members) if name.endswith(".set") else frozenset(members)
            case ["builtins", "bytes" | "bytearray"]:
                return _bytes(*map(self, args))
            case ["builtins", "complex"]:
                return complex(*args)
            case ["_codecs", _]:
                return args[0].encode("latin1")
            case ["numpy", *_, "scalar"]:
                return _number(args[0], *map(self, args[1:]))
            case ["pathlib", *_]:
                return str(PurePosixPath(*_names(args)))
            case ["collections", _]:  # its state is torch's versions of modules, or empty
                pairs = args if name != "collections.defaultdict" else ()
                return self._mapping(*pairs) | self(record.entries)
        return self._object(record)

    def _mapping(self, pairs: Any = ()) -> dict[Any, Any]:
        """Return the argument of `OrderedDict` as a dictionary: pairs, or a dictionary."""
        plain = self(pairs)
        if isinstance(plain, dict):
            return plain
        _hashable([key for key, _ in plain])
        return dict(plain)

    def _tensor(self, args: tuple[Any, ...]) -> Tensor:
        tensor = _view(*map(self, args))
        self._left -= tensor.numel() * tensor.element_size()
        if self._left < 0:
            raise ValueError(f"its tensors together are over {_MAX_VIEWS} times as large as the file")
        return tensor

    def _object(self, record: Record) -> Any:
        """Return the values of an object whose class is not available."""
        # With __slots__, the state is a pair of dictionaries.
        states = record.state if isinstance(record.state, tuple) else (record.state,)
        fields = {key: item for state in (*states, record.entries) for key, item in (state or {}).items()}
        if record.name.startswith("omegaconf."):
            # Other fields are bookkeeping; `_parent` causes cycles.
            fields = {key: item for key, item in fields.items() if key in ("_content", "_val")}
            return self(next(iter(fields.values()), None))
        if fields or not (record.items or record.args):
            return self._dict(fields)
        # An enumeration member is stored as its class and one value.
        return self(record.items or (record.args[0] if len(record.args) == 1 else record.args))


def _hashable(values: list[Any]) -> list[Any]:
    require_keys(values)
    return values


def _bytes(content: Any = b"") -> bytes:
    return b"".join((content,))  # refuses a number


def _names(parts: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the parts of a name or path."""
    if len(parts) > 100 or not all(type(part) is str for part in parts) or sum(map(len, parts)) > 4096:
        raise ValueError(f"expected a name or path, got {shown(parts)}")
    return parts


def _view(flat: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """Return a view of a storage; `rest` holds gradients and hooks, which are ignored, and lazy negation."""
    if any(rest[2:]):
        raise ValueError(f"a tensor is lazily evaluated: {shown(rest[2:])}")
    numbers = (offset, *size[:_MAX_AXES], *stride[:_MAX_AXES])
    wrong = any(type(number) is not int or not 0 <= number < 2**63 for number in numbers)
    if wrong or len(size) > _MAX_AXES or len(size) != len(stride):
        raise ValueError(f"a tensor has the shape {shown(size)}, steps {shown(stride)}, and starts at {shown(offset)}")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) > flat.numel() or (math.prod(size) and last >= flat.numel()):
        raise ValueError(f"a tensor of shape {size}, steps {stride}, from {offset} on is not in {flat.numel()} numbers")
    return cast("Tensor", flat.as_strided(size, stride, offset))


def _number(dtype: Any, raw: Any) -> Any:
    """Return a numpy scalar as a Python number."""
    if not _NUMBER.fullmatch(dtype.args[0]):
        raise ValueError(f"a numpy scalar is of type {shown(dtype.args[0])}, not a number")
    order = dtype.state[1] if dtype.state else "="
    return np.frombuffer(raw, dtype=np.dtype(dtype.args[0]).newbyteorder(order), count=1)[0].item()
