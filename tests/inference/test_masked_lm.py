"""Masked words are predicted by a trained model; unusable texts and models are refused."""

import pytest

from sori import recipes
from sori.checkpoints import store
from sori.inference import masked_lm
from sori.runs import run
from sori.training.metrics import read_metrics

SENTENCES = ["The dog chases the cat.", "The sun is yellow today.", "My blue car stands here.", "We eat fresh bread."]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of `bert_smoke` on four sentences, repeated many times."""
    folder = tmp_path_factory.mktemp("bert")
    lines = [SENTENCES[(3 * number + number // 5) % 4] for number in range(1200)]
    text = "".join(line + ("\n\n" if number % 12 == 11 else "\n") for number, line in enumerate(lines))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    run.train(recipes.by_name("bert_smoke"), into=folder / "run", data=folder / "text.txt")
    return folder / "run"


def test_masked_words_are_predicted(trained, call):
    code, out, _ = call("fill", trained, "[MASK] eat fresh [MASK].", "--number", "2")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert (rows[0][2], rows[2][2]) == ("we", "bread")
    assert float(rows[0][1]) > 0.2 > float(rows[1][1])


def test_held_out_loss_is_below_the_unigram_baseline(trained):
    last = [row for row in read_metrics(trained / "metrics.jsonl") if row["kind"] == "evaluation"][-1]
    assert last["held_out_mlm"] < 0.45 * last["held_out_unigram"]
    assert last["held_out_correct"] > 0.5


def test_probabilities_sum_to_one(trained):
    (found,) = masked_lm.fill(trained, "We [MASK] fresh bread.", number=10_000)
    assert sum(one.probability for one in found) == pytest.approx(1, abs=1e-4)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)


@pytest.mark.parametrize(("text", "message"), [("No mask.", r"\[MASK\]"), ("[MASK] " * 100, "at most 64 tokens")])
def test_unusable_texts_are_refused(trained, text, message):
    with pytest.raises(ValueError, match=message):
        masked_lm.fill(trained, text)


def test_models_without_the_head_are_refused(trained):
    bert = store.load(trained)
    bert.drop_absent({"pooler"})
    with pytest.raises(ValueError, match="without that head"):
        masked_lm.fill(bert, "The [MASK].")


def test_text_models_refuse_audio(trained, call):
    code, _, err = call("embed", trained, "speech.wav", "--into", "there")
    assert code == 1
    assert "does not process audio" in err
