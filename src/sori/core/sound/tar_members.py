"""Sound inside tar files (shards), on disk or behind a URL, addressed by the range of bytes: `FILE.tar#OFFSET+SIZE`.

One range is one read: no tar file is scanned, unpacked or copied. URLs are opened with fsspec (an extra), which reads
`s3://`, `gs://`, `https://` and others.
"""

import io
import re
import time
from os import PathLike, fspath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from sori.core.log import logger
from sori.core.sound.sound_error import SoundError
from sori.core.user_files import open_bytes

_ADDRESS = re.compile(r"(?P<tar>.+\.tar)#(?P<first>\d+)\+(?P<size>\d+)", re.DOTALL)
_MOST_BYTES = 1 << 31
_ATTEMPTS, _FIRST_WAIT_SECONDS = 4, 0.5


class Member(NamedTuple):
    """A range of bytes of a tar file."""

    tar: str
    """Path or URL."""
    first: int
    size: int


class Sound(NamedTuple):
    """A decoded member."""

    samples: npt.NDArray[np.float32]
    """As `frame channel`."""
    sample_rate: int
    format: str


def address(tar: str, first: int, size: int) -> str:
    """Return the path of a member, as utterances have it."""
    return f"{tar}#{first}+{size}"


def member_of(path: str | PathLike[str]) -> Member | None:
    """Return the member that a path means; None for a file of its own."""
    found = _ADDRESS.fullmatch(fspath(path))
    return None if found is None else Member(found["tar"], int(found["first"]), int(found["size"]))


def tar_of(path: str) -> str:
    """Return the tar file of a member's path, or the path of a file of its own."""
    member = member_of(path)
    return path if member is None else member.tar


def is_url(path: str) -> bool:
    """Return whether a path is a URL rather than one of this machine."""
    return "://" in path


def decoded(member: Member) -> Sound:
    """Read and decode a member.

    Raises:
        FileNotFoundError: there is no such tar file.
        OSError: it cannot be read, also after several attempts.
        SoundError: these bytes are no sound.
    """
    content = fetched(member)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            return Sound(samples, file.samplerate, f"{file.format}/{file.subtype}")
    except soundfile.LibsndfileError as error:
        raise SoundError("unreadable", f"bytes {member.first} to {member.first + member.size}: {error}") from None


def fetched(member: Member) -> bytes:
    """Read the bytes of a member; see `decoded`."""
    if not 0 < member.size <= _MOST_BYTES:
        raise SoundError("unreadable", f"a part of {member.size} bytes")
    content = _from_url(member) if is_url(member.tar) else _from_file(member)
    if len(content) != member.size:
        raise SoundError("truncated", f"expected {member.size} bytes from byte {member.first} on, got {len(content)}")
    return content


def _from_file(member: Member) -> bytes:
    with open_bytes(member.tar) as file:
        file.seek(member.first)
        return file.read(member.size)


def _from_url(member: Member) -> bytes:
    try:
        import fsspec
    except ImportError:
        raise ValueError(
            f"{member.tar}: reading shards from a URL needs fsspec, an extra: pip install 'sori[remote]'"
        ) from None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            system, path = fsspec.core.url_to_fs(member.tar)
            content: bytes = system.cat_file(path, start=member.first, end=member.first + member.size)
        except FileNotFoundError:
            raise FileNotFoundError(f"{member.tar}: no such shard") from None
        except ImportError as error:  # fsspec names the package of the protocol
            raise ValueError(f"{member.tar}: {error}; or download the shards") from None
        except Exception as error:  # each protocol has errors of its own
            if attempt == _ATTEMPTS:
                raise OSError(f"{member.tar}: cannot be read after {_ATTEMPTS} attempts: {error}") from error
            logger.info(f"{member.tar}: {type(error).__name__}: {error}; trying again")
            time.sleep(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
        else:
            return content
    raise AssertionError
