"""Tests of the properties of `test_systems.py` for text models."""

import os
import signal

import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.batch import TokenBatch
from sori.core.seeds import Rng
from sori.models.bert import RandomDraws
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.training.metrics import Reporter, read_metrics

WORDS = ["The dog chases the cat.", "The sun is yellow today.", "My blue car stands here.", "We eat fresh bread."]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Return text for pre-training and a table for fine-tuning, in one folder."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [WORDS[(3 * number + number // 5) % 4] for number in range(300)]
    (folder / "text.txt").write_text("\n".join(lines[:150]) + "\n\n" + "\n".join(lines[150:]), encoding="utf-8")
    table = "".join(f"{line}\t{len(line) % 3}\n" for line in lines)
    (folder / "table.tsv").write_text("text\tlabel\n" + table, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def start(texts, tmp_path_factory):
    """Return a BERT after two updates."""
    folder = tmp_path_factory.mktemp("start")
    short_run("bert", texts, folder / "run", None, **{"train.num_steps": 2})
    return folder / "run"


def short_run(name, texts, into, init, **changes):
    few = {"train.num_steps": 6, "train.log_every": 2, "train.precision": "float32", **changes}
    recipe = recipes.by_name("bert_smoke" if name == "bert" else "bert_classify").override(few)
    data = texts / ("text.txt" if name == "bert" else "table.tsv")
    run.train(recipe, into=into, data=data, init=None if name == "bert" else init)
    return store.load(into).state_dict() if (into / "model").exists() else None


@pytest.mark.parametrize("name", ["bert", "classifier"])
def test_the_seed_decides_everything_and_an_interruption_nothing(name, texts, start, tmp_path, monkeypatch):
    whole = short_run(name, texts, tmp_path / "whole", start)
    other = short_run(name, texts, tmp_path / "other", start, **{"train.seed": 1})
    assert any(not torch.equal(whole[key], other[key]) for key in whole)
    tick = Reporter.tick

    def interrupt_after_three(self, step):
        tick(self, step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Reporter, "tick", interrupt_after_three)
    assert short_run(name, texts, tmp_path / "parts", start) is None
    monkeypatch.undo()
    parts = short_run(name, texts, tmp_path / "parts", start)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    losses = [[row.get("loss") for row in read_metrics(tmp_path / f / "metrics.jsonl")] for f in ("whole", "parts")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["bert_smoke", "bert_base", "bert_classify", "bert_tag"])
def test_configuration_survives_yaml(name, tmp_path):
    recipe = recipes.by_name(name)
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert Recipe.from_yaml(tmp_path / "r.yaml") == recipe


def test_saved_and_loaded_it_computes_the_same(start, tmp_path):
    bert = store.load(start)
    store.save(bert, tmp_path / "again")
    again = store.load(tmp_path / "again")
    assert again.wordpiece.tokens == bert.wordpiece.tokens
    ids = torch.arange(10)[None] + 5
    with torch.no_grad():
        one, other = (m.context(ids, torch.zeros_like(ids), torch.tensor([10]))[-1] for m in (bert, again))
    assert torch.equal(one, other)


def test_another_text_is_refused(texts, start, tmp_path):
    del start
    short_run("bert", texts, tmp_path / "run", None)
    (tmp_path / "other.txt").write_text("Something else. Altogether different.\n" * 40, encoding="utf-8")
    recipe = recipes.by_name("bert_smoke").override(
        {"train.num_steps": 6, "train.log_every": 2, "train.precision": "float32"}
    )
    with pytest.raises(ValueError, match=r"other settings|started on"):
        run.train(recipe, into=tmp_path / "run", data=tmp_path / "other.txt")


def test_training_continues_from_a_model_with_its_vocabulary(texts, start, tmp_path):
    recipe = recipes.by_name("bert_smoke").override({"train.num_steps": 2, "optim.lr": 0.0})
    run.train(recipe, into=tmp_path / "run", data=texts / "text.txt", init=start)
    one, other = (store.load(folder) for folder in (start, tmp_path / "run"))
    assert one.wordpiece.tokens == other.wordpiece.tokens
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_draws_depend_on_step_and_part(start):
    bert = store.load(start)
    ids = torch.randint(5, 30, (4, 12))
    batch = TokenBatch(ids, torch.zeros_like(ids), torch.full((4,), 12), torch.zeros(4, 1).long())
    one, again, other = (bert.draw(batch, Rng(0, *key), torch.device("cpu")) for key in ((1, 0), (1, 0), (1, 1)))
    assert isinstance(one, RandomDraws)
    assert torch.equal(one.ids, again.ids)
    assert not torch.equal(one.hidden, other.hidden)
