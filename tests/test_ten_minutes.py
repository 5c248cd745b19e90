import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from sori import audio, hub, run, ten_minutes
from sori.data.manifest import read_manifest, write_manifest
from sori.training.watch import Diverged


def test_the_recipe_is_the_same_for_every_encoder():
    recipe = ten_minutes.recipe()
    assert (recipe.labels.minutes, recipe.encoder, recipe.encoder_changes) == (10.0, None, {})
    assert recipe.system.read == "last"
    assert ten_minutes.recipe(toy=True, seed=3).train.seed == 3


def test_the_errors_are_those_of_the_recogniser(encoder_run, prepared_tones, tmp_path):
    few = ten_minutes.recipe(toy=True).override({"train.num_steps": 3})
    assert ten_minutes.train(encoder_run, [prepared_tones], into=tmp_path / "r", settings=few)
    found = ten_minutes.errors(tmp_path / "r", [prepared_tones])
    report = run.evaluate(ten_minutes.best(tmp_path / "r"), data=prepared_tones, split="test")
    assert found.value == report.cer.rate
    assert found.low <= found.value <= found.high
    for rate in (0.5, 0.1):
        made = hub.read(tmp_path / "r" / f"encoder_lr_{rate}").provenance["recipe"]
        assert made["init"] == str(encoder_run / hub.MODEL)
        assert made["system"]["encoder_lr_factor"] == rate


@pytest.mark.parametrize(("fast", "slow", "expected"), [(0.7, 0.8, "0.5"), (0.97, 0.7, "0.1"), (None, 0.9, "0.1")])
def test_the_rate_with_fewer_errors_on_dev_counts(tmp_path, fast, slow, expected):
    for rate, error in (("0.5", fast), ("0.1", slow)):
        home = tmp_path / f"encoder_lr_{rate}"
        home.mkdir()
        if error is None:
            continue  # diverged: no model
        (home / hub.MODEL).mkdir()
        rows = [{"kind": "evaluation", "step": 1, "dev_cer": 0.1}, {"kind": "evaluation", "step": 2, "dev_cer": error}]
        (home / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert ten_minutes.best(tmp_path) == tmp_path / f"encoder_lr_{expected}"


@pytest.mark.parametrize("diverging", [[0.5], [0.5, 0.1]])
def test_one_rate_at_which_training_diverges_is_no_harm(monkeypatch, prepared_tones, tmp_path, diverging):
    def trained(settings, **_):
        if settings.system.encoder_lr_factor in diverging:
            raise Diverged("too fast")
        return SimpleNamespace(finished=True)

    monkeypatch.setattr(run, "train", trained)
    settings = ten_minutes.recipe(toy=True)
    with pytest.raises(Diverged) if len(diverging) == 2 else nullcontext():
        assert ten_minutes.train("model", [prepared_tones], into=tmp_path / "r", settings=settings)


@pytest.mark.parametrize(("missing", "purpose"), [("test", "count errors in"), ("dev", "choose the learning rate by")])
def test_labels_without_a_part_are_refused_before_anything_is_trained(
    encoder_run, prepared_tones, tmp_path, missing, purpose
):
    kept = [one for one in read_manifest(prepared_tones) if one.split != missing]
    (tmp_path / "p").mkdir()
    write_manifest(tmp_path / "p", ((one, audio.info(one.path)) for one in kept))
    with pytest.raises(ValueError, match=f"of a split '{missing}' to {purpose}"):
        ten_minutes.train(encoder_run, [tmp_path / "p"], into=tmp_path / "r", settings=ten_minutes.recipe(toy=True))
    assert not (tmp_path / "r").exists()
