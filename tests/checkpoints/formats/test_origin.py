"""Untrusted settings of a model's source in `config.json` are validated, and those of older versions still load."""

import json

import pytest
import torch

from sori.checkpoints import convert, store
from sori.checkpoints.formats.origin import (
    MAX_DEPTH,
    MAX_LINES,
    MAX_VALUES,
    FairseqOrigin,
    HuggingFaceOrigin,
)
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

NARROW = {"dim": 32, "num_layers": 1, "num_heads": 2, "ffn_dim": 32, "code_dim": 16, "final_dim": 16, "num_codes": 8}
VOCAB = {"<pad>": 0, "|": 1, "a": 2, "b": 3}


def model(folder, **changes):
    """Save a recogniser with `store.save`."""
    torch.manual_seed(0)
    large = sizes.lv60k()
    front = large.front.model_copy(update={"dim": 16})
    config = large.model_copy(update={**NARROW, "position_groups": 4, "front": front, **changes})
    store.save(factory.build(CtcConfig(), encoder=config, vocabulary=Vocabulary.fit(["ab"])), folder)
    return folder


def set_origin(folder, origin):
    """Put an untrusted origin into the `config.json` of a model."""
    card = json.loads((folder / "config.json").read_text())
    card["origin"] = origin
    (folder / "config.json").write_text(json.dumps(card))


def of_huggingface(**changes):
    return {"format": "huggingface", "config": {}, "preprocessor": {}, "tokenizer": {}, "order": None, **changes}


@pytest.mark.parametrize(
    "name", ["/{tmp}/home/.bashrc", "../escaped.json", "other.json", "sub/vocab.json", "", "README.md"]
)
def test_only_tokenizer_files_are_written(name, tmp_path):
    name = name.replace("/{tmp}", str(tmp_path))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".bashrc").write_text("mine")
    set_origin(model(tmp_path / "evil"), of_huggingface(tokenizer={"vocab.json": VOCAB, name: {"x": 1}}))
    with pytest.raises(ValueError, match=r"(?s)config\.json is not a valid ModelCard.*tokenizer.*'vocab\.json'"):
        convert.convert(tmp_path / "evil", tmp_path / "out", to="huggingface")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil", "home"]
    assert (tmp_path / "home" / ".bashrc").read_text() == "mine"


@pytest.mark.parametrize("language", ["../escaped", "/{tmp}/escaped", "a/b", "a\\b", "a\0b", "x:y", "x" * 300])
def test_a_language_cannot_refer_to_another_folder(language, tmp_path):
    language = language.replace("/{tmp}", str(tmp_path))
    folder = model(tmp_path / "evil", adapter_dim=4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter.a").mkdir()
    set_origin(
        folder, of_huggingface(tokenizer={"vocab.json": VOCAB, "tokenizer_config.json": {"target_lang": language}})
    )
    with pytest.raises(ValueError, match="expected a plain name of a file"):
        convert.huggingface.write(store.read(folder).model, tmp_path / "out")
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_valid_language_names_its_adapter(tmp_path):
    folder = model(tmp_path / "m", adapter_dim=4)
    files = {"vocab.json": {"swh": VOCAB}, "tokenizer_config.json": {"target_lang": "swh"}}
    set_origin(folder, of_huggingface(tokenizer=files, config={"adapter_attn_dim": 4}, order=[0, 1, 2, 3]))
    convert.convert(folder, tmp_path / "out", to="huggingface")
    assert (tmp_path / "out" / "adapter.swh.safetensors").is_file()
    assert json.loads((tmp_path / "out" / "vocab.json").read_text()) == {"swh": VOCAB}


def nested(depth):
    found = {}
    for _ in range(depth - 1):
        found = {"x": found}
    return found


SECTIONS = {"model": {"_name": "wav2vec2"}, "task": None, "criterion": {"_name": "wav2vec"}, "common": None}


@pytest.mark.parametrize(
    "origin",
    [
        {},
        of_huggingface(),
        {"format": "huggingface", "config": {"model_type": "bert", "architectures": None}},
        of_huggingface(config={"architectures": ["Wav2Vec2ForCTC"]}, preprocessor=None, order=[1, 0, 2, 3]),
        of_huggingface(tokenizer={"vocab.json": VOCAB, "special_tokens_map.json": {}, "added_tokens.json": {"<s>": 4}}),
        of_huggingface(config=nested(MAX_DEPTH)),
        {"format": "fairseq", "cfg": SECTIONS, "dictionary": None, "history": {}},
        {"format": "fairseq", "cfg": {"model": {"w2v_args": SECTIONS}}, "dictionary": ["a 1", "b 1"]},
        {"format": "fairseq", "cfg": SECTIONS, "history": {"criterion_name": "C", "num_updates": 7}},
    ],
)
def test_origins_of_older_versions_are_read_and_written_back(origin, tmp_path):
    folder = model(tmp_path / "m")
    set_origin(folder, origin)
    stored = store.read(folder)
    (tmp_path / "again").mkdir()
    store.write(stored.model, tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "config.json").read_text())["origin"]
    assert {name: kept[name] for name in origin} == origin
    assert store.read(tmp_path / "again").model.origin == stored.model.origin
    expected = {"huggingface": HuggingFaceOrigin, "fairseq": FairseqOrigin}.get(origin.get("format"), type(None))
    assert type(stored.model.origin) is expected


@pytest.mark.parametrize(
    "origin",
    [
        {"format": "zip"},
        {"config": {}},
        ["huggingface"],
        of_huggingface(other={}),
        of_huggingface(config=[]),
        of_huggingface(config={"architectures": {"0": "Wav2Vec2ForCTC"}}),
        of_huggingface(tokenizer={"vocab.json": [1]}),
        of_huggingface(order=[0, 0, 1]),
        of_huggingface(order=[0, -1]),
        of_huggingface(order=list(range(MAX_LINES + 1))),
        of_huggingface(config=nested(MAX_DEPTH + 1)),
        of_huggingface(config={"x": [0] * MAX_VALUES}),
        {"format": "fairseq", "cfg": {}},
        {"format": "fairseq", "cfg": {"model": {"w2v_args": {"task": {}}}}},
        {"format": "fairseq", "cfg": {"model": {}, "criterion": "x"}},
        {"format": "fairseq", "cfg": SECTIONS, "history": {"best_loss": 1}},
        {"format": "fairseq", "cfg": SECTIONS, "dictionary": [1]},
    ],
    ids=range(17),
)
def test_invalid_origins_are_refused(origin, tmp_path):
    folder = model(tmp_path / "m")
    set_origin(folder, origin)
    with pytest.raises(ValueError, match=r"config\.json is not a valid ModelCard:\n  origin"):
        store.read(folder)


def test_an_order_of_another_number_of_classes_is_refused(tmp_path):
    folder = model(tmp_path / "m")
    set_origin(folder, of_huggingface(order=[1, 0]))
    with pytest.raises(ValueError, match=r"order of 4 classes .*, got 2"):
        convert.convert(folder, tmp_path / "out", to="huggingface")
    assert not (tmp_path / "out").exists()
