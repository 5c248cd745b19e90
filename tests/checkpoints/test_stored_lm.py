"""The language model in a recogniser's folder."""

import gzip
import json

import pytest

from sori.checkpoints import convert, store, stored_lm
from sori.checkpoints.stored_lm import LmSettings, LmSources, LmTuning, StoredLm
from sori.evaluation import stored_decoder
from sori.lm import kneser_ney
from sori.lm.fusion import FusionConfig
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.recipes import sizes
from sori.recipes.smoke import ctc_smoke, wav2vec2_smoke
from sori.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.fit(["some few letters"])
FILES = ["config.json", "lm.arpa.gz", "lm.json", "vocabulary.json", "weights.safetensors"]


def recogniser():
    return factory.build(ctc_smoke().system, encoder=sizes.smoke(), vocabulary=VOCABULARY)


@pytest.fixture
def stored(tmp_path) -> StoredLm:
    """A language model in a folder of its own."""
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "text.txt").write_text("some few letters\nfew letters some\n")
    kneser_ney.build([folder / "text.txt"], order=2, into=folder / "lm.arpa.gz", vocabulary=VOCABULARY)
    settings = LmSettings(
        used=True,
        reason="because",
        fusion=FusionConfig(unknown_score=2.0),
        beam_size=20,
        arpa_digest=stored_lm.arpa_digest(folder / "lm.arpa.gz"),
        sources=LmSources(transcripts=2, texts=("text.txt",), sentences=2, words=6, distinct_words=3),
        tuning=LmTuning(split="dev", utterances=3, recogniser="r", wer_without=0.5, cer_without=0.2, wer=0.25, cer=0.1),
    )
    stored_lm.write_settings(settings, folder)
    return StoredLm(folder, settings)


@pytest.fixture
def model(stored, tmp_path):
    """A recogniser with a language model."""
    store.save(recogniser(), tmp_path / "m", language_model=stored)
    return tmp_path / "m"


def test_is_read_as_it_was_written(stored, model):
    assert sorted(path.name for path in model.iterdir()) == FILES
    found = stored_lm.attached(store.load(model))
    assert found == StoredLm(model, stored.settings)
    assert set(found.ngrams().words) == {"<unk>", "<s>", "</s>", "some", "few", "letters"}


def test_stays_with_the_recogniser(model, tmp_path):
    store.save(store.load(model), tmp_path / "copy")
    assert stored_lm.attached(store.load(tmp_path / "copy")).folder == tmp_path / "copy"
    store.save(store.load(model), model)  # where it lies itself
    assert sorted(path.name for path in model.iterdir()) == FILES
    assert (model / "lm.arpa.gz").read_bytes() == (tmp_path / "copy" / "lm.arpa.gz").read_bytes()
    convert.convert(model, tmp_path / "converted")
    assert stored_lm.attached(store.load(tmp_path / "converted")).folder == tmp_path / "converted"


def test_another_format_says_that_it_lacks_it(stored, tmp_path):
    encoder = Wav2Vec2Config(
        front=ConvConfig(dim=16),
        dim=32,
        num_layers=2,
        num_heads=2,
        ffn_dim=64,
        position_kernel=15,
        position_groups=4,
        num_codes=8,
        code_dim=16,
        final_dim=16,
    )
    system = factory.build(CtcConfig(), encoder=encoder, vocabulary=VOCABULARY)
    store.save(system, tmp_path / "m", language_model=stored)
    certificate = convert.convert(tmp_path / "m", tmp_path / "theirs", to="huggingface")
    assert any("language model" in note for note in certificate.notes)
    assert not (tmp_path / "theirs" / "lm.json").exists()


def test_a_model_without_one_is_loaded_and_decoded_greedily(tmp_path):
    store.save(recogniser(), tmp_path / "m")
    system = store.load(tmp_path / "m")
    assert stored_lm.attached(system) is None
    assert stored_decoder.resolved(system, "stored") is None
    assert "language model" not in store.describe(tmp_path / "m")
    store.save(factory.build(wav2vec2_smoke().system), tmp_path / "m")  # replaces the folder
    assert stored_lm.attached(store.load(tmp_path / "m")) is None


