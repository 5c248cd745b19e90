"""The kinds of files that sori reads: for each, a small valid file, the function that reads it, and how to change it.

The files are written by the libraries that people write them with (libsndfile, torch, safetensors, transformers), and
by sori where the format is its own.
"""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from PIL import Image

from fuzzing import mutations
from sori import recipes
from sori.checkpoints import convert, store, stored_lm
from sori.checkpoints.stored_lm import LmSettings, LmSources, LmTuning
from sori.core import audio
from sori.data.manifest import read_manifest
from sori.data.preparation.checks import check
from sori.data.preparation.prepare import prepare
from sori.data.sources.alignments import read_alignments
from sori.data.sources.annotations.annotation_files import read_annotation
from sori.data.sources.annotations.stretches import NoTierError
from sori.data.sources.images import read_images
from sori.data.sources.labelled_texts import read_labelled
from sori.data.sources.tables import read_table
from sori.data.word_segments import read_segments
from sori.embeddings import vector_files
from sori.embeddings.space import WordSpace
from sori.evaluation import stored_decoder
from sori.evaluation.report.transcript_pairs import read_texts
from sori.lm.fusion import FusionConfig
from sori.lm.ngram import NgramModel
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.recipes.recipe import Recipe
from sori.text.vocabulary import Vocabulary
from sori.training import checkpoint

RATE = 16_000


class Target(NamedTuple):
    """A kind of file."""

    name: str
    file: str
    """Name of the file that is changed."""
    write: Callable[[Path], object]
    """Write the file, and what it needs beside it; given the path of the file."""
    read: Callable[[Path], object]
    change: mutations.Mutation = mutations.of_bytes

    def build(self, folder: Path) -> Path:
        """Write the file into a new folder and return its path."""
        path = folder / self.file
        path.parent.mkdir(parents=True)
        self.write(path)
        return path


