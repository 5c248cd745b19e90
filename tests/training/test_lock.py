import subprocess
import sys

import pytest

from sori.training.lock import LOCK, sole_use

HOLD = """
import sys, pathlib
from sori.training.lock import sole_use
with sole_use(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_serves_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another one is training there now"), sole_use(folder):
            pass
        other.kill()
    with sole_use(folder):
        assert (folder / LOCK).exists()
    with sole_use(folder):
        pass
