import errno
import logging
from pathlib import Path

import pytest

from sori.training.board import Board

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_tensorboard_reads_what_was_written_and_drops_what_is_repeated(tmp_path):
    first = Board(tmp_path / "board", step=0)
    for step in (5, 10, 15):
        first.add(step, {"train/loss": float(step)})
    first.close()
    second = Board(tmp_path / "board", step=10)
    second.add(15, {"train/loss": 0.5})
    second.close()
    events = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [(5, 5.0), (10, 10.0), (15, 0.5)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_the_event_files_with_one_warning(tmp_path, monkeypatch, caplog):
    board = Board(tmp_path, step=0)
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda _, *args: opened(Path("/dev/full"), *args))
    with caplog.at_level(logging.WARNING, "sori"):
        board.add(1, {"train/loss": 1.0})
        board.add(2, {"train/loss": 1.0})
        board.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the run goes on" in caplog.text
    assert f"Errno {errno.ENOSPC}" in caplog.text
