"""Tests of classifiers of texts and words over BERT: gradient, padding, labels, and training from tables."""

import json
import math

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.batch import TokenBatch
from sori.core.seeds import Rng
from sori.inference import masked_lm
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.runs import run
from sori.text.wordpiece import SPECIAL, WordPiece

COLOURS, ANIMALS = ["red", "green", "blue"], ["dog", "cat", "cow"]
WORDPIECE = WordPiece([*SPECIAL, *COLOURS, *ANIMALS, "the", "is", "##s", "."])
CONFIG = BertConfig(
    num_tokens=len(WORDPIECE), pad=0, cls=2, sep=3, mask=4, num_layers=1, dim=32, num_heads=2, ffn_dim=64,
    num_positions=16, init="waves", dropout=0.0, attention_dropout=0.0,
)  # fmt: skip


def small(read):
    below = Bert(CONFIG)
    below.drop_absent({"pooler"} if read == "text" else set())
    return Classifier(ClassifierConfig(read=read, classes=("a", "b", "c"), dropout=0.0), below)


def batch(read):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, len(WORDPIECE), (4, 9), generator=generator)
    lengths = torch.tensor([9, 5, 7, 3])
    real = torch.arange(9) < lengths[:, None]
    labels = torch.randint(3, (4, 9 if read == "words" else 1), generator=generator)
    if read == "words":
        labels = labels.masked_fill(~real | (torch.arange(9) % 2 == 0), -1)
    return TokenBatch(ids.masked_fill(~real, 0), torch.zeros_like(ids), lengths, labels)


@pytest.mark.parametrize("read", ["text", "words"])
def test_cutting_a_batch_does_not_change_the_gradient(read):
    system, whole = small(read), batch(read)

    def gradient(parts):
        system.zero_grad()
        found = [system.loss(part, step=0, rng=Rng(0)) for part in parts]
        (sum(one.total for one in found) / sum(one.count for one in found)).backward()
        return torch.cat([p.grad.flatten() for p in system.parameters()])

    halves = [TokenBatch(*(x[rows] for x in whole)) for rows in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(gradient(halves), gradient([whole]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("read", ["text", "words"])
def test_only_labelled_tokens_count_and_equal_logits_are_chance(read):
    system, given = small(read), batch(read)
    torch.nn.init.zeros_(system.head.weight)
    found = system.loss(given, step=0, rng=Rng(0))
    assert int(found.count) == int((given.labels >= 0).sum())
    assert float(found.total.detach() / found.count) == pytest.approx(math.log(3))
    assert float(found.terms["chance"] / found.count) == pytest.approx(math.log(3))


def test_at_least_two_classes():
    with pytest.raises(ValueError, match="at least two classes"):
        Classifier(ClassifierConfig(classes=("one",)), Bert(CONFIG))


@pytest.fixture
def started(tmp_path):
    """Return a randomly initialised BERT, with weights as large as after training."""
    torch.manual_seed(0)
    bert = Bert(CONFIG)
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    bert.wordpiece = WORDPIECE
    store.save(bert, tmp_path / "bert")
    return tmp_path / "bert"


def quick(name):
    return recipes.by_name(name).override(
        {"train.num_steps": 300, "optim.lr": 5e-3, "labelled.batch_size": 8, "train.precision": "float32"}
    )


def test_classes_of_texts_are_learnt(started, tmp_path, call):
    rows = [(f"the {a} is {c} .", c) for _ in range(20) for a in ANIMALS for c in COLOURS]
    table = tmp_path / "colours.tsv"
    table.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    run.train(quick("bert_classify"), into=tmp_path / "run", data=table, init=started)
    code, out, _ = call("classify", tmp_path / "run", "the cow is green", "the dogs is red .")
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["green", "red"]
    code, out, _ = call("classify", tmp_path / "run", "--data", table)
    assert out.startswith("accuracy 100.0%")
    assert "on 18 texts" in out


def test_classes_of_words_are_learnt(started, tmp_path):
    rows = []
    for number in range(180):
        words = ["the", ANIMALS[number % 3] + "s" * (number % 2), "is", COLOURS[number % 7 % 3]]
        rows.append(
            {"tokens": words, "labels": ["O", "B-ANIMAL", "O", "B-COLOUR"], "split": "dev" if number < 20 else "train"}
        )
    table = tmp_path / "words.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.train(quick("bert_tag"), into=tmp_path / "run", data=table, init=started)
    (predictions,) = masked_lm.classify(tmp_path / "run", ["blue dogs is the red"])
    assert [one.what for one in predictions] == ["blue", "dogs", "is", "the", "red"]
    assert [one.name for one in predictions][1:4] == ["B-ANIMAL", "O", "O"]
    found = masked_lm.measure(tmp_path / "run", [table])
    assert found.num_texts == 20
    assert found.accuracy.value == 1
    assert found.spans.value == 1
    assert not hasattr(store.load(tmp_path / "run").encoder, "pooler")


def test_a_classifier_needs_a_bert(tmp_path):
    (tmp_path / "t.tsv").write_text("text\tlabel\na\tb\n" * 20)
    with pytest.raises(ValueError, match="starts from a pre-trained BERT"):
        run.train(recipes.by_name("bert_classify"), into=tmp_path / "run", data=tmp_path / "t.tsv")


def test_other_models_do_not_classify(started):
    with pytest.raises(ValueError, match="expected a classifier of texts, got a bert"):
        masked_lm.classify(started, ["the dog"])