def test_the_description_of_the_model_has_it(model):
    text = store.describe(model)
    for part in ("language model:", "distinct_words: 3", "lm_weight:", "wer_without: 0.5"):
        assert part in text


def test_the_decoder_is_built_once_and_said_in_one_line(model, caplog):
    caplog.set_level("INFO", logger="sori")
    system = store.load(model)
    first = stored_decoder.resolved(system, "stored")
    assert stored_decoder.resolved(system, "stored") is first
    assert first.config.beam_size == 20
    assert not first.only_known_words
    assert len(caplog.messages) == 1
    assert "3 words" in caplog.messages[0]
    assert "--lm none" in caplog.messages[0]
    assert stored_decoder.resolved(system, None) is None


def test_one_that_is_not_used_does_not_decode(stored, tmp_path):
    unused = stored._replace(settings=stored.settings.model_copy(update={"used": False}))
    store.save(recogniser(), tmp_path / "m", language_model=unused)
    assert stored_decoder.resolved(store.load(tmp_path / "m"), "stored") is None
    assert "used: false" in store.describe(tmp_path / "m")


@pytest.mark.parametrize("name", ["lm.json", "lm.arpa.gz"])
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing, which belongs to"):
        store.load(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format_version"),
        ({"used": "perhaps"}, "used"),
        ({"fusion": {"lm_weight": 1e300}}, r"fusion\.lm_weight"),
        ({"fusion": {"lm_weight": -1}}, r"fusion\.lm_weight"),
        ({"fusion": {"lm_wait": 1}}, r"fusion\.lm_wait: unknown key"),
        ({"beam_size": 10**9}, "beam_size"),
        ({"beam_size": 0}, "beam_size"),
        ({"reason": "x" * 2000}, "reason"),
        ({"command": "rm"}, "command: unknown key"),
        ({"sources": None}, "sources"),
        ({"tuning": {"split": "dev"}}, r"tuning\.utterances"),
    ],
)
def test_hostile_settings_end_in_a_message(model, change, message):
    path = model / "lm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        store.load(model)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00", "NaN"])
def test_settings_that_are_none_end_in_a_message(model, text):
    (model / "lm.json").write_text(text)
    with pytest.raises(ValueError, match=r"lm\.json"):
        store.load(model)


def test_an_exchanged_or_damaged_arpa_file_ends_in_a_message(model):
    path, settings = model / "lm.arpa.gz", model / "lm.json"
    whole = gzip.decompress(path.read_bytes())
    for data, message in (
        (path.read_bytes()[:-30], "cut off|truncated|damaged"),
        (gzip.compress(whole.replace(b"\\2-grams:", b"\\3-grams:")), "expected"),
        (gzip.compress(b""), "expected an ARPA file"),
        (b"not compressed", "."),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="another one") as caught:
            stored_decoder.resolved(store.load(model), "stored")
        assert str(path) in str(caught.value)
        # with a matching digest it is the ARPA reader, or the decoder, that refuses it
        digest = stored_lm.arpa_digest(path)
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"arpa_digest": digest}))
        with pytest.raises(ValueError, match=message) as caught:
            stored_decoder.resolved(store.load(model), "stored")
        assert str(path) in str(caught.value)


def test_words_of_another_script_end_in_a_message(stored, tmp_path):
    text = tmp_path / "other.txt"
    text.write_text("слово дело\n")
    kneser_ney.build([text], order=2, into=stored.folder / "lm.arpa.gz")
    digest = stored_lm.arpa_digest(stored.folder / "lm.arpa.gz")
    other = stored._replace(settings=stored.settings.model_copy(update={"arpa_digest": digest}))
    store.save(recogniser(), tmp_path / "m", language_model=other)
    with pytest.raises(ValueError, match=r"lm\.arpa\.gz: expected words that the recogniser can spell"):
        stored_decoder.resolved(store.load(tmp_path / "m"), "stored")
