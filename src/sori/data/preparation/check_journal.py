"""A file of everything that was found out about recordings, so that an interrupted `sori prepare` continues.

Each record is a line of JSON about the file, followed by one line for each finding. Records are appended as soon as
they are known, with one write each, so that a kill at any moment leaves whole records and at most one incomplete one,
which the next run removes. The findings are read again from here when the lists are written, so that they need no
memory.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sori.core.json_values import parsed_json
from sori.core.log import logger
from sori.core.user_files import open_bytes
from sori.data.preparation.checks import FINDINGS_VERSION, Finding, as_json, from_json
from sori.data.preparation.workers import Checked, Requests, Stamp, file_stamp

NAME = "prepare.journal"
"""Name of the file in the prepared folder."""
_KIND = b'{"sori": "recordings checked so far", "version": '
_HEAD = _KIND + f"{FINDINGS_VERSION}}}\n".encode()
_CHECKED_AGAIN = ("missing", "unreadable", "decoder crashed", "decoder stalled")
"""Reasons that may not be those of the file: a disk that was away, a process that was ended together with this one."""


class Recorded(NamedTuple):
    """A record of the journal."""

    number: int
    """That of the request."""
    findings: list[Finding]
    places: list[int]
    """For each finding, where `Journal.read` finds it."""


class Journal:
    """The journal of one prepared folder, open for appending and reading; only one process may have it open.

    Args:
        path: the file; it is created, or continued.

    Raises:
        ValueError: there is a file of this name that is not a journal; it is left unchanged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._reader = open_bytes(path)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        head = self._reader.readline(len(_HEAD) + 100)
        if head == _HEAD:
            self.size = os.fstat(self._handle).st_size
            return
        if not head.startswith(_KIND) and not _HEAD.startswith(head):
            raise ValueError(
                f"{self.path} is not a journal of `sori prepare`; it is left unchanged: choose another output folder"
            )
        if head:
            logger.info(f"{self.path} is of another version of sori: all recordings are checked again")
        os.ftruncate(self._handle, 0)
        self.size = 0
        self._append(_HEAD)

    def recorded(self, requests: Requests) -> Iterator[Recorded]:
        """Yield what earlier runs found out about requests, where it is still true.

        A file whose size or time has changed is not among them, nor one that could not be read or decoded.
        """
        places = self._places()
        if not places:
            return
        for index in range(len(requests)):
            request = requests[index]
            if (place := places.get(_key(request))) is None:
                continue
            head, findings, lines = self._record(place)
            if head["stamp"] == list(file_stamp(request["path"]) or ()):
                yield Recorded(index, findings, lines)

    def add(self, index: int, request: dict[str, Any], checked: Checked) -> Recorded:
        """Append what was found out about a request.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        is_final = not any(finding.reason in _CHECKED_AGAIN for finding in checked.findings)
        stamp: Stamp | tuple[()] = checked.stamp if checked.stamp is not None and is_final else ()
        head = {"key": _key(request).hex(), "stamp": stamp, "count": len(checked.findings)}
        lines = [json.dumps(head).encode() + b"\n"]
        places, position = [], self.size + len(lines[0])
        for finding in checked.findings:
            lines.append(json.dumps(as_json(finding)).encode() + b"\n")
            places.append(position)
            position += len(lines[-1])
        self._append(b"".join(lines))
        return Recorded(index, checked.findings, places)

    def read(self, place: int) -> Finding:
        """Return the finding at a place."""
        self._reader.seek(place)
        return from_json(parsed_json(self._reader.readline()))

    def located(self, place: int, count: int) -> Iterator[tuple[Finding, int]]:
        """Yield findings that follow each other, the first of them at a place, and the place of each."""
        for _ in range(count):
            self._reader.seek(place)
            line = self._reader.readline()
            yield from_json(parsed_json(line)), place
            place += len(line)

    def remove(self) -> None:
        """Remove the file, once the lists are complete."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; without any record it is removed."""
        self._reader.close()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            if getattr(self, "size", None) == len(_HEAD):
                self.path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            os.ftruncate(self._handle, self.size)
            raise OSError(
                error.errno, f"cannot write {self.path}: {error.strerror}. Make room, then repeat the command"
            ) from error
        self.size += len(data)

    def _places(self) -> dict[bytes, int]:
        """Return where the last record of each request begins; what a kill has left incomplete is cut off."""
        places: dict[bytes, int] = {}
        self._reader.seek(len(_HEAD))
        position = len(_HEAD)
        while line := self._reader.readline():
            try:
                head = parsed_json(line)
                key, count, stamp = bytes.fromhex(head["key"]), head["count"], head["stamp"]
            except (ValueError, LookupError, TypeError):
                break
            following = [self._reader.readline() for _ in range(count)]
            if not all(one.endswith(b"\n") for one in following):
                break
            if stamp:
                places[key] = position
            else:
                places.pop(key, None)
            position += len(line) + sum(map(len, following))
        if position < self.size:
            os.ftruncate(self._handle, position)
            self.size = position
            self._reader.close()  # its buffer may have what was cut off
            self._reader = open_bytes(self.path)
        return places

    def _record(self, place: int) -> tuple[dict[str, Any], list[Finding], list[int]]:
        self._reader.seek(place)
        head: dict[str, Any] = parsed_json(self._reader.readline())
        found = list(self.located(self._reader.tell(), head["count"]))
        return head, [finding for finding, _ in found], [at for _, at in found]


def _key(request: dict[str, Any]) -> bytes:
    """Return 16 bytes that identify the path and how it is to be checked."""
    return hashlib.blake2b(json.dumps(request, sort_keys=True).encode(), digest_size=16).digest()
