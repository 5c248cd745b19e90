"""Models on disk."""

import json
import os
import platform
import stat
from importlib.metadata import version

import pytest
import safetensors.torch
import torch

from sori.checkpoints import resolve, store
from sori.core import folders
from sori.core.batch import TextBatch
from sori.core.seeds import Rng
from sori.models import factory, wav2vec2
from sori.models.ctc import Ctc, CtcConfig
from sori.recipes import sizes
from sori.recipes.smoke import ctc_smoke, wav2vec2_smoke
from sori.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.fit(["some few letters"])


def encoder():
    return factory.build(wav2vec2_smoke().system)


def recogniser():
    return factory.build(ctc_smoke().system, encoder=sizes.smoke(), vocabulary=VOCABULARY)


def waveform(seconds=1.0):
    return torch.randn(1, int(16_000 * seconds)), torch.tensor([int(16_000 * seconds)])


@pytest.mark.parametrize("make", [encoder, recogniser])
def test_a_loaded_model_has_the_same_output(make, tmp_path):
    system = make().eval()
    store.save(system, tmp_path / "m")
    loaded = store.load(tmp_path / "m")
    assert not loaded.training
    assert type(loaded) is type(system)
    assert loaded.config == system.config
    torch.testing.assert_close(
        loaded.extract_features(*waveform()).data.shape, system.extract_features(*waveform()).data.shape
    )
    given = waveform()
    assert torch.equal(loaded.extract_features(*given).data, system.extract_features(*given).data)
    for name, tensor in system.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_recogniser_is_loaded_with_its_vocabulary(tmp_path):
    system = recogniser().eval()
    store.save(system, tmp_path / "m")
    loaded = store.load(tmp_path / "m")
    assert loaded.vocabulary == VOCABULARY
    given = waveform()
    assert torch.equal(loaded.logits(*given).data, system.logits(*given).data)


def test_the_folder_holds_only_the_documented_files(tmp_path):
    store.save(recogniser(), tmp_path / "m")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "m", "vocabulary.json", "weights.safetensors"]


def test_the_card_holds_configuration_versions_and_provenance(tmp_path):
    store.save(encoder(), tmp_path / "m", provenance={"data": {"hours": 1.5}})
    card = json.loads((tmp_path / "m" / "config.json").read_text())
    assert card["system"]["kind"] == "wav2vec2"
    assert card["system"]["dim"] == 32
    assert card["versions"] == {
        "python": platform.python_version(),
        **{name: version(name) for name in ("sori", "torch", "numpy", "soxr")},
    }
    assert card["provenance"] == {"data": {"hours": 1.5}}


def test_saving_again_replaces_the_whole_folder(tmp_path):
    store.save(recogniser(), tmp_path / "m")
    store.save(encoder(), tmp_path / "m")
    assert not (tmp_path / "m" / "vocabulary.json").exists()
    assert isinstance(store.load(tmp_path / "m"), wav2vec2.Wav2Vec2)


def test_a_failed_save_keeps_the_old_model(tmp_path, monkeypatch):
    store.save(encoder(), tmp_path / "m")
    before = store.load(tmp_path / "m").state_dict()

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.save(encoder(), tmp_path / "m")
    monkeypatch.undo()
    after = store.load(tmp_path / "m").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_wrong_tensor_is_named(tmp_path):
    store.save(encoder(), tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["stranger"] = weights.pop("mask_vector")
    weights["projection.bias"] = torch.zeros(7)
    weights["projection.weight"] = weights["projection.weight"].half()
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ValueError, match="another model") as caught:
        store.load(tmp_path / "m")
    lines = str(caught.value).splitlines()[1:]
    assert [line.strip() for line in lines] == [
        "missing: mask_vector",
        "projection.bias: expected float32 [32], got float32 [7]",
        "projection.weight: expected float32 [32, 40], got float16 [32, 40]",
        "unknown: stranger",
    ]


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json"])
def test_a_missing_file_is_named(name, tmp_path):
    store.save(recogniser(), tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(ValueError, match=name):
        store.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json", "config.json"])
def test_a_damaged_file_is_named(name, tmp_path):
    store.save(recogniser(), tmp_path / "m")
    path = tmp_path / "m" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=name):
        store.load(tmp_path / "m")


def test_an_unknown_setting_in_the_card_is_named(tmp_path):
    store.save(encoder(), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    card = json.loads(path.read_text())
    card["system"]["dimm"] = card["system"].pop("dim")
    path.write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"config.json .*\n.*dimm"):
        store.load(tmp_path / "m")


def test_an_unknown_name_lists_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="there are none"):
        store.load("tiny")
    store.save(encoder(), "runs/first/model")
    store.save(encoder(), "runs/group/second")
    with pytest.raises(FileNotFoundError, match="models here: first, group/second"):
        store.load("tiny")
    assert resolve.list_models() == ["first", "group/second"]
    for name in ("first", "runs/first", "runs/first/model", "group/second"):
        store.load(name)


