"""Read thousands of randomly changed files of every kind that sori reads, and report what does not end in a message.

    python tests/fuzz.py --minutes 10 [--workers 2] [--seed 0] [--targets recipe arpa] [--save RESULT.json]

A changed file is read, or refused by an error that a user can act on: a `ValueError` or `OSError` that names the file.
Everything else is a fault: another exception, an error that names no file, the end of the process, more than 20 s, more
than 2 GiB. Faulty files are kept, and their paths printed. Ends with 1 if there was a fault.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import soundfile
import torch

import sori
from fuzzing import targets

SECONDS = 20
MEMORY_BYTES = 2 << 30
WARM_UP_SECONDS = 300
"""For building the files and reading each once unchanged, which compiles what is compiled on first use."""


@dataclass
class Tally:
    """What was found for one target."""

    read: int = 0
    refused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """Return the number of changed files."""
        return self.read + self.refused + self.faults.total()


def main() -> int:
    """Fuzz, print a table, and return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", choices=[one.name for one in targets.TARGETS], metavar="TARGET")
    parser.add_argument("--save", type=Path, help="JSON file of the counts")
    arguments = parser.parse_args()
    chosen = arguments.targets or [one.name for one in targets.TARGETS]
    with tempfile.TemporaryDirectory() as folder:
        tallies = fuzz(chosen, Path(folder), **{k: getattr(arguments, k) for k in ("minutes", "workers", "seed")})
    print(table(tallies))
    if arguments.save:
        save(arguments.save, tallies, minutes=arguments.minutes, seed=arguments.seed)
    return int(any(tally.faults for tally in tallies.values()))


def fuzz(names: list[str], folder: Path, *, minutes: float, workers: int, seed: int) -> dict[str, Tally]:
    """Give changed files to processes until the time is over, at least one of each target.

    Args:
        names: targets, each in turn.
        folder: for the files.
        minutes: time after the warm-up.
        workers: processes.
        seed: of the changes; the numbers of the changes are counted up from it.
    """
    tallies = {name: Tally() for name in names}
    kept = Path(tempfile.mkdtemp(prefix="sori-fuzz-"))
    for target in targets.TARGETS:
        if target.name in names:
            target.build(folder / target.name)
    pool = [Worker(folder, number, names) for number in range(workers)]
    ends = time.monotonic() + 60 * minutes
    number = 0
    while number < len(names) or time.monotonic() < ends:
        for worker in pool:
            if worker.is_busy:
                worker.collect(tallies, kept)
            worker.give(names[number % len(names)], seed + number)
            number += 1
    for worker in pool:
        worker.collect(tallies, kept)
        worker.stop()
    return tallies


class Worker:
    """A process that reads changed files; replaced when it ends or hangs."""

    def __init__(self, folder: Path, number: int, names: list[str]) -> None:
        self._folder, self._own, self._names = folder, folder / str(number), names
        self._task: tuple[str, int] | None = None
        self._start()

    @property
    def is_busy(self) -> bool:
        """Return whether a result is to be collected."""
        return self._task is not None

    def give(self, name: str, seed: int) -> None:
        """Have a file of a target changed and read."""
        self._task = (name, seed)
        self._given = time.monotonic()
        self._pipe.send(self._task)

    def collect(self, tallies: dict[str, Tally], kept: Path) -> None:
        """Wait for the result and count it."""
        assert self._task is not None
        name, seed = self._task
        result = self._result()
        tally = tallies[name]
        if result in ("read", "refused"):
            setattr(tally, result, getattr(tally, result) + 1)
        else:
            kind = result.split(" <- ", 1)[0]
            tally.faults[kind] += 1
            if kind not in tally.kept:
                copy = kept / f"{name}-{seed}"
                shutil.copyfile(self._own / f"{name}.changed", copy)
                tally.kept[kind] = str(copy)
                print(f"{name}: {result}; file: {copy}", flush=True)
        self._task = None

    def _result(self) -> str:
        try:
            if self._pipe.poll(max(0.0, self._given + SECONDS - time.monotonic())):
                result, peak = self._pipe.recv()
                if peak <= MEMORY_BYTES:
                    return str(result)
                result = f"memory: {peak >> 20} MiB <- {result}"
            else:
                result = f"hang: more than {SECONDS} s"
        except EOFError:
            self._process.join()
            code = self._process.exitcode or 0
            result = f"crash: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"
        self.stop()
        self._start()
        return result

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._folder, self._own, self._names), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(WARM_UP_SECONDS):
            raise SystemExit(f"no file was read within {WARM_UP_SECONDS} s, before anything was changed")
        self._pipe.recv()


def serve(pipe: Connection, folder: Path, own: Path, names: list[str]) -> None:
    """Read each file once, then change and read them as asked (in the process of a `Worker`)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(1000)
    torch.set_num_threads(1)
    files = {}
    for target in targets.TARGETS:
        if target.name in names:
            shutil.rmtree(own / target.name, ignore_errors=True)
            path = Path(shutil.copytree(folder / target.name, own / target.name)) / target.file
            target.read(path)
            files[target.name] = (target, path, path.read_bytes())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libmpg123 writes notes to it
    base = peak_bytes()
    pipe.send("ready")
    while True:
        name, seed = pipe.recv()
        target, path, original = files[name]
        changed = target.change(original, random.Random(seed))
        (own / f"{name}.changed").write_bytes(changed)
        path.write_bytes(changed)
        pipe.send((outcome(target, path), max(0, peak_bytes() - base)))
        path.write_bytes(original)


def outcome(target: targets.Target, path: Path) -> str:
    """Return `read`, `refused`, or what went wrong."""
    try:
        target.read(path)
    except (ValueError, OSError) as error:
        if path.name in str(error) or path.parent.name in str(error) or isinstance(error, FileNotFoundError):
            return "refused"
        return f"the message names no file, {type(error).__name__} {_place(error)} <- {str(error)[:200]!r}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__} {_place(error)} <- {str(error)[:200]!r}"
    return "read"


def _place(error: Exception) -> str:
    """Return the file and line of sori that an exception went through last."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/sori/" in frame.filename.replace("\\", "/")]
    last = (own or frames)[-1]
    return f"{last.filename.rsplit('/sori/', 1)[-1]}:{last.lineno}"


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table(tallies: dict[str, Tally]) -> str:
    """Return one line for each target, and the sum."""
    rows = [(name, tally.tried, tally.read, tally.refused, tally.faults.total()) for name, tally in tallies.items()]
    rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, 5))))
    lines = [f"{'':24}{'tried':>9}{'read':>9}{'refused':>9}{'faults':>9}"]
    return "\n".join(lines + [f"{row[0]:24}" + "".join(f"{number:>9,}" for number in row[1:]) for row in rows])


def save(path: Path, tallies: dict[str, Tally], *, minutes: float, seed: int) -> None:
    """Write the counts with the command, the machine and the versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    versions |= {"sori": sori.__version__, "soundfile": soundfile.__version__}
    counts = {
        name: {"tried": one.tried, "read": one.read, "refused": one.refused, "faults": dict(one.faults)}
        for name, one in tallies.items()
    }
    command = f"python tests/fuzz.py --minutes {minutes:g} --seed {seed}"
    content = {"command": command, "machine": platform.platform(), "versions": versions, "targets": counts}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
