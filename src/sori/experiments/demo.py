"""End-to-end demo: recordings, pre-training, fine-tuning with and without it, language model, error rates, a report.

Without recordings of the user, it synthesises a small speech corpus by text to speech: many voices for pre-training, a
few of them with transcripts, and other voices with other sentences for the test and for tuning the language model. The
language model also learns from sentences of the same grammar that are in none of these.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from sori.checkpoints import store, stored_lm
from sori.core import audio
from sori.core.files import write_text
from sori.core.folders import whole_folder
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng, derive
from sori.core.shapes import Float, Int, Tensor
from sori.data.labels import choose_minutes
from sori.data.manifest import CUTS, Utterance, read_manifest, read_with_headers, write_manifest
from sori.data.preparation.prepare import prepare
from sori.evaluation import recognition
from sori.evaluation.error_rate import ErrorReport, Rate, compare
from sori.experiments.head_start import head_start
from sori.inference import transcribe
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots import demo_report
from sori.plots.signal import TimedWord
from sori.recipes import ctc, wav2vec2
from sori.recipes import smoke as toys
from sori.recipes.recipe import RecogniserRecipe, SpeechRecipe
from sori.runs import run
from sori.synth import CorpusSize, corpus_texts, sentences, speak_corpus
from sori.training.metrics import read_metrics

REPORT = "report.html"
MIN_LABELLED_MINUTES = 0.5
MAX_TEST_MINUTES = 10.0
HELD_OUT = 0.2
"""Fraction of the transcribed speech held out for the test if the recordings have no split `test`."""
NUM_EXAMPLES = 8

NUM_READ = 2
"""Sentences of each test speaker in the text at the beginning of the report."""
SYNTHETIC_MINUTES = 1.0
"""Labels of the synthetic corpus: with five minutes, its clean voices are recognised as well without pre-training."""
NUM_TEXTS = 4000
"""Sentences of the grammar for the language model, beside the transcripts."""
TEXTS = "texts.txt"

_SMOKE = CorpusSize(4, 8, 2, 8, 2, 3, 1, 4)
_SMOKE_TEXTS = 100


class Demonstration(NamedTuple):
    """Result of `demo`."""

    report: Path
    """Web page in one file."""
    pretrained: ErrorReport
    """Error rates with pre-training, with the language model."""
    scratch: ErrorReport
    """Error rates without pre-training, with the language model."""
    pretrained_alone: ErrorReport
    """Error rates with pre-training, without the language model."""
    scratch_alone: ErrorReport
    """Error rates without pre-training and language model."""


class _Data(NamedTuple):
    """Prepared folders."""

    train: Path
    test: Path
    dev: Path | None
    """Transcribed recordings to tune the language model on; None: they are in `train` if there are any."""
    texts: tuple[str, ...]
    """Further texts for the language model."""

    @property
    def corpora(self) -> list[Path]:
        """Return what the recognisers are trained and tuned on."""
        return [self.train] if self.dev is None else [self.train, self.dev]


def demo(
    into: str | Path = "sori-demo", *, data: str | Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> Demonstration | None:
    """Compare recognisers with and without pre-training, on synthetic speech or on the user's recordings.

    Every stage stores its result in `into`; the same call continues an interrupted demo.

    Args:
        into: output folder.
        data: folder or table of recordings, some of them transcribed, or a prepared folder; None: synthetic speech,
            which requires the extra `synth`.
        minutes: maximum amount of transcribed speech to train on; of synthetic speech, `SYNTHETIC_MINUTES` at most.
        smoke: toy models on a toy corpus, to test in seconds whether everything runs.

    Returns:
        None if training was interrupted (Ctrl-C, SIGTERM).

    Raises:
        ValueError: there are too few recordings; the message names what is missing.
        ModuleNotFoundError: the extra `synth` is not installed.
    """
    into, began = Path(into), time.monotonic()
    with _stage("1/6 Recordings"):
        found = _synthetic(into, smoke=smoke) if data is None else _own(into, Path(data))
        available = _transcribed_minutes(read_manifest(found.train))
        minutes = minutes if data is not None else min(minutes, SYNTHETIC_MINUTES)
    recipes = _recipes(minutes=minutes if available > minutes else None, smoke=smoke, texts=found.texts)
    if not _train(into, recipes, found.corpora):
        return None
    models = [_recogniser(into / name) for name in ("with", "without")]
    with _stage("5/6 Test on held-out recordings, without language model"):
        alone = [recognition.evaluate(model, data=found.test, split=None, decoder=None) for model in models]
    with _stage("6/6 The same with the language model of the training"):
        scores = [recognition.evaluate(model, data=found.test, split=None) for model in models]
        shown = _findings(into, recipes, models, scores, alone)
        write_text(into / REPORT, demo_report.compose(shown))
    logger.info(_summary(shown, into / REPORT, seconds=time.monotonic() - began))
    return Demonstration(into / REPORT, *scores, *alone)


def _train(into: Path, recipes: "_Recipes", data: list[Path]) -> bool:
    """Train everything that is not trained yet; return whether nothing was interrupted."""
    logger.info(f"\nBeside stage 2, the recogniser of stage 4 is trained; its progress: {into / 'without.log'}")
    with (
        head_start(recipes.scratch, into=into / "without", data=data, log=into / "without.log") as other,
        _stage("2/6 Pre-training without transcripts"),
    ):
        if not run.train(recipes.pretrained, into=into / "pretrained", data=data).finished:
            other.terminate()
            return False
    with _stage("3/6 Fine-tuning"):
        if not run.train(recipes.tuned, into=into / "with", data=data, init=into / "pretrained").finished:
            return False
    with _stage("4/6 The same without pre-training"):
        return run.train(recipes.scratch, into=into / "without", data=data).finished


def _synthetic(into: Path, *, smoke: bool) -> _Data:
    """Synthesise sentences, and write those that the language model learns from."""
    recordings, size = into / "recordings", _SMOKE if smoke else CorpusSize()
    if recordings.exists():
        logger.info(f"already synthesised: {recordings}")
    else:
        with whole_folder(recordings) as fresh:
            speak_corpus(fresh, size)
        logger.info(f"synthesised: {recordings}")
    if not (recordings / "dev").is_dir():
        raise ValueError(
            f"expected recordings of an earlier call in {recordings}, got a folder without `dev`; likely an earlier "
            "version of sori made it: choose another folder with --into"
        )
    if not (into / TEXTS).is_file():
        spoken = frozenset(text for part in corpus_texts(size) for text in part)
        texts = sentences(_SMOKE_TEXTS if smoke else NUM_TEXTS, seed=derive(0, "texts"), avoid=spoken)
        write_text(into / TEXTS, "\n".join(texts) + "\n")
    train, test = (_prepared(recordings / name, into / name) for name in ("train", "test"))
    dev = _prepared(recordings / "dev", into / "prepared")
    _write_part(into / "dev", read_manifest(dev), of=dev, split="dev")
    return _Data(train, test, into / "dev", (str(into / TEXTS),))


def _own(into: Path, data: Path) -> _Data:
    """Divide the user's recordings; the language model learns from the transcripts, and is tuned on a split `dev`."""
    prepared = data if (data / CUTS).is_file() else _prepared(data, into / "prepared")
    utterances = read_manifest(prepared)
    train, test = hold_out(utterances)
    dev = _dev_of(utterances, {u.speaker for u in test} if _has_speakers(test) else set())
    parts = {"train": train, "test": test} | ({"dev": dev} if dev else {})
    for name, part in parts.items():
        _write_part(into / name, part, of=prepared, split="dev" if name == "dev" else None)
    return _Data(into / "train", into / "test", into / "dev" if dev else None, ())


