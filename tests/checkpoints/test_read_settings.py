"""Settings are read without the values of the tensors."""

import json
import os
from pathlib import Path

import pytest
import yaml
from tests.checkpoints.formats.small_models import ENCODER, bert, edit, of_transformers, recogniser

from sori.checkpoints import convert, store
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config

SMALL, LARGE = ENCODER.ffn_dim, 2**24
"""Width of the inner layers, as saved and as changed; no other size of the models is equal to the first."""


def grow(weights):
    """Change the width of the inner layers of a file, to gigabytes of zeros that take no place on the disk."""
    content = weights.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__", None)
    end = 0
    for about in header.values():
        about["shape"] = [LARGE if size == SMALL else size for size in about["shape"]]
        begin, end = end, end + 4
        for size in about["shape"]:
            end = begin + (end - begin) * size
        about["data_offsets"] = [begin, end]
    text = json.dumps(header).encode()
    weights.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(weights, 8 + len(text) + end)
    assert end > 1 << 31


def used():
    """Return the bytes that this process has in memory, pages of files among them, and those that it has read."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("kind", ["sori", "transformers", "BERT of sori", "BERT of transformers"])
def test_describing_a_model_reads_no_weights(kind, tmp_path):
    folder = (bert if "BERT" in kind else recogniser)(tmp_path / "ours")
    ours = "transformers" not in kind
    if not ours:
        folder = of_transformers(folder, tmp_path / "theirs")
    expected = yaml.safe_load(store.describe(folder))["parameters"]
    if ours:
        card = folder / "config.json"
        card.write_text(card.read_text().replace(f'"ffn_dim": {SMALL}', f'"ffn_dim": {LARGE}'))
    else:
        edit(folder / "config.json", intermediate_size=LARGE)
    grow(folder / ("weights.safetensors" if ours else "model.safetensors"))
    before = used()
    assert yaml.safe_load(store.describe(folder))["parameters"] > 100_000 * expected
    for one, other in zip(before, used(), strict=True):
        assert other - one < 100 << 20


def test_describing_a_file_of_fairseq_reads_no_weights(tmp_path):
    wide = Wav2Vec2Config(**{**dict(ENCODER), "ffn_dim": 200_000})
    convert.convert(recogniser(tmp_path / "ours", wide), tmp_path / "theirs", to="fairseq")
    path = tmp_path / "theirs" / "checkpoint.pt"
    assert path.stat().st_size > 90 << 20
    store.describe(path)
    before = used()
    assert "200000" in store.describe(path)
    for one, other in zip(before, used(), strict=True):
        assert other - one < 20 << 20


def test_settings_are_those_of_the_model(tmp_path):
    stored = store.read_settings(recogniser(tmp_path / "ours"))
    whole = store.read(tmp_path / "ours")
    assert isinstance(stored.model.system, CtcConfig)
    assert stored.model._replace(weights={}) == whole.model._replace(weights={})
    assert {name: (t.shape, t.dtype) for name, t in stored.model.weights.items()} == {
        name: (t.shape, t.dtype) for name, t in whole.model.weights.items()
    }