def test_an_unfinished_run_is_reported(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(FileNotFoundError, match="repeat its command"):
        store.load(tmp_path)


def test_a_recogniser_has_no_parts_of_pretraining_only():
    system = recogniser()
    assert isinstance(system, Ctc)
    assert not [name for name in system.state_dict() if "quantizer" in name or "project_co" in name]
    assert factory.encoder_weights(encoder()).keys() == {
        name.removeprefix("encoder.") for name in system.state_dict() if name.startswith("encoder.")
    }


@pytest.mark.slow
def test_the_published_size_of_a_recogniser():
    # BASE with 32 classes: 94,396,320 parameters (reference code)
    vocabulary = Vocabulary(symbols=("<blank>", "|", *map(chr, range(ord("a"), ord("a") + 30))))
    system = factory.build(CtcConfig(), encoder=sizes.base(), vocabulary=vocabulary)
    assert sum(p.numel() for p in system.parameters()) == 94_396_320


def test_the_front_end_is_trained_only_with_a_feature_gradient():
    small = sizes.smoke().model_copy(update={"front": wav2vec2.ConvConfig(dim=8)})
    text = TextBatch(*waveform(), torch.tensor([[2, 3]]), torch.tensor([2]))
    for feature_gradient in (0.0, 0.5):
        system = factory.build(CtcConfig(feature_gradient=feature_gradient), encoder=small, vocabulary=VOCABULARY)
        system.loss(text, step=0, rng=Rng(0)).total.backward()
        gradients = [p.grad for p in factory.encoder_of(system).front.parameters()]
        assert all((g is not None) == bool(feature_gradient) for g in gradients)
        assert all(p.requires_grad == bool(feature_gradient) for p in factory.encoder_of(system).front.parameters())


def test_saved_files_have_the_modes_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        store.save(recogniser(), tmp_path / "m")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "m", *(tmp_path / "m").iterdir())}
    assert modes == {"m": 0o750, "config.json": 0o640, "weights.safetensors": 0o640, "vocabulary.json": 0o640}


def keep(folder, name="thesis.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("precious")


@pytest.mark.parametrize("name", ["notes", "m.partial", "m.old", "m"])
def test_saving_replaces_only_a_model_of_sori(name, tmp_path):
    keep(tmp_path / name)
    if name in ("notes", "m"):
        with pytest.raises(ValueError, match=rf"a model saved by sori to replace; .*{name} holds thesis.txt"):
            store.save(encoder(), tmp_path / name)
    else:
        store.save(encoder(), tmp_path / "m")
        store.save(encoder(), tmp_path / "m")
        assert resolve.list_models(tmp_path) == ["m"]
    assert [path.name for path in (tmp_path / name).iterdir()] == ["thesis.txt"]


def other_config(folder):
    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')


def linked(folder):
    (folder / "weights.safetensors").rename(folder.parent / "weights")
    (folder / "weights.safetensors").symlink_to(folder.parent / "weights")


FOREIGN = {
    "a model of transformers": (other_config, "no config.json written by sori"),
    "no card": (lambda m: (m / "config.json").unlink(), "no config.json written by sori"),
    "damaged card": (lambda m: (m / "config.json").write_text("{"), "no config.json written by sori"),
    "a card of something else": (
        lambda m: (m / "config.json").write_text('{"system": {}}'),
        "no config.json written by sori",
    ),
    "a model card of the user": (lambda m: keep(m, "README.md"), "README.md"),
    "another file": (lambda m: keep(m, ".hidden"), ".hidden"),
    "a folder in it": (lambda m: keep(m / "data"), "data"),
    "a link to weights": (linked, "weights.safetensors"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_with_other_files_is_not_changed(kind, tmp_path):
    change, named = FOREIGN[kind]
    store.save(encoder(), tmp_path / "m")
    change(tmp_path / "m")
    before = {path.name: path.stat().st_ino for path in (tmp_path / "m").iterdir()}
    with pytest.raises(ValueError, match=rf"m holds {named}\. Nothing was removed: give another folder"):
        store.save(encoder(), tmp_path / "m")
    assert {path.name: path.stat().st_ino for path in (tmp_path / "m").iterdir()} == before


def test_a_file_or_a_link_at_the_path_is_kept(tmp_path):
    store.save(encoder(), tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("precious")
    for name in ("link", "file"):
        with pytest.raises(ValueError, match=f"holds {name}"):
            store.save(encoder(), tmp_path / name)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("version", ["0.0.1", "9.9"])
def test_a_model_of_another_version_is_replaced_with_all_its_files(version, tmp_path):
    store.save(recogniser(), tmp_path / "m")
    card = json.loads((tmp_path / "m" / "config.json").read_text())
    card["versions"]["sori"] = version
    card["system"]["of another version"] = 1
    (tmp_path / "m" / "config.json").write_text(json.dumps(card))
    for name in ("confidence.json", "certificate.json"):
        (tmp_path / "m" / name).write_text("{}")
    store.save(encoder(), tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["config.json", "weights.safetensors"]


def test_a_model_is_found_after_a_crash_and_listed_once(tmp_path, monkeypatch):
    store.save(encoder(), tmp_path / "run" / "model")
    temporary = tmp_path / "run" / ".model.abcd_123.partial"
    (temporary / "new").mkdir(parents=True)
    (temporary / "sori").write_bytes(folders._MARK_CONTENT)
    (temporary / "new" / "config.json").write_text("{}")
    assert resolve.list_models(tmp_path) == ["run"]
    (tmp_path / "run" / "model").rename(temporary / "old")  # stopped between the two renames
    assert resolve.list_models(tmp_path) == []
    for name in (tmp_path / "run", tmp_path / "run" / "model"):
        assert resolve.find(name) == temporary / "old"
        store.load(name)
    store.save(recogniser(), tmp_path / "run" / "model")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model"]
    assert isinstance(store.load(tmp_path / "run"), Ctc)
