"""JSON files of transformers: every wrong type ends in a message that names file and field."""

import copy
import json
import shutil

import pytest
from tests.checkpoints.formats.small_models import bert, edit, of_transformers, recogniser

from sori.checkpoints import store
from sori.checkpoints.formats import reference_output
from sori.core.foreign_values import shown

VALUES = (None, "x", -1, 0, 1.5, [], {}, True, [None], ["x"], {"x": 1}, 1e300, "\0", [[1]], 7, -1.0, [0], 10**30)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return of_transformers(recogniser(folder / "ours"), folder / "theirs")


@pytest.fixture(scope="module")
def their_bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return of_transformers(bert(folder / "ours"), folder / "theirs")


def places(content, at=()):
    """Return the path of every value of a JSON file (of the first two of a list)."""
    yield at
    if isinstance(content, dict):
        for name, value in content.items():
            yield from places(value, (*at, name))
    elif isinstance(content, list):
        for number, value in enumerate(content[:2]):
            yield from places(value, (*at, number))


def changed(content, at, value):
    """Return JSON data with one value replaced, or removed (...)."""
    if not at:
        return value
    content = copy.deepcopy(content)
    inner = content
    for step in at[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return content


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_any_value_loads_or_ends_in_a_message(theirs, name, tmp_path):
    _check_all(theirs, name, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_any_value_of_a_bert_loads_or_ends_in_a_message(their_bert, name, tmp_path):
    _check_all(their_bert, name, tmp_path)


def _load(folder):
    """Load a model; return the message if it is refused."""
    try:
        store.load(folder)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None


def _check_all(source, name, tmp_path):
    folder = shutil.copytree(source, tmp_path / "m")
    good = json.loads((source / name).read_text())
    read = 0
    for number, at in enumerate(places(good)):
        for value in (VALUES[number % len(VALUES)], VALUES[(5 * number + 1) % len(VALUES)], *([...] if at else [])):
            (folder / name).write_text(json.dumps(changed(good, at, value)))
            message = _load(folder)
            read += message is None
            if message is not None:
                assert str(folder) in message, (at, value)
                assert len(message) < 20_000
    assert read or name == "vocab.json"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"hidden_size": "768"}, r"config\.json.*\n  hidden_size: expected a valid integer, got '768'"),
        ("config.json", {"hidden_dropout": True}, r"hidden_dropout: expected a valid number, got True"),
        ("config.json", {"conv_kernel": [10, "3"]}, r"conv_kernel\.1: expected a valid integer, got '3'"),
        ("config.json", {"conv_stride": [5, 2]}, "as many values in conv_dim, conv_stride and conv_kernel"),
        ("config.json", {"num_attention_heads": 5}, "multiple of the numbers of heads"),
        ("config.json", {"architectures": "Wav2Vec2ForCTC"}, "architectures: expected a valid list"),
        ("config.json", {"pad_token_id": 99}, "expected class 99 to be the blank"),
        ("preprocessor_config.json", {"do_normalize": "no"}, r"preprocessor_config\.json.*\n  do_normalize: "),
        ("vocab.json", {"a": None}, r"vocab\.json.*\n  a: expected a valid integer, got None"),
        ("tokenizer_config.json", {"pad_token": 5}, r"tokenizer_config\.json.*\n  pad_token"),
        ("special_tokens_map.json", {"pad_token": {"content": 5}}, r"special_tokens_map\.json.*\n  pad_token"),
        ("added_tokens.json", {"x": "5"}, r"added_tokens\.json.*\n  x: expected a valid integer, got '5'"),
        ("processor_config.json", {"feature_extractor": [1]}, r"processor_config\.json.*\n  feature_extractor"),
        ("model.safetensors.index.json", {"weight_map": 5}, r"index\.json.*\n  weight_map: "),
    ],
)
def test_a_wrong_type_names_file_and_field(theirs, name, changes, message, tmp_path):
    folder = shutil.copytree(theirs, tmp_path / "m")
    edit(folder / name, **changes)
    if "index" in name:
        (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        store.load(folder)


def test_values_are_shown_short_and_on_one_line():
    deep = []
    for _ in range(10_000):
        deep = [deep, deep]
    for value in ("\x1b[2K\r", "x" * 10**6, deep, {"a": deep}, 10**5000, [10**5000]):
        assert shown(value).isprintable()
        assert len(shown(value)) < 200


# What the files of newer versions mean


def test_a_processor_of_transformers_5_is_read_first(theirs, tmp_path):
    folder = shutil.copytree(theirs, tmp_path / "m")
    edit(folder / "preprocessor_config.json", do_normalize=True)
    assert store.read(folder).model.encoder.front.normalize
    edit(folder / "processor_config.json", processor_class="Wav2Vec2Processor")
    assert store.read(folder).model.encoder.front.normalize  # older ones have no settings of the feature extractor
    edit(folder / "processor_config.json", feature_extractor={"do_normalize": False, "sampling_rate": 16_000})
    assert not store.read(folder).model.encoder.front.normalize
    (folder / "preprocessor_config.json").unlink()
    assert not store.read(folder).model.encoder.front.normalize
    back = of_transformers(folder, tmp_path / "back")
    assert json.loads((back / "preprocessor_config.json").read_text())["do_normalize"] is False
    edit(folder / "processor_config.json", feature_extractor={"sampling_rate": 8000})
    with pytest.raises(ValueError, match="8000 Hz"):
        store.read(folder)


@pytest.mark.parametrize("where", ["added_tokens.json", "tokenizer_config.json"])
def test_tokens_beyond_the_vocabulary(theirs, where, tmp_path):
    folder = shutil.copytree(theirs, tmp_path / "m")
    vocab = json.loads((folder / "vocab.json").read_text())
    last = max(vocab, key=vocab.get)
    edit(folder / "vocab.json", **{last: ...})
    with pytest.raises(ValueError, match="does not match the model"):
        store.read(folder)
    token = {"content": last, "special": False}
    added = {last: vocab[last], "<more>": 99}
    if where == "tokenizer_config.json":
        added = {"added_tokens_decoder": {str(vocab[last]): token, "99": {"content": "<more>"}}}
    edit(folder / where, **added)
    stored = store.read(folder)
    assert stored.model.vocabulary == store.read(theirs).model.vocabulary
    assert any("<more>" in note for note in stored.certificate.notes)


def test_without_a_class_the_blank_is_the_pad_token(theirs, tmp_path):
    folder = shutil.copytree(theirs, tmp_path / "m")
    vocab = json.loads((folder / "vocab.json").read_text())
    assert vocab["<pad>"] == 0
    edit(folder / "vocab.json", **{"<pad>": vocab["e"], "e": 0})
    edit(folder / "config.json", pad_token_id=None)
    stored = store.read(folder)
    assert stored.model.origin.order[0] == vocab["e"]
    assert any("pad token" in note for note in stored.certificate.notes)
    edit(folder / "tokenizer_config.json", pad_token="[none]")  # noqa: S106 - a token of text
    edit(folder / "special_tokens_map.json", pad_token=...)
    with pytest.raises(ValueError, match="expected the class of the CTC blank, got null"):
        store.read(folder)


def test_the_reference_output_names_no_class_of_the_folder(theirs, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = shutil.copytree(theirs, tmp_path / "m")
    model = store.read(folder).model
    evil = model.origin.model_copy(update={"config": {**model.origin.config, "architectures": ["AutoModel"]}})
    called = []
    original = transformers.AutoModel.from_pretrained
    transformers.AutoModel.from_pretrained = lambda *_, **__: called.append(1)
    try:
        reference_output.compute_with_transformers(folder, model._replace(origin=evil), language=None)
    finally:
        transformers.AutoModel.from_pretrained = original
    assert not called
