import errno
import resource
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from sori.training import checkpoint
from sori.training.optim import OptimConfig, make_optimizer

STATE = {"step": 3, "pi": 3.141592653589793, "tiny": 1e-308, "list": [1, 2.5], "none": None}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 4)
        self.tied = nn.Linear(3, 4)
        self.tied.weight = self.one.weight
        self.conv = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
        self.unused = nn.Parameter(torch.randn(5))
        self.register_buffer("seen", torch.tensor(0))


def trained(num_steps=3, seed=0):
    torch.manual_seed(seed)
    system = Net()
    optimizer = make_optimizer(system, OptimConfig(lr=0.1))
    for _ in range(num_steps):
        step(system, optimizer)
    return system, optimizer


def step(system, optimizer):
    total = system.tied(system.one(torch.ones(2, 3))[:, :3]).sum() + system.conv(torch.ones(1, 3, 4, 4)).square().sum()
    total.backward()
    system.seen += 1
    optimizer.step()
    optimizer.zero_grad()


def test_training_from_a_checkpoint_is_bit_identical(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    system, optimizer = trained()
    checkpoint.save(path, system=system, optimizer=optimizer, state=STATE)
    other, other_optimizer = trained(0, seed=1)
    found = checkpoint.load(path)
    checkpoint.restore(found, system=other, optimizer=other_optimizer)
    assert found.state == STATE
    for _ in range(3):
        step(system, optimizer)
        step(other, other_optimizer)
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    moment = other_optimizer.state[other.conv.weight]["exp_avg"]
    assert moment.is_contiguous(memory_format=torch.channels_last)
    assert other.unused not in other_optimizer.state


def test_the_file_is_plain_safetensors(tmp_path):
    system, optimizer = trained()
    checkpoint.save(tmp_path / "c.safetensors", system=system, optimizer=optimizer, state=STATE)
    with safe_open(tmp_path / "c.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert {"system.one.weight", "system.seen", "optimizer.one.weight.exp_avg", "optimizer.conv.bias.step"} <= names
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_another_system_is_refused(tmp_path):
    system, optimizer = trained()
    checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state=STATE)
    for other in (nn.Linear(2, 2), trained()[0]):
        if isinstance(other, Net):
            other.one.bias = nn.Parameter(torch.zeros(7))
        with pytest.raises(ValueError, match="another system"):
            checkpoint.restore(
                checkpoint.load(tmp_path / "c"), system=other, optimizer=make_optimizer(other, OptimConfig())
            )


def test_damaged_and_foreign_files_are_refused(tmp_path):
    system, optimizer = trained()
    checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state=STATE)
    (tmp_path / "cut").write_bytes((tmp_path / "c").read_bytes()[:-10])
    with pytest.raises(ValueError, match="cut is not a readable checkpoint"):
        checkpoint.load(tmp_path / "cut")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="another version"):
        checkpoint.load(tmp_path / "foreign")


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path, monkeypatch):
    path = tmp_path / "c"
    system, optimizer = trained()
    checkpoint.save(path, system=system, optimizer=optimizer, state=STATE)
    before = path.read_bytes()
    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(OSError, match=r"needs 0.0 MB and the disk has 0.0 MB free; the last checkpoint is intact"):
        checkpoint.save(path, system=system, optimizer=optimizer, state={"step": 4})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_write_that_fails_half_way_leaves_the_last_checkpoint_intact(tmp_path):
    """Limit the file size to 2,000 bytes, which fails as a full disk or a quota does."""
    system, optimizer = trained()
    checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state=STATE)
    before = (tmp_path / "c").read_bytes()
    assert len(before) > 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="the last checkpoint is intact"):
            checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state=STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "c").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_failing_fsync_leaves_no_partial_file(tmp_path, monkeypatch):
    system, optimizer = trained()
    checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state=STATE)

    def fail(_):
        raise OSError(errno.EIO, "the device is gone")

    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="the device is gone"):
        checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state={"step": 4})
    assert checkpoint.load(tmp_path / "c").state == STATE
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_the_error_keeps_the_errno(tmp_path, monkeypatch):
    system, optimizer = trained()
    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(OSError, match="no checkpoint has been written yet") as caught:
        checkpoint.save(tmp_path / "c", system=system, optimizer=optimizer, state={})
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_an_older_kept_checkpoint_stays_until_its_successor_is_complete(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "no space left")

    path, best = tmp_path / "checkpoint.safetensors", tmp_path / "best.safetensors"
    path.write_text("new")
    best.write_text("older")
    with monkeypatch.context() as patch:
        patch.setattr(type(path), "hardlink_to", fail)
        patch.setattr("shutil.copyfile", fail)
        with pytest.raises(OSError, match="no space left"):
            checkpoint.keep(path, best)
    assert best.read_text() == "older"
    checkpoint.keep(path, best)
    assert best.read_text() == "new"
