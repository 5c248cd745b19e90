"""Writing sharded checkpoints in the background, in one process; `test_several.py` has several."""

import time
from functools import partial

import pytest
import torch

from sori.training import sharded_files
from sori.training.sharded_files import Writer


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_checkpoint_has_its_name_when_waiting_ends(tmp_path, monkeypatch):
    flush = sharded_files.flush

    def slow(path):
        time.sleep(0.5)
        flush(path)

    monkeypatch.setattr(sharded_files, "flush", slow)
    writer, called = Writer(), []
    weight = torch.arange(6.0)
    for step in (1, 2):
        target = tmp_path / f"{step}"
        writer.start(target, {"system.weight": weight}, {"step": step}, then=partial(called.append, step))
        weight += 1  # what is written is a copy
        writer.wait()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"][:step]
        found = sharded_files.load_whole(target)
        assert found.state == {"step": step}
        assert found.tensors["system.weight"].tolist() == [number + step - 1.0 for number in range(6)]
    assert called == [1, 2]
