"""Errors of the operating system, and too little memory, as a user should read them."""

import errno

_ELSEWHERE = "choose another place"
_CURES = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "expected a folder, or a new name: choose another one",
    errno.ENOTDIR: "a part of this path is a file and no folder: check it",
    errno.EISDIR: "expected a file: name one in it",
    errno.EACCES: f"likely it belongs to another user: ask for permission, or {_ELSEWHERE}",
    errno.EPERM: f"likely it is protected: {_ELSEWHERE}",
    errno.EROFS: f"nothing can be written there: {_ELSEWHERE}",
    errno.ENOSPC: f"make room, or {_ELSEWHERE}",
    errno.EDQUOT: f"your quota on this disk is used up: make room, or {_ELSEWHERE}",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "links lead in a circle: remove one",
    errno.EMFILE: "this process may open more files after `ulimit -n 4096`",
    errno.ENOMEM: "close other programs, or use a smaller model or shorter recordings",
}
_MEMORY = ("allocate memory", "out of memory", "failed to map segment")
"""What torch, libraries and the loader of libraries write where there is too little memory."""
_UNKNOWN = "likely the disk or the connection to it fails: check it, or choose another place"


def explained(error: OSError) -> str:
    """Return the message of an error: where, what, and what can be done; the text of one that sori has raised."""
    if error.errno is None or not str(error).startswith("[Errno"):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror}; {_CURES.get(error.errno, _UNKNOWN)}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, tells of too little memory."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, MemoryError) or any(words in str(found) for words in _MEMORY):
            return True
        found = found.__cause__
    return False


def out_of_memory(error: BaseException) -> str:
    """Return the message of such an error."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return (
        f"not enough memory ({reason[:200]}); close other programs, raise the limit of this process (`ulimit -v`), or "
        "use a smaller model, smaller batches (--data.batch-seconds) or shorter recordings"
    )
