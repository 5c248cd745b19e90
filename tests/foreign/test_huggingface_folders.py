"""Tests that folders written by transformers are read completely, compute the same, and are written back bit-equal."""

import json
import logging

import pytest
import safetensors.torch
import torch
from torch import nn

from sori.checkpoints import store
from sori.checkpoints.formats import huggingface
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2
from sori.runs.tasks.pretraining import _pretrained

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.foreign

NARROW = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 192,
    "conv_dim": [64] * 7,
    "codevector_dim": 64,
    "proj_codevector_dim": 48,
    "num_codevectors_per_group": 40,
}
LAYOUTS = {
    "group": {**NARROW},
    "layer": {**NARROW, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
}
CLASSES = {
    "ForPreTraining": transformers.Wav2Vec2ForPreTraining,
    "Model": transformers.Wav2Vec2Model,
    "ForCTC": transformers.Wav2Vec2ForCTC,
}
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "'", "O"]
OTHER_TOKENS = ["a", "b", "ç", "|", "d", "e", "f", "g", "[UNK]", "[PAD]"]


def scrambled(model, seed=0):
    """Move all norms and biases away from 1 and 0."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.1)
            elif "norm" in name:
                value.uniform_(0.7, 1.3)
            elif "adapter" in name:
                value.normal_(std=0.3)
    return model.eval()


def tokenizer_in(folder, tokens=TOKENS, **special):
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json", **special).save_pretrained(folder)


def saved(tmp_path, layout="group", kind="ForPreTraining", *, normalize=None, tokens=TOKENS, blank=0, **changes):
    """Return a model of transformers and the folder that it wrote."""
    settings = {**LAYOUTS[layout], "vocab_size": len(tokens), "pad_token_id": blank, **changes}
    torch.manual_seed(0)
    theirs = scrambled(CLASSES[kind](transformers.Wav2Vec2Config(**settings)))
    folder = tmp_path / "theirs"
    theirs.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=layout == "layer" if normalize is None else normalize, return_attention_mask=layout == "layer"
    )
    extractor.save_pretrained(folder)
    if kind == "ForCTC":
        special = {} if tokens == TOKENS else {"pad_token": "[PAD]", "unk_token": "[UNK]"}
        tokenizer_in(folder, tokens, **special)
    return theirs, folder


def model_inputs(folder, lengths=(12_000, 9000)):
    """Return waveforms as input of our model, and as prepared by the folder's own feature extractor."""
    generator = torch.Generator().manual_seed(1)
    waveforms = [0.02 * torch.randn(n, generator=generator) + 0.01 for n in lengths]
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    batch = extractor([w.numpy() for w in waveforms], sampling_rate=16_000, padding=True, return_tensors="pt")
    return nn.utils.rnn.pad_sequence(waveforms, batch_first=True), torch.tensor(lengths), batch


def layers_of(theirs, values, mask):
    encoder = getattr(theirs, "wav2vec2", theirs)
    out = encoder(values, attention_mask=mask, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.last_hidden_state]


def assert_same_layers(ours, theirs, folder, *, lengths):
    waveform, numbers, batch = model_inputs(folder, lengths)
    with torch.no_grad():
        layers, frames = ours.encode(waveform, numbers)
        expected = layers_of(theirs, batch["input_values"], batch.get("attention_mask"))
    assert len(layers) == len(expected)
    for mine, other in zip(layers, expected, strict=True):
        for row, count in enumerate(frames.tolist()):
            torch.testing.assert_close(mine[row, :count], other[row, :count], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["ForPreTraining", "Model"])
@pytest.mark.parametrize("layout", ["group", "layer"])
def test_every_layer_of_an_encoder(layout, kind, tmp_path):
    theirs, folder = saved(tmp_path, layout, kind)
    ours = store.load(folder)
    assert isinstance(ours, Wav2Vec2)
    lengths = (12_000, 9000) if layout == "layer" else (12_000, 12_000)
    assert_same_layers(ours, theirs, folder, lengths=lengths)
    if kind == "ForPreTraining":
        last = torch.randn(2, 5, 96)
        torch.testing.assert_close(ours.project_context(last), theirs.project_hid(last), rtol=0, atol=1e-6)
        assert torch.equal(ours.quantizer.codebook.reshape(1, 80, 32), theirs.quantizer.codevectors)


