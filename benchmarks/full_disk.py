"""Fill the disk at random moments of a run and of other commands, make room, and repeat the same command.

    python benchmarks/full_disk.py [--moments 30] [--seed 0] [--save benchmarks/results/full_disk.json]

Everything is written to a file system of a few MiB in memory (Linux; needs root, or user namespaces). At a random
moment of a training run, a file takes all of its room. The run must end in one line of message or finish; what was
there before must be whole; after room is made, the same command must finish with the weights of a run that had room.
Then each command that writes a report, a model or a prepared folder over an older one is run on the full disk; the
older one must stay as it was.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from kill_resume import SETTINGS, write_tones
from safetensors.torch import load_file

MEGABYTES = 2
UNEXPECTED = 70
"""Exit code of sori after an error that it does not handle."""
SORI = [sys.executable, "-m", "sori"]


def main() -> int:
    """Fill, repeat, and return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="JSON file of the counts")
    arguments = parser.parse_args()
    if os.geteuid() != 0 and "SORI_MOUNTS" not in os.environ:
        command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, "SORI_MOUNTS": "1"}, check=False).returncode
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name) / "disk") as disk:
        found = Disk(Path(name), disk).run(arguments.moments, random.Random(arguments.seed))  # noqa: S311
    print(json.dumps(found, indent=1))
    if arguments.save:
        about = {"command": f"python benchmarks/full_disk.py --moments {arguments.moments} --seed {arguments.seed}"}
        about |= {"machine": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}
        arguments.save.write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
    return int(found["equal"] < found["moments"] or bool(found["lost"]))


def is_unexpected(returncode: int, messages: str) -> bool:
    """Return whether a command ended by an error that sori does not handle."""
    return returncode == UNEXPECTED or "Traceback" in messages


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system in memory."""
    folder.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}M", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


class Disk:
    """Commands on a disk that is filled.

    Args:
        folder: place with room, for what is read.
        disk: the small file system, for what is written.
    """

    def __init__(self, folder: Path, disk: Path) -> None:
        self.disk, self.data, self.whole = disk, folder / "data", folder / "whole"
        self.filler = disk / "filler"
        write_tones(folder / "audio")
        self.check([*SORI, "prepare", str(folder / "audio"), str(self.data)])
        self.check(self.training(self.whole))
        (folder / "text.txt").write_text("\n".join(str(number) for number in range(20_000)), encoding="utf-8")
        self.text = folder / "text.txt"
        self.sound = next((folder / "audio").rglob("*.wav"))

    def run(self, moments: int, rng: random.Random) -> dict[str, Any]:
        """Return how many runs finished equally after the disk was filled, and which files were lost."""
        begun = time.monotonic()
        self.check(self.training(self.disk / "run"))
        seconds = time.monotonic() - begun
        lost, outcomes = list[str](), list[str]()
        for number in range(moments):
            shutil.rmtree(self.disk / "run")
            outcome = self.fill_during(rng.uniform(0.1, 0.9) * seconds, lost)
            outcomes.append(outcome)
            print(f"moment {number + 1}: {outcome}", flush=True)
        lost += self.outputs()
        equal = sum(outcome.startswith("equal") for outcome in outcomes)
        stopped = sum(outcome.endswith("stopped") for outcome in outcomes)
        return {"moments": moments, "equal": equal, "stopped_by_full_disk": stopped, "lost": lost}

    def fill_during(self, seconds: float, lost: list[str]) -> str:
        """Fill the disk after some seconds of a run; then make room and run the same command."""
        older = self.disk / "older.txt"
        older.write_text("older", encoding="utf-8")
        process = subprocess.Popen(self.training(self.disk / "run"), stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        self.fill()
        _, messages = process.communicate(timeout=300)
        self.filler.unlink()
        if process.returncode and (
            is_unexpected(process.returncode, messages) or str(self.disk) not in messages.splitlines()[-1]
        ):
            lost.append(f"not a message that names the file: {messages[-1500:]}")
        if older.read_text(encoding="utf-8") != "older":
            lost.append("older.txt")
        try:
            self.check(self.training(self.disk / "run"))
        except subprocess.CalledProcessError as error:
            return f"cannot go on: {error.stderr[-300:]}"
        one, other = (load_file(run / "model" / "weights.safetensors") for run in (self.whole, self.disk / "run"))
        same = all(torch.equal(one[name], other[name]) for name in one)
        return f"{'equal' if same else 'different weights'}, {'stopped' if process.returncode else 'finished'}"

    def outputs(self) -> list[str]:
        """Return the commands that, on a full disk, end in a traceback or change the file that they would replace."""
        model, data, full = str(self.whole), str(self.data), self.disk
        commands = {
            "report.html": [*SORI, "evaluate", model, "--data", data, "--split", "all", "--report"],
            "report.json": [*SORI, "evaluate", model, "--data", data, "--split", "all", "--save"],
            "lm.arpa": [*SORI, "lm", "build", str(self.text), "--into"],
            "picture.png": [*SORI, "plot", str(self.sound), "--into"],
        }
        shutil.rmtree(full / "run")
        lost = self.prepare_again()
        for name, command in commands.items():
            (full / name).write_text("older", encoding="utf-8")
            self.fill()
            process = subprocess.run([*command, str(full / name)], capture_output=True, text=True, check=False)
            lost += self.without_message(name, process)
            if (full / name).read_text(encoding="utf-8") != "older":
                lost.append(f"{name} was changed")
            if left := sorted(
                path.name for path in full.iterdir() if path.name not in {*commands, "filler", "older.txt"}
            ):
                lost.append(f"{name}: left {', '.join(left)}")
            self.filler.unlink()
        return lost

    def prepare_again(self) -> list[str]:
        """Return what is wrong after a folder was prepared once more on a full disk."""
        into = self.disk / "prepared"
        command = [*SORI, "prepare", str(self.sound.parents[1]), str(into)]
        self.check(command)
        before = {path.name: path.read_bytes() for path in into.iterdir()}
        self.fill()
        process = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, check=False)
        after = {path.name: path.read_bytes() for path in into.iterdir()}
        self.filler.unlink()
        shutil.rmtree(into)
        return self.without_message("prepared", process) + ([] if before == after else ["prepared was changed"])

    @staticmethod
    def without_message(name: str, process: "subprocess.CompletedProcess[str]") -> list[str]:
        """Return how a command ended that should have ended with a message."""
        if process.returncode == 0 or is_unexpected(process.returncode, process.stderr):
            return [f"{name}: exit code {process.returncode}, {process.stderr[-200:]}"]
        return []

    def fill(self) -> None:
        """Take all room that is left."""
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    def training(self, into: Path) -> list[str]:
        """Return the command of the run."""
        settings = [word for key, value in SETTINGS.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        return [*SORI, "train", "ctc_smoke", "--data", str(self.data), "--into", str(into), *settings]

    @staticmethod
    def check(command: list[str]) -> None:
        """Run a command that must succeed."""
        subprocess.run(command, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
