"""Tests of BERT against transformers: the same weights give the same values; round trips of folders."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from sori.checkpoints import store
from sori.checkpoints.convert import convert
from sori.checkpoints.formats import hf_bert
from sori.checkpoints.formats.hf_schemas import BertFields
from sori.core.batch import TokenBatch
from sori.models.bert import RandomDraws
from sori.text.wordpiece import SPECIAL

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.foreign

WORDS = ["the", "dog", "##s", "bark", "##ed", "a", "b", "c", "##c", "é", "e", "한", "##국", "!", "?"]
TOKENS = [*SPECIAL, *WORDS]


def settings(**changes):
    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    return transformers.BertConfig(vocab_size=len(TOKENS), **small, max_position_embeddings=24, **changes)


def saved(folder, kind="BertForPreTraining", **changes):
    """Return a random model of transformers, with weights far from 0, and its folder."""
    torch.manual_seed(1)
    model = getattr(transformers, kind)(settings(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return model


@pytest.fixture
def batch():
    torch.manual_seed(2)
    ids = torch.randint(len(SPECIAL), len(TOKENS), (4, 20))
    lengths = torch.tensor([20, 13, 20, 9])
    parts = (torch.arange(20) > 6).long().expand(4, -1) * (torch.arange(20) < lengths[:, None])
    ids = ids.masked_fill(torch.arange(20) >= lengths[:, None], 0)
    return TokenBatch(ids, parts, lengths, torch.tensor([[0], [1], [1], [0]]))


def theirs(model, batch, **more):
    attention = (torch.arange(batch.ids.shape[1]) < batch.lengths[:, None]).long()
    return model(input_ids=batch.ids, token_type_ids=batch.parts, attention_mask=attention, **more)


@pytest.mark.parametrize("act", ["gelu", "gelu_new"])
def test_every_layer_and_both_heads_equal_those_of_transformers(act, batch, tmp_path):
    model = saved(tmp_path, hidden_act=act)
    ours = store.load(tmp_path)
    real = torch.arange(20) < batch.lengths[:, None]
    with torch.no_grad():
        expected = theirs(model, batch, output_hidden_states=True)
        layers = ours.context(batch.ids, batch.parts, batch.lengths)
    assert len(layers) == len(expected.hidden_states) == 4
    for mine, other in zip(layers, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine[real], other[real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.scores(layers[-1])[real], expected.prediction_logits[real], rtol=1e-4, atol=1e-5)
    pooled = ours.next_sentence(ours.pooled(layers[-1]))
    torch.testing.assert_close(pooled, expected.seq_relationship_logits, rtol=1e-5, atol=1e-5)


def test_the_two_gelus_differ(batch, tmp_path):
    saved(tmp_path, hidden_act="gelu")
    exact = store.load(tmp_path)
    approximate = store.Bert(exact.config.model_copy(update={"gelu": "tanh"})).eval()
    approximate.load_state_dict(exact.state_dict())
    with torch.no_grad():
        one, other = (m.context(batch.ids, batch.parts, batch.lengths)[-1] for m in (exact, approximate))
    assert 1e-6 < float((one - other).abs().max()) < 1e-2


def test_losses_and_gradients_equal_those_of_transformers(batch, tmp_path):
    model = saved(tmp_path)
    ours = store.load(tmp_path)
    ids = batch.ids.clamp(min=len(SPECIAL))  # in transformers the input embedding of [PAD] has no gradient
    even = batch._replace(ids=ids, lengths=torch.full((4,), 20))
    hidden = torch.zeros(4, 20, dtype=torch.bool)
    hidden[:, [3, 8, 17]] = True  # the same number in each text: the loss is then exactly the paper's
    seen = even.ids.masked_fill(hidden, ours.config.mask)
    labels = even.ids.masked_fill(~hidden, -100)
    expected = theirs(model, even._replace(ids=seen), labels=labels, next_sentence_label=even.labels[:, 0])
    expected.loss.backward()
    found = ours.objective(even, RandomDraws(seen, hidden))
    (found.total / found.count).backward()
    torch.testing.assert_close(found.total / found.count, expected.loss, rtol=1e-5, atol=1e-5)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    mine = {name: p.grad for name, p in ours.named_parameters()}
    prefix = "bert."
    for row in hf_bert.rows(ours.config, ("pooler", "predictor", "next_sentence"), prefix=prefix):
        other = torch.cat([gradients[name] for name in row.theirs])
        torch.testing.assert_close(mine[row.ours], other, rtol=1e-4, atol=1e-5)


def test_the_pairs_are_weighted_by_masked_tokens(batch, tmp_path):
    saved(tmp_path)
    ours = store.load(tmp_path)
    hidden = torch.zeros(4, 20, dtype=torch.bool)
    hidden[:, 3], hidden[0, 5] = True, True
    with torch.no_grad():
        found = ours.objective(batch, RandomDraws(batch.ids, hidden))
        last = ours.context(batch.ids, batch.parts, batch.lengths)[-1]
        each = functional.cross_entropy(ours.next_sentence(ours.pooled(last)), batch.labels[:, 0], reduction="none")
        mlm = functional.cross_entropy(ours.scores(last)[hidden], batch.ids[hidden], reduction="mean")
    wanted = mlm + (2 * each[0] + each[1] + each[2] + each[3]) / 5
    torch.testing.assert_close(found.total / found.count, wanted, rtol=1e-5, atol=1e-5)


KINDS = {
    "BertForPreTraining": {"pooler", "predictor", "next_sentence"},
    "BertForMaskedLM": {"predictor"},
    "BertModel": {"pooler"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_of_folders(kind, batch, tmp_path):
    model = saved(tmp_path / "theirs", kind)
    ours = store.load(tmp_path / "theirs")
    assert {p for p in ("pooler", "predictor", "next_sentence") if hasattr(ours, p)} == KINDS[kind]
    store.save(ours, tmp_path / "ours")
    certificate = convert(tmp_path / "ours", tmp_path / "again", to="huggingface")
    assert "every one accounted for" in certificate.table()
    back = getattr(transformers, kind).from_pretrained(tmp_path / "again").eval()
    with torch.no_grad():
        expected, found = (theirs(m, batch, output_hidden_states=True).hidden_states for m in (model, back))
    real = torch.arange(20) < batch.lengths[:, None]
    assert torch.equal(expected[-1][real], found[-1][real])
    tensors = dict(model.named_parameters())
    assert all(torch.equal(parameter, tensors[name]) for name, parameter in back.named_parameters())


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_round_trip_of_classifiers(kind, batch, tmp_path):
    model = saved(tmp_path / "theirs", kind, id2label={0: "bad", 1: "good", 2: "so so"})
    ours = store.load(tmp_path / "theirs")
    assert ours.config.classes == ("bad", "good", "so so")
    with torch.no_grad():
        expected, found = theirs(model, batch).logits, ours.logits(batch)
    real = torch.arange(20) < batch.lengths[:, None]
    if kind == "BertForTokenClassification":
        torch.testing.assert_close(found[real], expected[real], rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(found[:, 0], expected, rtol=1e-5, atol=1e-5)
    convert(tmp_path / "theirs", tmp_path / "again", to="huggingface")
    back = getattr(transformers, kind).from_pretrained(tmp_path / "again").eval()
    assert back.config.id2label == {0: "bad", 1: "good", 2: "so so"}
    with torch.no_grad():
        torch.testing.assert_close(theirs(back, batch).logits[:, 0], expected[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize("compose", [False, True])
@pytest.mark.parametrize("case", ["lower", "keep"])
def test_transformers_tokenises_words_as_we_do(case, compose, tmp_path):
    saved(tmp_path / "theirs")
    ours = store.load(tmp_path / "theirs")
    spelling = ours.wordpiece.spelling
    assert (spelling.case, spelling.accents, spelling.compose) == ("lower", "strip", False)
    other = spelling.model_copy(update={"case": case, "compose": compose})
    ours.wordpiece = type(ours.wordpiece)(ours.wordpiece.tokens, other)
    store.save(ours, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "again", to="huggingface")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    assert store.load(tmp_path / "again").wordpiece.spelling == other
    for text in ("The dogs barked!", "é E\u0301 cc 한국?", "the [MASK] 한 zzz"):
        (expected,) = ours.wordpiece.encode([text])
        assert tokenizer(text)["input_ids"] == [ours.wordpiece.cls, *expected, ours.wordpiece.sep]


def test_the_original_names_are_read(batch, tmp_path):
    model = saved(tmp_path / "theirs", hidden_act="gelu_new")
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    (tmp_path / "original").mkdir()
    arrays = {}
    for name, array in state.items():
        if name.startswith("cls.predictions.decoder"):
            continue
        parts = name.replace("encoder.layer.", "encoder.layer_").split(".")
        if "LayerNorm" in parts:
            parts[-1] = {"weight": "gamma", "bias": "beta"}[parts[-1]]
        elif parts[-2].endswith("_embeddings"):
            parts.pop()
        elif parts[-2] == "seq_relationship":
            parts[-1] = {"weight": "output_weights", "bias": "output_bias"}[parts[-1]]
        elif parts[-2] == "predictions":
            parts[-1] = "output_bias"
        elif parts[-1] == "weight":
            parts[-1] = "kernel"
        arrays["/".join(parts)] = array.T if parts[-1] == "kernel" else array
    arrays["global_step"] = np.array(7)
    arrays["bert/pooler/dense/kernel/adam_m"] = arrays["bert/pooler/dense/kernel"]
    np.savez(tmp_path / "original" / "bert_model.npz", **arrays)
    config = {k: v for k, v in settings().to_dict().items() if k in BertFields.model_fields and k != "layer_norm_eps"}
    (tmp_path / "original" / "bert_config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    (tmp_path / "original" / "vocab.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    ours = store.load(tmp_path / "original" / "bert_model.npz")
    with torch.no_grad():
        expected = theirs(model, batch)
        last = ours.context(batch.ids, batch.parts, batch.lengths)[-1]
        torch.testing.assert_close(
            ours.next_sentence(ours.pooled(last)), expected.seq_relationship_logits, rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(ours.scores(last[:, 0]), expected.prediction_logits[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"is_decoder": True}, "decoder"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"vocab_size": 21}, "word_embeddings.weight should be \\(21, 32\\), got \\(20, 32\\)"),
    ],
)
def test_what_would_compute_something_else_is_refused(changes, message, tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(ValueError, match=message):
        store.load(tmp_path)


def test_an_output_matrix_of_its_own_is_refused(tmp_path):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"] + 1
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="separate output matrix"):
        store.load(tmp_path)


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ValueError, match=r"tokenizer\.json nor vocab\.txt"):
        store.load(tmp_path)