@pytest.mark.parametrize(("tokens", "blank"), [(TOKENS, 0), (OTHER_TOKENS, 9)])
@pytest.mark.parametrize("layout", ["group", "layer"])
def test_logits_of_a_recogniser(layout, tokens, blank, tmp_path):
    theirs, folder = saved(tmp_path, layout, "ForCTC", tokens=tokens, blank=blank)
    ours = store.load(folder)
    assert isinstance(ours, Ctc)
    waveform, lengths, batch = model_inputs(folder, (12_000, 9000) if layout == "layer" else (12_000, 12_000))
    with torch.no_grad():
        logits = ours.logits(waveform, lengths)
        expected = theirs(batch["input_values"], attention_mask=batch.get("attention_mask")).logits
    order = [blank, *(i for i in range(len(tokens)) if i != blank)]
    for row, count in enumerate(logits.lengths.tolist()):
        torch.testing.assert_close(logits.data[row, :count], expected[row, :count, order], rtol=0, atol=1e-5)


def test_text_is_that_of_their_tokenizer(tmp_path):
    _, folder = saved(tmp_path, "group", "ForCTC", tokens=OTHER_TOKENS, blank=9)
    vocabulary = store.load(folder).vocabulary
    theirs = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder)
    ids = [0, 1, 3, 2, 4, 9, 9, 3, 5, 6]
    mine = [ids[i] for i in range(len(ids)) if ids[i] != 9 and (i == 0 or ids[i] != ids[i - 1])]
    order = [9, *range(9)]
    assert vocabulary.decode([order.index(i) for i in mine]) == theirs.decode(ids) == "ab çd ef"
    assert vocabulary.case == "lower"


