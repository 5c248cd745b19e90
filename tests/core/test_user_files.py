"""Only regular files are read, and pipes that the process was handed: nothing waits, nothing reads without end."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sori.core import user_files
from sori.core.audio import read
from sori.core.text_files import lines
from sori.data.sources.images import read_images
from sori.inference.units import read_units
from sori.lm import arpa
from sori.text.vocabulary import Vocabulary

PACKAGE = Path(user_files.__file__).parents[1]
SECONDS = 60

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture(params=["pipe", "socket", "device", "link to a device"])
def strange(request, tmp_path, monkeypatch):
    path = tmp_path / "strange"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(tmp_path)  # the whole path may be too long for a socket
            socket.socket(socket.AF_UNIX).bind("strange")
        case "device":
            return Path("/dev/zero")
        case "link to a device":
            path.symlink_to("/dev/zero")
    return path


READERS = {
    "open_bytes": user_files.open_bytes,
    "sound": read,
    "text": lambda path: next(lines(path)),
    "language model": arpa.read,
    "vocabulary": Vocabulary.load,
    "units": lambda path: next(read_units(path)),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the socket
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(strange, reader):
    with pytest.raises(ValueError, match=r"strange|/dev/zero") as caught:
        READERS[reader](strange)
    assert "expected a file, got a" in str(caught.value)


def test_a_pipe_among_images_is_refused(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    os.mkfifo(tmp_path / "train" / "cat" / "one.png")
    with pytest.raises(ValueError, match="got a named pipe"):
        read_images(tmp_path)


def test_what_is_put_in_place_of_a_file_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(user_files, "require_file", lambda _: None)  # it was a file then
    with pytest.raises(ValueError, match="got a named pipe"):
        user_files.open_bytes(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["a\0b", "a\ud83d"])
def test_what_is_no_path_is_a_plain_error(name):
    with pytest.raises(ValueError, match="expected the path of a file"):
        user_files.read_text(name)


def test_missing_files_and_folders_are_what_they_were(tmp_path):
    with pytest.raises(FileNotFoundError):
        user_files.read_text(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        user_files.read_text(tmp_path)


def test_lines_end_alike(tmp_path):
    (tmp_path / "a").write_bytes("ä\r\nb\rc\n".encode())
    assert user_files.read_text(tmp_path / "a") == (tmp_path / "a").read_text(encoding="utf-8") == "ä\nb\nc\n"


def test_a_pipe_that_was_handed_over_is_read_to_its_end():
    program = "from sori.core import user_files; print(len(user_files.read_bytes('/dev/stdin')))"
    found = subprocess.run(
        [sys.executable, "-c", program], input=b"x" * 300_000, capture_output=True, timeout=SECONDS, check=True
    )
    assert int(found.stdout) == 300_000


OURS = {
    "experiments/multi_seed.py": "what a run wrote",
    "experiments/comparison/study.py": "what a run wrote",
    "training/metrics.py": "what a run wrote",
    "core/run_folder.py": "what a run wrote",
    "core/temporary_folders.py": "a mark of its own",
    "training/checkpoint.py": "what a run wrote; readers of tensors open by name",
    "data/fingerprint.py": "what a run wrote",
    "data/batches/token_store.py": "what a run wrote",
    "recipes/recipe.py": "what a run wrote",
    "recipes/word2vec.py": "what a run wrote",
    "plots/projector_page.py": "belongs to the package",
    "plots/units_page.py": "belongs to the package",
    "evaluation/report/error_page.py": "belongs to the package",
    "core/compiled.py": "belongs to the package, or was written by it",
    "experiments/planning/calibration.py": "the amount of memory, as the kernel states it",
    "core/processor.py": "the name of the processor, as the kernel states it",
    "core/files.py": "writes",
    "core/folders.py": "what a save left",
    "core/user_files.py": "the one place",
}
_READS = re.compile(
    r"\.read_text\(|\.read_bytes\(|\.open\((?:\"r|encoding)|(?:gzip|lzma|bz2)\.open\((?:path|place), \"r|[^.\w]open\("
)


def test_files_are_read_in_one_way():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).as_posix() not in OURS:
            found = _READS.findall(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: use sori.core.user_files"
