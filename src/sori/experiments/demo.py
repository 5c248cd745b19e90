"""End-to-end demo: recordings, pre-training, fine-tuning with and without it, error rates, a report.

Without recordings of the user, it synthesises a small speech corpus by text to speech: many voices for pre-training, a
few of them with transcripts, and other voices with other sentences for the test.
"""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional

from sori.checkpoints import store
from sori.core import audio
from sori.core.files import write_text
from sori.core.folders import whole_folder
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng
from sori.core.shapes import Float, Int, Tensor
from sori.data.labels import choose_minutes
from sori.data.manifest import CUTS, Utterance, read_manifest, read_with_headers, write_manifest
from sori.data.preparation.prepare import prepare
from sori.evaluation import recognition
from sori.evaluation.error_rate import ErrorReport, Rate, compare
from sori.inference import transcribe
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots import demo_report
from sori.plots.signal import TimedWord
from sori.recipes import ctc, wav2vec2
from sori.recipes import smoke as toys
from sori.recipes.recipe import LabelConfig, Recipe, RecogniserRecipe, SpeechRecipe
from sori.runs import run
from sori.synth import CorpusSize, speak_corpus
from sori.text.vocabulary import Vocabulary
from sori.training.metrics import read_metrics

REPORT = "report.html"
MIN_LABELLED_MINUTES = 0.5
MAX_TEST_MINUTES = 10.0
HELD_OUT = 0.2
"""Fraction of the transcribed speech held out for the test if the recordings have no split `test`."""
NUM_EXAMPLES = 8

_SMOKE = CorpusSize(4, 8, 2, 8, 2, 3)


class Demonstration(NamedTuple):
    """Result of `demo`."""

    report: Path
    """Web page in one file."""
    pretrained: ErrorReport
    """Error rates with pre-training."""
    scratch: ErrorReport
    """Error rates without pre-training."""