@pytest.mark.parametrize("normalize", [True, False])
def test_quiet_speech_is_normalised_as_their_feature_extractor_does(normalize, tmp_path):
    theirs, folder = saved(tmp_path, "layer", "Model", normalize=normalize)
    ours = store.load(folder)
    waveform, _, _ = model_inputs(folder)
    soft = 0.01 * waveform[:1]
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    values = extractor(soft[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    with torch.no_grad():
        mine = ours.encode(soft, torch.tensor([12_000]))[0]
        for layer, expected in zip(mine, layers_of(theirs, values, None), strict=True):
            torch.testing.assert_close(layer, expected, rtol=0, atol=1e-5)


def tensors_in(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def back(folder, tmp_path, **options):
    """Read a folder, write it in our format, read it again, and write it for transformers."""
    stored = store.read(folder, **options)
    (tmp_path / "ours").mkdir()
    store.write(stored.model, tmp_path / "ours")
    (tmp_path / "back").mkdir()
    huggingface.write(store.read(tmp_path / "ours").model, tmp_path / "back")
    return tmp_path / "back"


def assert_equal_tensors(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
        assert one[name].dtype == other[name].dtype


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("layout", ["group", "layer"])
@pytest.mark.parametrize(("tokens", "blank"), [(TOKENS, 0), (OTHER_TOKENS, 9)])
def test_round_trip_is_bit_equal(layout, kind, tokens, blank, tmp_path):
    _, folder = saved(tmp_path, layout, kind, tokens=tokens, blank=blank)
    returned = back(folder, tmp_path)
    assert_equal_tensors(tensors_in(folder), tensors_in(returned))
    for name in ("config.json", "preprocessor_config.json", "vocab.json", "tokenizer_config.json"):
        if (folder / name).exists():
            assert json.loads((returned / name).read_text()) == json.loads((folder / name).read_text()), name


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("layout", ["group", "layer"])
def test_transformers_reads_what_we_write_without_a_warning(layout, kind, tmp_path, caplog):
    theirs, folder = saved(tmp_path, layout, kind)
    returned = back(folder, tmp_path)
    loaded, report = load_quietly(CLASSES[kind], returned, caplog)
    assert not any(report[key] for key in report), report
    assert_equal_tensors(dict(theirs.state_dict()), dict(loaded.state_dict()))


def load_quietly(kind, folder, caplog):
    """Call `from_pretrained`; fail on any message of a warning or worse."""
    log = logging.getLogger("transformers")
    log.propagate, before = True, log.propagate
    try:
        with caplog.at_level(logging.WARNING):
            loaded, report = kind.from_pretrained(folder, output_loading_info=True)
    finally:
        log.propagate = before
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return loaded.eval(), report


@pytest.mark.parametrize("size", ["base", "lv60k"])
def test_transformers_reads_a_recogniser_that_was_trained_here(size, tmp_path, caplog):
    from sori.models.ctc import CtcConfig
    from sori.recipes import sizes
    from sori.text.vocabulary import Vocabulary

    config = getattr(sizes, size)()
    front = config.front.model_copy(update={"dim": 64})
    changes = {"dim": 96, "num_layers": 2, "num_heads": 6, "ffn_dim": 192, "front": front}
    vocabulary = Vocabulary.fit(["hello world, it's me"])
    torch.manual_seed(0)
    ours = factory.build(CtcConfig(), encoder=config.model_copy(update=changes), vocabulary=vocabulary).eval()
    huggingface.write(store.model_of(ours), tmp_path)
    theirs, _ = load_quietly(transformers.Wav2Vec2ForCTC, tmp_path, caplog)
    waveform, lengths, batch = model_inputs(tmp_path, (9000, 9000))
    with torch.no_grad():
        expected = theirs(batch["input_values"]).logits
        logits = ours.logits(waveform, lengths).data
    # Their feature extractor adds 1e-7 to the variance, ours 1e-5: fairseq's.
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 if size == "base" else 0.05)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == len(vocabulary)
    ids = vocabulary.encode("hello world it's me")
    spread = [i for one in ids for i in (one, 0)]
    assert tokenizer.decode(spread) == "hello world it's me"


def old_names(tensors):
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    return {
        name.replace("parametrizations.weight.original0", renamed["original0"])
        .replace("parametrizations.weight.original1", renamed["original1"])
        .replace("masked_spec_embed", "mask_time_emb_vector"): tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("names", ["new names", "old names"])
@pytest.mark.parametrize("container", ["safetensors", "bin", "legacy bin", "sharded safetensors", "sharded bin"])
def test_every_container_and_both_generations_of_names(container, names, tmp_path):
    _, folder = saved(tmp_path, "layer", "ForPreTraining")
    tensors = tensors_in(folder)
    expected = store.read(folder).model.weights
    if names == "old names":
        tensors = old_names(tensors)
        assert any(name.endswith("weight_g") for name in tensors)
    (folder / "model.safetensors").unlink()
    if container.startswith("sharded"):
        keys = sorted(tensors)
        suffix = "safetensors" if container.endswith("safetensors") else "bin"
        stem = "model" if suffix == "safetensors" else "pytorch_model"
        weight_map = {}
        for part in range(2):
            name = f"{stem}-{part + 1:05}-of-00002.{suffix}"
            some = {key: tensors[key] for key in keys[part::2]}
            weight_map |= dict.fromkeys(some, name)
            write_tensors(some, folder / name)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    elif container == "safetensors":
        write_tensors(tensors, folder / "model.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=container == "bin")
    stored = store.read(folder)
    assert_equal_tensors(stored.model.weights, expected)
    assert {entry.source for entry in stored.certificate.tensors} == set(tensors)


def write_tensors(tensors, path):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)


def test_half_precision_is_widened_with_a_message(tmp_path):
    theirs, folder = saved(tmp_path, "layer", "Model")
    theirs.half().save_pretrained(folder)
    stored = store.read(folder)
    assert {tensor.dtype for tensor in stored.model.weights.values()} == {torch.float32}
    assert all("widened from float16" in entry.how for entry in stored.certificate.tensors)


def test_the_list_of_tensors_is_complete(tmp_path):
    theirs, folder = saved(tmp_path, "group", "ForPreTraining")
    stored = store.read(folder)
    account = stored.certificate.tensors
    assert sorted(entry.source for entry in account) == sorted(theirs.state_dict())
    assert {entry.target for entry in account} == set(stored.model.weights)
    assert {entry.how for entry in account} == {"as it is", "stacked", "reshaped"}
    assert stored.certificate.source_parameters == stored.certificate.target_parameters == theirs.num_parameters()
    ours = store.load(folder)
    assert sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()


def mms(tmp_path):
    """Return a recogniser with language adapters as in MMS: a main file, then an adapter and a vocabulary for each."""
    languages = {"eng": TOKENS, "ewe": ["<pad>", "<s>", "</s>", "<unk>", "|", "ɖ", "ƒ"]}
    theirs, folder = saved(tmp_path, "layer", "ForCTC", adapter_attn_dim=16)
    states = {}
    for seed, (language, tokens) in enumerate(languages.items()):
        theirs.lm_head = nn.Linear(96, len(tokens))
        scrambled(theirs, seed=seed + 5)
        adapter = {k: v.detach().clone() for k, v in theirs._get_adapters().items()}
        states[language] = adapter
        safetensors.torch.save_file(adapter, folder / f"adapter.{language}.safetensors", metadata={"format": "pt"})
    vocab = {language: {t: i for i, t in enumerate(tokens)} for language, tokens in languages.items()}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"target_lang": "eng"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder, states


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_language_adapter(tmp_path):
    folder, states = mms(tmp_path)
    ours = store.load(folder, language="ewe")
    assert ours.vocabulary.symbols[-2:] == ("ɖ", "ƒ")
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(folder, target_lang="ewe", ignore_mismatched_sizes=True).eval()
    waveform, lengths, batch = model_inputs(folder, (9000, 9000))
    with torch.no_grad():
        expected = theirs(batch["input_values"]).logits
        torch.testing.assert_close(ours.logits(waveform, lengths).data, expected, rtol=0, atol=1e-5)
        english = store.load(folder)  # the tokenizer's own choice
        assert english.logits(waveform, lengths).data.shape[-1] == len(TOKENS)
    returned = tensors_in(back(folder, tmp_path, language="ewe"))
    for name, tensor in states["ewe"].items():
        assert torch.equal(returned[name], tensor), name
    vocab = json.loads((tmp_path / "back" / "vocab.json").read_text())
    tokens = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    assert tokens["target_lang"] == "ewe"
    assert "ewe" in vocab
    again = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "back", target_lang="ewe").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(batch["input_values"]).logits, expected, rtol=0, atol=0)


def test_languages_are_named_when_the_wanted_one_is_missing(tmp_path):
    folder, _ = mms(tmp_path)
    with pytest.raises(ValueError, match=r"no adapter for 'xxx'.*eng, ewe"):
        store.read(folder, language="xxx")
    _, plain = saved(tmp_path / "plain", "layer", "ForCTC")
    with pytest.raises(ValueError, match="no language adapters"):
        store.read(plain, language="ewe")


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "hubert"}, "model_type 'hubert'"),
        ({"architectures": ["Wav2Vec2ForSequenceClassification"]}, "Wav2Vec2ForSequenceClassification"),
        ({"add_adapter": True}, "add_adapter is True"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"conv_dim": [64] * 6 + [32]}, "same number of channels"),
        ({"num_hidden_layers": 4}, r"missing: wav2vec2.encoder.layers.3.attention.k_proj.bias"),
        ({"num_hidden_layers": 2}, r"not accounted for: wav2vec2.encoder.layers.2.attention.k_proj.bias"),
    ],
)
def test_a_model_that_is_something_else_is_refused(changes, message, tmp_path):
    _, folder = saved(tmp_path, "group", "ForPreTraining")
    edit(folder, "config.json", **changes)
    with pytest.raises(ValueError, match=message):
        store.read(folder)


