"""Sizes in configurations are not believed: another size than that of the tensors ends soon, in little memory."""

import json
import subprocess
import sys

import pytest
import torch
from tests.checkpoints.formats.small_models import ENCODER, bert, edit, of_transformers, recogniser

from sori.checkpoints import store
from sori.models import factory
from sori.nn.spectral import LogMelConfig
from sori.recipes import by_name

HUGE = 10**9
LOAD_ALL = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
from sori.checkpoints import store
for path in sys.argv[1:]:
    begin = time.monotonic()
    try:
        store.read(path)
    except ValueError as error:
        print(f"{time.monotonic() - begin:.1f} {len(str(error))} {str(error).splitlines()[0]}", flush=True)
"""


def change(folder, *path, to):
    """Change one value of a folder's config.json."""
    config = json.loads((folder / "config.json").read_text())
    inner = config
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    (folder / "config.json").write_text(json.dumps(config))


OURS = {
    "layers": (("encoder", "num_layers"), HUGE),
    "width": (("encoder", "dim"), 2**30),
    "overflow": (("encoder", "ffn_dim"), 2**62),
    "heads": (("encoder", "num_heads"), 0),
    "negative": (("encoder", "num_layers"), -1),
    "kernels": (("encoder", "front"), {"kind": "conv", "dim": 16, "kernels": [2] * 100_000, "strides": [2] * 100_000}),
    "kernel": (("encoder", "position_kernel"), HUGE),
    "spectrum": (("encoder", "front"), {"kind": "log_mel", "num_mels": HUGE}),
    "cepstra": (("encoder", "front"), {"kind": "cepstrum", "windows": {"num_mels": 100_000}, "num_cepstra": 16}),
    "adapters": (("encoder", "adapter_dim"), HUGE),
    "upsampling": (("system", "upsample"), HUGE),
    "network": (("encoder",), {"kind": "cpc", "front": {"kind": "mel_network", "num_layers": HUGE}}),
}
THEIRS = {
    "layers": {"num_hidden_layers": HUGE},
    "width": {"hidden_size": 2**30},
    "classes": {"vocab_size": HUGE},
    "convolutions": {f"conv_{name}": [16] * 100_000 for name in ("dim", "kernel", "stride")},
}
BERTS = {
    "layers": {"num_hidden_layers": HUGE},
    "tokens": {"vocab_size": HUGE},
    "positions": {"max_position_embeddings": HUGE},
    "inner width": {"intermediate_size": HUGE},
}


def test_sizes_are_compared_with_the_tensors_first(tmp_path):
    folders = []
    for name, (path, value) in OURS.items():
        change(recogniser(tmp_path / f"ours, {name}"), *path, to=value)
        folders.append(tmp_path / f"ours, {name}")
    source = recogniser(tmp_path / "source")
    for name, changes in THEIRS.items():
        edit(of_transformers(source, tmp_path / f"theirs, {name}") / "config.json", **changes)
        folders.append(tmp_path / f"theirs, {name}")
    source = bert(tmp_path / "source of BERT")
    for name, changes in BERTS.items():
        edit(of_transformers(source, tmp_path / f"BERT, {name}") / "config.json", **changes)
        folders.append(tmp_path / f"BERT, {name}")
    change(bert(tmp_path / "BERT of sori"), "system", "num_tokens", to=HUGE)
    folders.append(tmp_path / "BERT of sori")
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, *folders], capture_output=True, text=True, timeout=200, check=False
    )
    assert run.returncode == 0, f"after {run.stdout[-200:]}: {run.stderr[-1000:]}"
    lines = run.stdout.splitlines()
    assert len(lines) == len(folders), run.stdout
    for folder, line in zip(folders, lines, strict=True):
        seconds, length, message = line.split(" ", maxsplit=2)
        assert float(seconds) < 20, line
        assert int(length) < 100_000, line
        assert str(folder) in message, line


@pytest.mark.parametrize(
    "name", ["wav2vec2_smoke", "cpc_smoke", "simclr_smoke", "wav2vec_smoke", "vq_wav2vec_smoke", "code_bert_smoke"]
)
def test_every_system_is_compared_without_memory(name, tmp_path):
    system = factory.build(by_name(name).system)
    store.save(system, tmp_path / "m")
    stored = store.read_settings(tmp_path / "m")
    assert {name: tensor.shape for name, tensor in stored.model.weights.items()} == {
        name: tensor.shape for name, tensor in system.state_dict().items()
    }
    assert all(tensor.is_meta for tensor in stored.model.weights.values())


def test_a_spectral_front_end_is_bounded():
    for field in ("num_mels", "window_samples", "hop_samples", "stack"):
        for value in (0, -1, HUGE):
            with pytest.raises(ValueError, match=field):
                LogMelConfig(**{field: value})
    assert torch.isfinite(torch.tensor(float(LogMelConfig().num_mels)))


def test_the_encoder_of_the_tests_is_built():
    assert sum(p.numel() for p in factory.build(ENCODER).parameters()) < 100_000