def demo(
    into: str | Path = "sori-demo", *, data: str | Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> Demonstration | None:
    """Compare recognisers with and without pre-training, on synthetic speech or on the user's recordings.

    Every stage stores its result in `into`; the same call continues an interrupted demo.

    Args:
        into: output folder.
        data: folder or table of recordings, some of them transcribed, or a prepared folder; None: synthetic speech,
            which requires the extra `synth`.
        minutes: maximum amount of the user's transcribed speech to train on.
        smoke: toy models on a toy corpus, to test in seconds whether everything runs.

    Returns:
        None if training was interrupted (Ctrl-C, SIGTERM).

    Raises:
        ValueError: there are too few recordings; the message names what is missing.
        ModuleNotFoundError: the extra `synth` is not installed.
    """
    into, began = Path(into), time.monotonic()
    with _stage("1/5 Recordings"):
        train, test = _synthetic(into, smoke=smoke) if data is None else _own(into, Path(data))
        available = _transcribed_minutes(read_manifest(train))
    recipes = _recipes(minutes=minutes if available > minutes else None, smoke=smoke)
    titles = ("2/5 Pre-training without transcripts", "3/5 Fine-tuning", "4/5 The same without pre-training")
    for title, (name, recipe) in zip(titles, recipes.by_folder().items(), strict=True):
        with _stage(title):
            init = into / "pretrained" if name == "with" else None
            if not run.train(recipe, into=into / name, data=train, init=init).finished:
                return None
    with _stage("5/5 Test on held-out recordings"):
        scores = [recognition.evaluate(into / name, data=test, split=None) for name in ("with", "without")]
        found = _findings(into, recipes, scores)
        write_text(into / REPORT, demo_report.compose(found))
    logger.info(_summary(found, into / REPORT, seconds=time.monotonic() - began))
    return Demonstration(into / REPORT, *scores)


def _synthetic(into: Path, *, smoke: bool) -> tuple[Path, Path]:
    """Synthesise sentences and return prepared folders for training and for the test."""
    recordings = into / "recordings"
    if recordings.exists():
        logger.info(f"already synthesised: {recordings}")
    else:
        with whole_folder(recordings) as fresh:
            speak_corpus(fresh, _SMOKE if smoke else CorpusSize())
        logger.info(f"synthesised: {recordings}")
    return _prepared(recordings / "train", into / "train"), _prepared(recordings / "test", into / "test")


def _own(into: Path, data: Path) -> tuple[Path, Path]:
    """Divide the user's recordings and return prepared folders for training and for the test."""
    prepared = data if (data / CUTS).is_file() else _prepared(data, into / "prepared")
    rows = read_with_headers(prepared)
    headers, parts = {u.path: about for u, about in rows}, hold_out([u for u, _ in rows])
    for name, part in zip(("train", "test"), parts, strict=True):
        (into / name).mkdir(parents=True, exist_ok=True)
        write_manifest(into / name, ((u._replace(split=None), headers[u.path]) for u in part))
    return into / "train", into / "test"


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
    return train, choose_minutes(test, min(MAX_TEST_MINUTES, found[1]), seed=0)


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

    def by_folder(self) -> dict[str, Recipe]:
        """Return each recipe by the name of its run folder."""
        return {"pretrained": self.pretrained, "with": self.tuned, "without": self.scratch}


def _recipes(*, minutes: float | None, smoke: bool) -> _Recipes:
    """Return recipes for pre-training, and for fine-tuning with and without it on the same labels and batches."""
    if smoke:
        pretraining = toys.wav2vec2_smoke().override({"train.num_steps": 20, "train.log_every": 5})
        tuning = toys.ctc_smoke().override({"train.num_steps": 30, "train.log_every": 10})
        scratch = tuning
    else:
        pretraining = wav2vec2.wav2vec2_tiny().override({"name": "demo_pretraining", **PRETRAINING})
        tuning = ctc.ctc_10min().override({"name": "demo_with", **TUNING})
        scratch = ctc.ctc_10min_scratch().override({"name": "demo_without", **TUNING})
    labels = {"labels": LabelConfig(minutes=minutes)}
    scratch = scratch.model_copy(update={"encoder": pretraining.system, **labels})
    return _Recipes(pretraining, tuning.model_copy(update={"encoder": None, **labels}), scratch)


PRETRAINING = {"train.num_steps": 4500, "system.gumbel_decay": 0.99956}
"""Changes to `wav2vec2_tiny`; takes about six minutes on two cores."""
TUNING = {"train.num_steps": 800, "data.batch_seconds": 12, "system.upsample": 2}
"""Changes to `ctc_10min` and `ctc_10min_scratch`; takes about a minute. The upsampling is for fast synthetic speech."""


def _findings(into: Path, recipes: _Recipes, scores: list[ErrorReport]) -> demo_report.Findings:
    """Collect the contents of the report."""
    models = [_recogniser(into / name) for name in ("with", "without")]
    utterances = read_manifest(into / "test")
    first_of_each = {u.speaker or u.id: u for u in reversed(utterances)}.values()
    examples = []
    for utterance in list(first_of_each)[::-1][:NUM_EXAMPLES]:
        waveform = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)
        transcripts = [transcribe.transcribe(model, waveform, sample_rate=audio.SAMPLE_RATE) for model, _ in models]
        words = [[TimedWord(*word) for word in one.words] for one in transcripts]
        examples.append(demo_report.Example(waveform, models[0][1].normalise(utterance.text or ""), words))
    encoder = store.load(into / "pretrained")
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - the first recipe trains one
    difference = compare(scores[:1], scores[1:])["cer"]
    labels = ("with pre-training", "without")
    columns = [
        demo_report.Score(label, _interval(score.cer), _interval(score.wer), _losses(into / name))
        for label, name, score in zip(labels, ("with", "without"), scores, strict=True)
    ]
    return demo_report.Findings(
        facts=_facts(into, recipes),
        scores=(columns[0], columns[1]),
        change=demo_report.Interval(*difference.relative),
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


def _recogniser(folder: Path) -> tuple[Ctc, Vocabulary]:
    system = store.load(folder)
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe trains one
    assert system.vocabulary is not None  # noqa: S101 - every saved recogniser has one
    return system, system.vocabulary


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
        ("fine-tuning", f"{recipes.tuned.train.num_steps:,} updates each, {_hours_processed(into / 'with')}"),
        ("test", _extent(test)),
    ]


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
        f"{score.label:18} CER {_percent(score.characters)}   WER {_percent(score.words)}" for score in found.scores
    ]
    change = found.change
    return "\n".join(
        [
            "\nError rates on the test set, with 95 % intervals",
            *lines,
            f"change of CER through pre-training: {change.value:+.0%} ({change.low:+.0%} to {change.high:+.0%})",
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