def test_wrong_rates_vocabularies_and_damaged_files_are_named(tmp_path):
    _, folder = saved(tmp_path, "group", "ForCTC")
    edit(folder, "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(ValueError, match="8000 Hz"):
        store.read(folder)
    edit(folder, "preprocessor_config.json", sampling_rate=16_000)
    good = (folder / "vocab.json").read_text()
    edit(folder, "vocab.json", ä=10)
    with pytest.raises(ValueError, match=r"10 classes, the file has 11 tokens"):
        store.read(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(ValueError, match=r"no vocab.json"):
        store.read(folder)
    (folder / "vocab.json").write_text(good)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model.safetensors is damaged"):
        store.read(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights"):
        store.read(folder)


def test_a_part_outside_the_folder_is_refused(tmp_path):
    _, folder = saved(tmp_path, "group", "Model")
    (folder / "model.safetensors").rename(tmp_path / "evil.safetensors")
    index = {"weight_map": dict.fromkeys(tensors_in_file(tmp_path / "evil.safetensors"), "../evil.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="does not exist"):
        store.read(folder)


def tensors_in_file(path):
    return safetensors.torch.load_file(path)


def test_a_recogniser_grows_a_new_quantiser_on_request_only(tmp_path):
    _, folder = saved(tmp_path, "group", "ForCTC")
    encoder = store.load(folder).encoder.config
    system = Wav2Vec2(encoder)
    with pytest.raises(ValueError, match=r"without the quantiser.*--grow-quantizer true"):
        _pretrained(str(folder), system, grow=False)
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    factory.copy_weights(_pretrained(str(folder), system, grow=True), system, origin="test")
    assert torch.equal(system.quantizer.codebook, before["quantizer.codebook"])
    assert torch.equal(system.projection.weight, store.load(folder).encoder.projection.weight)
    assert not torch.equal(system.projection.weight, before["projection.weight"])
