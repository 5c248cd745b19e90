"""Every system on a GPU: the values of the CPU, compiled blocks, training that continues. Run with `pytest -m gpu`."""

import subprocess
import sys

import pytest
import torch
from tests.conformance.test_systems import (
    batch_of,
    build,
    each_case,
    each_system,
    mean,
    short_run,
    short_run_in_two_parts,
    waveforms,
)

from sori.core.seeds import Rng

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")
__all__ = ["waveforms"]
COMPILED = """
import sys, torch
from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes import sizes
torch.manual_seed(0)
system = Wav2Vec2(sizes.smoke()).eval().to(sys.argv[1])
waveform, lengths = 0.1 * torch.randn(2, 16_000), torch.tensor([16_000, 16_000])
batch = waveform.to(sys.argv[1]), lengths.to(sys.argv[1])
with torch.no_grad():
    expected = system.extract_features(*batch).data
    for block in system.transformer.blocks:
        block.compile()
    torch.testing.assert_close(system.extract_features(*batch).data, expected, rtol=1e-3, atol=1e-3)
print("equal")
"""


@each_case
def test_the_loss_and_its_gradients_are_those_of_the_cpu(name, front, waveforms):
    torch.manual_seed(0)
    system = build(name, front).eval()  # without dropout and Gumbel noise, which devices draw differently
    batch = batch_of(name, waveforms)
    losses, gradients = [], []
    for device in (torch.device("cpu"), DEVICE):
        part = system.to(device).loss(batch.to(device), step=0, rng=Rng(0, 0, 0, device))
        part.total.backward()
        losses.append(mean(part))
        gradients.append({key: p.grad.cpu() for key, p in system.named_parameters() if p.grad is not None})
        system.zero_grad()
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        scale = gradient.abs().max()
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-2, atol=1e-2 * float(scale) + 1e-6, msg=key)


@each_case
def test_training_is_finite_in_bfloat16(name, front, waveforms):
    system, batch = build(name, front).to(DEVICE), batch_of(name, waveforms).to(DEVICE)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        part = system.loss(batch, step=0, rng=Rng(0, 0, 0, DEVICE))
    part.total.backward()
    assert torch.isfinite(part.total)
    assert all(bool(torch.isfinite(p.grad).all()) for p in system.parameters() if p.grad is not None)


def test_compiled_blocks_give_the_same_frames():
    """In a process of its own: the checks of shapes, which these tests add to every function, cannot be compiled."""
    program = [sys.executable, "-c", COMPILED, DEVICE.type]
    found = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "equal\n"), found.stderr


@each_system
def test_an_interrupted_run_continues_and_its_model_loads_on_the_cpu(name, prepared_tones, tmp_path, monkeypatch):
    whole = short_run(name, prepared_tones, tmp_path / "whole")
    parts = short_run_in_two_parts(name, prepared_tones, tmp_path / "parts", monkeypatch)
    for key, value in whole.items():  # sums on a GPU may be taken in another order
        torch.testing.assert_close(parts[key], value, rtol=1e-2, atol=1e-3, msg=key)