def tone(seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """Return a tone of 300 Hz that swells and fades."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 300 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)


def _sound(subtype: str | None = None, rate: int = RATE) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        extension = path.suffix[1:].upper()
        kind = "OGG" if extension in ("OGG", "OPUS") else extension
        soundfile.write(path, tone(rate=rate), rate, format=kind, subtype=subtype)

    return write


def _hear(path: Path) -> None:
    """Read a sound file whole, and its first tenth."""
    about = audio.info(path)
    audio.read(path)
    audio.read(path, duration=0.1 * about.num_samples / RATE)


def _text(content: str) -> Callable[[Path], object]:
    """Return what writes a text, compressed if the name of the file says so."""

    def write(path: Path) -> None:
        data = content.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return write


def _with_sound(content: str) -> Callable[[Path], object]:
    """Return what writes a text, and `a.wav` beside it."""

    def write(path: Path) -> None:
        _sound()(path.with_name("a.wav"))
        _text(content)(path)

    return write


ARPA = """\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.4
-1.0\t</s>
-0.9\tab\t-0.3
-0.8\tcd\t-0.2

\\2-grams:
-0.4\t<s> ab
-0.5\tab cd
-0.6\tcd ab
-0.3\tcd </s>

\\end\\
"""
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.5
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 0.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.2
            text = "h"
        intervals [2]:
            xmin = 0.2
            xmax = 0.5
            text = "a"
"""
LABELS = "0.0\t0.2\tab cd\n0.2\t0.5\tef\n"
SUBTITLES = "1\n00:00:00,000 --> 00:00:00,200\nab cd\n\n2\n00:00:00,200 --> 00:00:00,500\n<i>ef</i>\n"
CAPTIONS = "WEBVTT\n\n00:00.000 --> 00:00.200\n<v Ana>ab cd</v>\n\n00:00.200 --> 00:00.500 align:start\nef\n"
CHAT = (
    "@UTF8\n@Begin\n@Participants:\tCHI Child\n@Media:\ta, audio\n*CHI:\tab (be)cd [//] . \x150_200\x15\n"
    "*CHI:\t&=laughs ef . \x15200_500\x15\n@End\n"
)
TRANSCRIBER = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE Trans SYSTEM "trans-14.dtd">
<Trans audio_filename="a" version="1">
<Speakers><Speaker id="spk1" name="Ana"/></Speakers>
<Episode><Section type="report" startTime="0" endTime="0.5">
<Turn speaker="spk1" startTime="0" endTime="0.5"><Sync time="0"/>
ab cd
<Sync time="0.2"/>
ef <Event desc="laughs" type="noise" extent="instantaneous"/>
</Turn></Section></Episode></Trans>
"""
ALIGNMENTS = (
    '{"id": "a", "phones": [[0.0, 0.1, "h"], [0.1, 0.3, "a"]], "words": [[0.0, 0.3, "ha"]]}\n'
    '{"id": "b", "phones": [[0.0, 0.2, "o"]]}\n'
)
SEGMENTS = '{"id": "a", "start": 0.1, "end": 0.3, "word": "ha"}\n{"id": "a", "start": 0.3, "end": 0.4}\n'
LABELLED = 'text\tlabel\tsplit\ngood film\tgood\ttrain\nbad film\tbad\ttrain\n"odd" one\tbad\tdev\n'
TABLE = 'path,sentence,client_id,split\na.wav,"ab, cd",anna,train\na.wav,"ef ""g""",ben,dev\n'
ROWS = '{"audio": "a.wav", "text": "ab cd", "start": 0.0, "duration": 0.2}\n{"audio": "a.wav", "text": "ef"}\n'
PAIRS = "id\ttext\tspeaker\na\tab cd\tx\nb\tef\ty\n"


def _encoder() -> Wav2Vec2Config:
    return Wav2Vec2Config(
        front=ConvConfig(dim=16), dim=32, num_layers=2, num_heads=2, ffn_dim=64, position_kernel=15, position_groups=4,
        num_codes=8, code_dim=16, final_dim=16,
    )  # fmt: skip


def recogniser() -> factory.System:
    """Return a small recogniser that every format can store."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(symbols=("<blank>", "|", *"abcdefghijklmnopqrstuvwxyz'"))
    return factory.build(CtcConfig(), encoder=_encoder(), vocabulary=vocabulary)


def _model(path: Path) -> None:
    store.save(recogniser(), path.parent)


def _model_with_lm(path: Path) -> None:
    aside = path.parent.with_name(f"{path.parent.name}-lm")
    aside.mkdir()
    _text(ARPA)(aside / stored_lm.ARPA)
    settings = LmSettings(
        used=True,
        reason="WER 20 %",
        fusion=FusionConfig(unknown_score=2.0),
        beam_size=50,
        arpa_digest=stored_lm.arpa_digest(aside / stored_lm.ARPA),
        sources=LmSources(transcripts=2, texts=("a.txt",), sentences=3, words=6, distinct_words=2),
        tuning=LmTuning(split="dev", utterances=3, recogniser="ab", wer_without=0.5, cer_without=0.2, wer=0.2, cer=0.1),
    )
    store.save(recogniser(), path.parent, language_model=stored_lm.StoredLm(aside, settings))


def _decoder(path: Path) -> None:
    """Read a model folder and its language model, as `sori transcribe` does."""
    _load_folder(path)
    stored_decoder.build(store.load(path.parent))


def _converted(to: convert.Format) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        source = path.parent.with_name(f"{path.parent.name}-source")
        store.save(recogniser(), source)
        path.parent.rmdir()
        convert.convert(source, path.parent, to=to)

    return write


def _load_folder(path: Path) -> None:
    """Read a model folder as `sori transcribe` and `sori show` do."""
    store.load(path.parent)
    store.describe(path.parent)


def _checkpoint(path: Path) -> None:
    system = recogniser()
    optimizer = torch.optim.AdamW(
        [{"params": list(system.parameters()), "names": [n for n, _ in system.named_parameters()]}]
    )
    checkpoint.save(path, system=system, optimizer=optimizer, state={"step": 3, "metrics": [1.5, None], "name": "x"})


def _bert(path: Path) -> None:
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "house", "##s", "a"]
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForPreTraining(BertConfig(vocab_size=len(words), max_position_embeddings=24, **sizes))
    model.save_pretrained(path.parent)
    (path.parent / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")


def _prepared(path: Path) -> None:
    recordings = path.parent.with_name("recordings")
    recordings.mkdir()
    _sound()(recordings / "a.wav")
    soundfile.write(recordings / "b.wav", 0.5 * tone(0.7), RATE)
    (recordings / "a.txt").write_text("ab cd\n", encoding="utf-8")
    path.parent.rmdir()
    prepare(recordings, path.parent, num_workers=1)


def _images(path: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (split, kind) in enumerate((("train", "cat"), ("train", "dog"), ("test", "cat"))):
            with archive.open(f"{split}/{kind}/{number}.png", "w") as file:
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(file, format="PNG")


def _elan(path: Path) -> None:
    from pympi.Elan import Eaf

    file = Eaf(author="x")
    file.add_linked_file("a.wav", mimetype="audio/x-wav")
    file.add_tier("transcription", part="Ana")
    file.add_annotation("transcription", 0, 200, "ab cd")
    file.add_annotation("transcription", 200, 500, "ef")
    file.to_file(str(path))


def _aac(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for one in (frame, None):
            container.mux(stream.encode(one))


def _annotation(path: Path) -> None:
    try:
        read_annotation(path, ())
    except NoTierError as error:  # its caller names the file
        raise ValueError(f"{path}: {error}") from None


def _vectors(path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    vector_files.write(WordSpace(["the", "house", "한국", "a", "b"], vectors), path)


def _recipe(name: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(recipes.by_name(name).to_yaml(), encoding="utf-8")


def _load_parent(path: Path) -> None:
    read_manifest(path.parent)


TARGETS = (
    Target("wav", "a.wav", _sound("PCM_16"), _hear),
    Target("wav_float", "a.wav", _sound("FLOAT", 44_100), _hear),
    Target("wav_adpcm", "a.wav", _sound("IMA_ADPCM", 8_000), _hear),
    Target("flac", "a.flac", _sound(), _hear),
    Target("vorbis", "a.ogg", _sound("VORBIS", 22_050), _hear),
    Target("opus", "a.opus", _sound("OPUS", 48_000), _hear),
    Target("mp3", "a.mp3", _sound(rate=32_000), _hear),
    Target("aiff", "a.aiff", _sound("PCM_24"), _hear),
    Target("aac", "a.m4a", _aac, _hear),
    Target("matroska", "a.mka", _aac, _hear),
    Target("checks", "a.flac", _sound(), lambda path: check(str(path))),
    Target("fairseq_pickle", "model/checkpoint.pt", _converted("fairseq"), store.load, mutations.of_zip),
    Target("run_checkpoint", "checkpoint.safetensors", _checkpoint, checkpoint.load, mutations.of_safetensors),
    Target("model_weights", "model/weights.safetensors", _model, _load_folder, mutations.of_safetensors),
    Target("model_config", "model/config.json", _model, _load_folder, mutations.of_json),
    Target("model_vocabulary", "model/vocabulary.json", _model, _load_folder, mutations.of_json),
    Target("model_lm", "model/lm.json", _model_with_lm, _decoder, mutations.of_json),
    Target("hf_config", "model/config.json", _converted("huggingface"), _load_folder, mutations.of_json),
    Target("hf_vocabulary", "model/vocab.json", _converted("huggingface"), _load_folder, mutations.of_json),
    Target("hf_tokenizer", "model/tokenizer_config.json", _converted("huggingface"), _load_folder, mutations.of_json),
    Target("hf_features", "model/preprocessor_config.json", _converted("huggingface"), _load_folder, mutations.of_json),
    Target("hf_weights", "model/model.safetensors", _converted("huggingface"), _load_folder, mutations.of_safetensors),
    Target("bert_config", "model/config.json", _bert, _load_folder, mutations.of_json),
    Target("recipe", "recipe.yaml", _recipe("ctc_smoke"), Recipe.from_yaml, mutations.of_yaml),
    Target("recipe_text", "recipe.yaml", _recipe("bert_smoke"), Recipe.from_yaml, mutations.of_yaml),
    Target("arpa", "lm.arpa", _text(ARPA), NgramModel.read),
    Target("arpa_gz", "lm.arpa.gz", _text(ARPA), NgramModel.read, mutations.packed(mutations.of_bytes, ".gz")),
    Target("vectors_text", "v.vec", _vectors, vector_files.read),
    Target("vectors_binary", "v.bin", _vectors, vector_files.read),
    Target("table_csv", "t.csv", _with_sound(TABLE), read_table),
    Target("table_rows", "t.jsonl", _with_sound(ROWS), read_table, mutations.of_json_lines),
    Target("labelled", "t.tsv", _text(LABELLED), lambda path: read_labelled(path, words=False)),
    Target("transcripts", "t.tsv", _text(PAIRS), read_texts),
    Target("transcripts_trn", "t.trn", _text("ab cd (a)\nef (b)\n"), read_texts),
    Target("textgrid", "a.TextGrid", _text(TEXTGRID), read_alignments),
    Target("elan", "a.eaf", _elan, _annotation),
    Target("praat", "a.TextGrid", _text(TEXTGRID.replace("phones", "utterances")), _annotation),
    Target("transcriber", "a.trs", _text(TRANSCRIBER), _annotation),
    Target("chat", "a.cha", _text(CHAT), _annotation),
    Target("audacity", "a.txt", _text(LABELS), _annotation),
    Target("srt", "a.srt", _text(SUBTITLES), _annotation),
    Target("vtt", "a.vtt", _text(CAPTIONS), _annotation),
    Target("alignments", "a.jsonl", _text(ALIGNMENTS), read_alignments, mutations.of_json_lines),
    Target("segments", "segments.jsonl", _text(SEGMENTS), read_segments, mutations.of_json_lines),
    Target(
        "manifest", "prepared/cuts.jsonl.gz", _prepared, _load_parent, mutations.packed(mutations.of_json_lines, ".gz")
    ),
    Target("images", "images.zip", _images, lambda path: read_images(path.parent), mutations.of_zip),
)  # fmt: skip
"""What `fuzz.py` reads."""