def _dev_of(utterances: Sequence[Utterance], test_speakers: set[str | None]) -> list[Utterance]:
    """Return the transcribed utterances of the split `dev`, without those of speakers of the test set."""
    found = [u for u in utterances if u.split == "dev" and u.text and u.text.strip()]
    return [u for u in found if u.speaker not in test_speakers]


def _write_part(folder: Path, utterances: Sequence[Utterance], *, of: Path, split: str | None) -> None:
    """Write utterances of a prepared folder as one of their own, as a split."""
    headers = {u.path: about for u, about in read_with_headers(of)}
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, ((u._replace(split=split), headers[u.path]) for u in utterances))


def _prepared(source: Path, folder: Path) -> Path:
    if (folder / CUTS).is_file():
        logger.info(f"already prepared: {folder}")
    else:
        logger.info(str(prepare(source, folder, overwrite=folder.exists())))
    return folder


def hold_out(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Divide recordings into a training set and a transcribed test set.

    The test set is the split `test` if there is one; otherwise a fifth of the transcribed speech: whole speakers if at
    least four are known, else single utterances. Speakers of the test set and the splits `test` and `dev` are not
    trained on. The test set is at most ten minutes long.

    Raises:
        ValueError: there is too little transcribed speech.
    """
    spoken = sorted((u for u in utterances if u.text and u.text.strip()), key=lambda u: u.id)
    test = [u for u in spoken if u.split == "test"] or _draw_test(spoken)
    speakers, ids = {u.speaker for u in test} if _has_speakers(spoken) else set(), {u.id for u in test}
    train = [u for u in utterances if u.id not in ids and u.speaker not in speakers and u.split not in ("test", "dev")]
    found = [_transcribed_minutes(part) for part in (train, test)]
    if found[0] < MIN_LABELLED_MINUTES or not test:
        raise ValueError(
            f"expected transcribed recordings to train and to test on, got {found[0]:.1f} and {found[1]:.1f} min; put "
            "the text of speech.wav into speech.txt beside it, for at least a few minutes of speech"
        )
    return train, list(choose_minutes(test, min(MAX_TEST_MINUTES, found[1]), seed=0))


def _draw_test(spoken: list[Utterance]) -> list[Utterance]:
    groups: dict[str, list[Utterance]] = {}
    for u in spoken:
        groups.setdefault((u.speaker or "") if _has_speakers(spoken) else u.id, []).append(u)
    names = random.Random(0).sample(sorted(groups), len(groups))  # noqa: S311 - not for secrets
    wanted, test = HELD_OUT * sum(u.duration_seconds for u in spoken), list[Utterance]()
    while names and sum(u.duration_seconds for u in test) < wanted:
        test += groups[names.pop()]
    return test


def _has_speakers(spoken: Sequence[Utterance]) -> bool:
    return all(u.speaker for u in spoken) and len({u.speaker for u in spoken}) >= 4


def _transcribed_minutes(utterances: Sequence[Utterance]) -> float:
    return sum(u.duration_seconds for u in utterances if u.text and u.text.strip()) / 60


class _Recipes(NamedTuple):
    """Pre-training, and fine-tuning with and without it."""

    pretrained: SpeechRecipe
    tuned: RecogniserRecipe
    scratch: RecogniserRecipe


def _recipes(*, minutes: float | None, smoke: bool, texts: tuple[str, ...] = ()) -> _Recipes:
    """Return recipes for pre-training, and for fine-tuning with it, and longer without it, on the same labels."""
    if smoke:
        pretraining = toys.wav2vec2_smoke().override({"train.num_steps": 20, "train.log_every": 5})
        tuning = toys.ctc_smoke().override({"train.num_steps": 30, "train.log_every": 10, "labels.lm": "word"})
        scratch = tuning.override({"train.num_steps": 60})
    else:
        pretraining = wav2vec2.wav2vec2_tiny().override({"name": "demo_pretraining", **PRETRAINING})
        tuning = ctc.ctc_10min().override({"name": "demo_with", **TUNING})
        scratch = ctc.ctc_10min_scratch().override({"name": "demo_without", **TUNING, **FROM_SCRATCH})
    labels = {"labels": tuning.labels.model_copy(update={"minutes": minutes, "texts": texts})}
    scratch = scratch.model_copy(update={"encoder": pretraining.system, **labels})
    return _Recipes(pretraining, tuning.model_copy(update={"encoder": None, **labels}), scratch)


PRETRAINING = {"train.num_steps": 750, "system.gumbel_decay": 0.9974}
"""Changes to `wav2vec2_tiny`; takes about five minutes on one core."""
TUNING = {"train.num_steps": 500, "data.batch_seconds": 12}
"""Changes to `ctc_10min`; takes about a minute and a half."""
FROM_SCRATCH = {"train.num_steps": 1200}
"""Further changes to `ctc_10min_scratch`: without pre-training there is more to learn; takes four minutes."""


def _findings(
    into: Path, recipes: _Recipes, models: list[Ctc], scores: list[ErrorReport], alone: list[ErrorReport]
) -> demo_report.Findings:
    """Collect the contents of the report.

    Args:
        into: folder of the demo.
        recipes: what was trained.
        models: recognisers with and without pre-training.
        scores: their error rates with the language model.
        alone: their error rates without it.
    """
    vocabulary = models[0].vocabulary
    assert vocabulary is not None  # noqa: S101 - every saved recogniser has one
    utterances = read_manifest(into / "test")
    first_of_each = {u.speaker or u.id: u for u in reversed(utterances)}.values()
    examples = []
    for utterance in list(first_of_each)[::-1][:NUM_EXAMPLES]:
        waveform = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)
        transcripts = [transcribe.transcribe(model, waveform, sample_rate=audio.SAMPLE_RATE) for model in models]
        words = [[TimedWord(*word) for word in one.words] for one in transcripts]
        examples.append(demo_report.Example(waveform, vocabulary.normalise(utterance.text or ""), words))
    encoder = store.load(into / "pretrained")
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - the first recipe trains one
    labels, names = ("with pre-training", "without"), ("with", "without")
    columns = [
        demo_report.Score(label, _rates(score), _rates(bare), _losses(into / name), _about_lm(model))
        for label, name, model, score, bare in zip(labels, names, models, scores, alone, strict=True)
    ]
    return demo_report.Findings(
        facts=_facts(into, recipes),
        scores=(columns[0], columns[1]),
        change=demo_report.Interval(*compare(scores[:1], scores[1:])["wer"].relative),
        change_alone=demo_report.Interval(*compare(alone[:1], alone[1:])["cer"].relative),
        text=_text(scores),
        pretraining=read_metrics(RunFolder(into / "pretrained").metrics),
        pretraining_example=_inside(encoder, utterances, examples[0].waveform),
        examples=examples,
        commands=COMMANDS,
    )


COMMANDS = """\
sori demo --data my-recordings --into my-demo      # the whole demo with your recordings

sori prepare my-recordings prepared                # or step by step
sori train wav2vec2_tiny --data prepared --into runs/tiny
sori train ctc_10min --data prepared --init runs/tiny --into runs/recogniser
sori evaluate runs/recogniser --data prepared
sori transcribe runs/recogniser new-recording.wav"""


def _text(scores: Sequence[ErrorReport]) -> list[list[str]]:
    """Return the first sentences of each test speaker: what was said, and what each recogniser has written."""
    seen, rows = Counter[str | None](), list[list[str]]()
    for said, *written in zip(scores[0].utterances, *(score.utterances for score in scores), strict=True):
        seen[said.speaker] += 1
        if (seen[said.speaker] <= NUM_READ or said.speaker is None) and len(rows) < NUM_READ * NUM_EXAMPLES:
            rows.append([said.reference, *(one.hypothesis for one in written)])
    return rows


def _about_lm(model: Ctc) -> str:
    """Return how the language model of a recogniser is used."""
    stored = stored_lm.attached(model)
    if stored is None:
        return "none"
    used = "used" if stored.settings.used else "not used"
    return f"{used}, {stored.settings.sources.distinct_words:,} words; {stored.settings.reason}"


def _recogniser(folder: Path) -> Ctc:
    system = store.load(folder)
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe trains one
    return system


def _rates(report: ErrorReport) -> demo_report.Rates:
    return demo_report.Rates(_interval(report.wer), _interval(report.cer))


def _interval(rate: Rate) -> demo_report.Interval:
    return demo_report.Interval(rate.rate, rate.low, rate.high)


def _losses(folder: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(RunFolder(folder).metrics) if row["kind"] == "train"]


def _inside(
    system: Wav2Vec2, utterances: Sequence[Utterance], waveform: Float[Tensor, " sample"]
) -> demo_report.PretrainingExample:
    """What pre-training makes of one recording, and which codes it uses for all."""
    counts = torch.zeros(system.config.num_groups, system.config.num_codes, dtype=torch.long)
    for u in utterances:
        units = _units(system, audio.read(u.path, start=u.start, duration=u.duration_seconds))
        counts += functional.one_hot(units, system.config.num_codes).sum(0)
    frames = system.features(waveform[None], torch.tensor([len(waveform)]))
    masked = system.draw(frames.lengths, Rng(0), torch.device("cpu")).masked[0]
    log_mel = LogMel(LogMelConfig()).log_mel(waveform[None])[0]
    return demo_report.PretrainingExample(waveform, log_mel, masked, _units(system, waveform), counts)


def _units(system: Wav2Vec2, waveform: Float[Tensor, " sample"]) -> Int[Tensor, "frame group"]:
    units: Tensor = system.units(waveform[None], torch.tensor([len(waveform)])).data[0]
    return units


def _facts(into: Path, recipes: _Recipes) -> list[tuple[str, str]]:
    train, test = (read_manifest(into / name) for name in ("train", "test"))
    labelled = [u for u in train if u.text]
    minutes = recipes.tuned.labels.minutes or _transcribed_minutes(labelled)
    pretraining = recipes.pretrained.train.num_steps
    return [
        ("pre-training data", f"{_extent(train)}, transcripts not used"),
        ("pre-training", f"{pretraining:,} updates, {_hours_processed(into / 'pretrained')}"),
        ("transcribed data", f"{minutes:.1f} min of {_extent(labelled)}"),
        *_lm_facts(into),
        ("fine-tuning", f"{recipes.tuned.train.num_steps:,} updates, {_hours_processed(into / 'with')}"),
        ("without pre-training", f"{recipes.scratch.train.num_steps:,} updates, {_hours_processed(into / 'without')}"),
        ("test", _extent(test)),
    ]


def _lm_facts(into: Path) -> list[tuple[str, str]]:
    stored = stored_lm.read(RunFolder(into / "with").model)
    if stored is None:
        return []
    sources = stored.settings.sources
    others = sources.sentences - sources.transcripts
    texts = f" and {others:,} other sentences, none of which is spoken here" if others else ""
    held = [("language model", f"{sources.transcripts:,} transcripts{texts}; {sources.distinct_words:,} words")]
    if (into / "dev").is_dir():
        held.append(("tuning of its weights", _extent(read_manifest(into / "dev"))))
    return held


def _extent(utterances: Sequence[Utterance]) -> str:
    minutes = sum(u.duration_seconds for u in utterances) / 60
    speakers = {u.speaker for u in utterances if u.speaker}
    long = f"{minutes / 60:.1f} h" if minutes > 90 else f"{minutes:.1f} min"
    return f"{long} in {len(utterances):,} recordings" + (f" of {len(speakers)} speakers" if speakers else "")


def _hours_processed(folder: Path) -> str:
    hours = [row["hours"] for row in read_metrics(RunFolder(folder).metrics) if "hours" in row]
    return f"{hours[-1]:.1f} h processed, counting repetitions"


def _summary(found: demo_report.Findings, page: Path, *, seconds: float) -> str:
    lines = [
        f"{score.label:18} {how:12} WER {_percent(rates.words)}   CER {_percent(rates.characters)}"
        for score in found.scores
        for how, rates in (("", score.rates), ("without LM", score.alone))
    ]
    change = found.change
    return "\n".join(
        [
            "\nError rates on the test set, with 95 % intervals",
            *lines,
            f"change of WER through pre-training: {change.value:+.0%} ({change.low:+.0%} to {change.high:+.0%})",
            f"report: {page}   ({_clock(seconds)} in total)",
        ]
    )


def _percent(rate: demo_report.Interval) -> str:
    return f"{rate.value:6.1%} ({rate.low:.1%} to {rate.high:.1%})"


@contextmanager
def _stage(title: str) -> Iterator[None]:
    began = time.monotonic()
    logger.info(f"\n== {title}")
    yield
    logger.info(f"== {title.partition(' ')[0]} took {_clock(time.monotonic() - began)}")


def _clock(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
