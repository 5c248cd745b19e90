"""Continued pre-training and fine-tuning from checkpoints in other formats."""

import pytest
import torch

from sori import recipes
from sori.checkpoints import convert, store
from sori.checkpoints.formats import fairseq
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes import sizes
from sori.runs import run
from sori.text.vocabulary import Vocabulary

NARROW = {"dim": 32, "num_layers": 2, "num_heads": 2, "ffn_dim": 64, "code_dim": 16, "final_dim": 16, "num_codes": 8}
SMALL = {**NARROW, "position_groups": 4, "num_negatives": 10}
BRIEF = {"train.num_steps": 2, "train.log_every": 1, "train.num_accumulate": 1, "data.batch_seconds": 4}


def lv60k(**front):
    config = sizes.lv60k()
    return config.model_copy(update={**SMALL, "front": config.front.model_copy(update={"dim": 16, **front})})


@pytest.fixture(params=["huggingface", "fairseq"])
def checkpoints(request, tmp_path):
    """Return a pre-trained model and a recogniser on it, converted to another format."""
    torch.manual_seed(0)
    pretrained = factory.build(lv60k())
    recogniser = factory.build(CtcConfig(), encoder=pretrained.config, vocabulary=Vocabulary.fit(["hello world"]))
    recogniser.encoder.load_state_dict(pretrained.state_dict(), strict=False)
    paths = {}
    for name, system in (("pretrained", pretrained), ("recogniser", recogniser)):
        store.save(system, tmp_path / f"{name}-sori")
        convert.convert(tmp_path / f"{name}-sori", tmp_path / name, to=request.param)
        file = fairseq.CHECKPOINT if request.param == "fairseq" else ""
        paths[name] = tmp_path / name / file
    return paths


def pretraining(**changes):
    """Return the published recipe with a small model."""
    recipe = recipes.by_name("wav2vec2_lv60k")
    data = {"data.max_crop_seconds": 2, "data.min_seconds": 0.5}
    return recipe.model_copy(update={"system": lv60k()}).override({**BRIEF, **data, **changes})


def test_pretraining_continues_from_a_foreign_checkpoint(checkpoints, prepared_tones, tmp_path):
    init = checkpoints["pretrained"]
    run.train(pretraining(**{"optim.lr": 0.0}), into=tmp_path / "r", data=prepared_tones, init=init)
    continued, start = store.load(tmp_path / "r").state_dict(), store.load(init).state_dict()
    assert continued.keys() == start.keys()
    assert all(torch.equal(continued[name], start[name]) for name in start)
    provenance = store.read_card(tmp_path / "r" / "model").provenance["init"]["converted"]
    assert provenance["source"] == str(init.resolve())
    assert len(next(iter(provenance["sha256"].values()))) == 64


def test_the_waveform_is_normalised_as_in_the_checkpoint(checkpoints, prepared_tones, tmp_path, capsys):
    recipe = pretraining(**{"system.front.normalize": False})
    run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=checkpoints["pretrained"])
    front = store.load(tmp_path / "r").config.front
    assert front == store.load(checkpoints["pretrained"]).config.front
    assert front.normalize
    assert "normalising the waveform as" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recogniser_is_fine_tuned_from_either(checkpoints, prepared_tones, tmp_path):
    for name, init in checkpoints.items():
        recipe = recipes.by_name("ctc_1h_large").override({**BRIEF, "optim.lr": 0.0, "data.batch_seconds": 8})
        run.train(recipe, into=tmp_path / f"r-{name}", data=prepared_tones, init=init)
        tuned = store.load(tmp_path / f"r-{name}")
        start = factory.encoder_weights(store.load(init))
        assert all(torch.equal(tensor, start[key]) for key, tensor in tuned.encoder.state_dict().items())


def test_a_recogniser_has_no_quantiser_unless_grow_quantizer_is_set(checkpoints, prepared_tones, tmp_path):
    init = checkpoints["recogniser"]
    with pytest.raises(ValueError, match=r"a recogniser without the quantiser.*--grow-quantizer true"):
        run.train(pretraining(), into=tmp_path / "r", data=prepared_tones, init=init)
    recipe = pretraining(**{"grow_quantizer": True, "optim.lr": 0.0})
    run.train(recipe, into=tmp_path / "grown", data=prepared_tones, init=init)
    grown = store.load(tmp_path / "grown").state_dict()
    assert grown["quantizer.codebook"].std() > 0
    start = factory.encoder_weights(store.load(init))
    assert all(torch.equal(grown[name], tensor) for name, tensor in start.items())


def test_another_size_is_refused_naming_the_tensors(checkpoints, prepared_tones, tmp_path):
    recipe = pretraining(**{"system.num_layers": 3})
    with pytest.raises(ValueError, match=r"missing: transformer.blocks.2"):
        run.train(recipe, into=tmp_path / "r", data=prepared_tones, init=checkpoints["pretrained"])
