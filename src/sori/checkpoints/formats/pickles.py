"""Read checkpoints written by `torch.save` (fairseq's `*.pt`, `pytorch_model.bin`) without executing code in them.

A pickle is a program that may call any function by name. Here it cannot call anything. Reading takes two steps:

1. *Unpickling* builds a tree of inert records (`pickle_records.py`). Every class or function named in the file becomes
   a new subclass of `Record`, which only stores arguments, state and items; no name is ever imported. Names outside the
   lists there are refused, so that a malicious file raises an error.
2. `pickle_values.Plain` converts the finished tree to tensors, dictionaries, lists and strings.

Both have limits far above those of published checkpoints, so that a small file can neither take all memory nor run
for hours: of instructions, names, depth, keys, and the size of the values if shared objects were copied.

`torch.load(weights_only=True)` is not used because (torch 2.13) it reads only protocol 2, cannot memory-map the older
format and allocates whatever size the file states, lets a storage extend past its record with `mmap=True`, and requires
every replacement class to be registered by its exact name for the whole process.
"""

import io
import mmap
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import torch

from sori.checkpoints.formats.pickle_records import RefusedError, unpickle
from sori.checkpoints.formats.pickle_values import Plain
from sori.core.foreign_values import shortened, shown
from sori.core.shapes import Tensor
from sori.core.user_files import open_bytes

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""Header of the format before torch 1.6; each value is a separate pickle."""
_DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, ArithmeticError, AttributeError, EOFError),
    *(LookupError, MemoryError, RuntimeError, TypeError, ValueError),
)
"""Exceptions that damaged data raise in the unpickler or in torch."""


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
    except RefusedError as error:
        raise ValueError(f"{path} {error}") from None
    except _DAMAGE as error:
        what = shortened(error if type(error) is ValueError else f"{type(error).__name__}: {error}")
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


def _read_zip(content: mmap.mmap) -> Any:
    """Read the format since torch 1.6: members `*/data.pkl` and `*/data/<key>`, which are never unpacked."""
    with zipfile.ZipFile(cast("IO[bytes]", content)) as archive:
        members = {member.filename: member for member in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in members):
        raise RefusedError(
            "is a TorchScript archive, which contains code; foreign code is not executed. Get the original checkpoint, "
            "or save torch.jit.load(...).state_dict() where its source is trusted"
        )
    folders = [name.removesuffix("data.pkl") for name in members if re.fullmatch(r"[^/]*/data\.pkl", name)]
    if len(folders) != 1:
        raise RefusedError(
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
        raise RefusedError(f"was not written on a {sys.byteorder}-endian machine like this one; save it again on one")
    begin, size = locations["data.pkl"]
    tree, storages, end = unpickle(content, begin)
    if end > begin + size:
        raise ValueError("data.pkl is longer than the archive's directory states")
    return _plain(tree, content, storages, {key: locations[f"data/{key}"] for key in storages})


def _read_legacy(content: mmap.mmap) -> Any:
    """Read the format before torch 1.6: five pickles, then the storages, each preceded by its length."""
    magic, _, position = unpickle(content, 0)
    if magic != _MAGIC:
        raise RefusedError("is a pickle, but not of torch.save; likely the wrong file of the model's folder")
    version, _, position = unpickle(content, position)
    system, _, position = unpickle(content, position)
    if version != _VERSION or system["little_endian"] != (sys.byteorder == "little"):
        raise RefusedError(
            f"was written by another torch (format {shown(version)}) or machine ({shown(system)}); save it again"
        )
    tree, storages, position = unpickle(content, position)
    keys, _, position = unpickle(content, position)
    locations = {}
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise ValueError(f"expected a list of storages, got {shown(keys)}")
    for key in keys:
        (numel,) = struct.unpack_from("<q", content, position)
        size = storages[key][0].itemsize * numel
        locations[key] = position + 8, size
        position += 8 + size
        if numel < 0 or position > len(content):
            raise ValueError(f"storage {shown(key)} should hold {numel} numbers, but the file ends earlier")
    return _plain(tree, content, storages, locations)


def _plain(
    tree: Any,
    content: mmap.mmap,
    storages: dict[str, tuple[torch.dtype, int]],
    locations: dict[str, tuple[int, int]],
) -> Any:
    if sum(locations[key][1] for key in storages) > len(content):
        raise ValueError("its storages overlap")
    mapped = {key: _map_storage(content, *storages[key], *locations[key]) for key in storages}
    return Plain(mapped, len(content))(tree)


def _map_storage(content: mmap.mmap, dtype: torch.dtype, numel: int, start: int, size: int) -> Tensor:
    if size != numel * dtype.itemsize:
        raise ValueError(f"a storage should hold {numel} numbers in {numel * dtype.itemsize} bytes, but has {size}")
    if not numel:
        return torch.empty(0, dtype=dtype, device="cpu")
    if start % dtype.itemsize == 0:
        return torch.frombuffer(content, dtype=dtype, count=numel, offset=start)
    # Storages are not aligned in the older format, so copy.
    return torch.frombuffer(content, dtype=torch.uint8, count=size, offset=start).clone().view(dtype)
