"""Contents of the report of the demonstration: error rates, texts to read, examples and facts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.nn import functional

from sori.checkpoints import store, stored_lm
from sori.core import audio
from sori.core.files import read_json
from sori.core.run_folder import RunFolder
from sori.core.seeds import Rng
from sori.core.shapes import Float, Int, Tensor
from sori.data.manifest import Utterance, read_manifest
from sori.evaluation.error_rate import ErrorReport, Rate, compare
from sori.experiments import self_training
from sori.experiments.demonstration.demo_data import transcribed_minutes
from sori.experiments.demonstration.demo_recipes import DemoRecipes
from sori.inference import transcribe
from sori.models.ctc import Ctc
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots import demo_report
from sori.plots.signal import TimedWord
from sori.training.metrics import read_metrics

SCRATCH, PRETRAINED, SELF_TRAINED = "without", "with", "self_training"
"""Folders of the recognisers."""
NUM_EXAMPLES = 8
NUM_READ = 2
"""Sentences of each test speaker in the text at the beginning of the report."""

_LABELS = {SCRATCH: "without pre-training", PRETRAINED: "with pre-training", SELF_TRAINED: "with self-training"}


class TestedRecogniser(NamedTuple):
    """A recogniser with its scores on the test set."""

    name: str
    """Its folder."""
    model: Ctc
    score: ErrorReport
    """With the language model."""
    alone: ErrorReport
    """Without it."""


def recogniser(folder: Path) -> Ctc:
    """Load a recogniser of the demonstration."""
    system = store.load(folder)
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe trains one
    return system


def is_shown(into: Path, name: str) -> bool:
    """Return whether a recogniser is in the report: not one of self-training that is absent or no better on dev."""
    return name != SELF_TRAINED or _self_training(into).get("chosen", 0) > 0


def findings(into: Path, recipes: DemoRecipes, tested: Sequence[TestedRecogniser]) -> demo_report.Findings:
    """Collect the contents of the report.

    Args:
        into: folder of the demo.
        recipes: what was trained.
        tested: recognisers without pre-training, with it, and perhaps with self-training.
    """
    vocabulary = tested[0].model.vocabulary
    assert vocabulary is not None  # noqa: S101 - every saved recogniser has one
    utterances = read_manifest(into / "test")
    first_of_each = {u.speaker or u.id: u for u in reversed(utterances)}.values()
    examples = []
    for utterance in list(first_of_each)[::-1][:NUM_EXAMPLES]:
        waveform = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)
        transcripts = [transcribe.transcribe(one.model, waveform, sample_rate=audio.SAMPLE_RATE) for one in tested]
        words = [[TimedWord(*word) for word in one.words] for one in transcripts]
        examples.append(demo_report.Example(waveform, vocabulary.normalise(utterance.text or ""), words))
    encoder = store.load(into / "pretrained")
    assert isinstance(encoder, Wav2Vec2)  # noqa: S101 - the first recipe trains one
    scratch, pretrained, *rest = tested
    return demo_report.Findings(
        facts=_facts(into, recipes),
        scores=[_score(into, one) for one in tested],
        change=_change(pretrained.score, scratch.score, "wer"),
        change_alone=_change(pretrained.alone, scratch.alone, "cer"),
        self_training=_change(rest[0].score, pretrained.score, "wer") if rest else None,
        text=_text([one.score for one in tested]),
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
sori train ctc_10min --data prepared --init runs/tiny --into runs/self_training --unlabelled prepared
sori evaluate runs/self_training --data prepared
sori transcribe runs/self_training new-recording.wav"""


def _score(into: Path, tested: TestedRecogniser) -> demo_report.Score:
    run = into / tested.name / "round_1" if tested.name == SELF_TRAINED else into / tested.name
    rates, alone = _rates(tested.score), _rates(tested.alone)
    return demo_report.Score(_LABELS[tested.name], rates, alone, _losses(run), _about_lm(tested.model))


def _change(report: ErrorReport, other: ErrorReport, unit: Literal["wer", "cer"]) -> demo_report.Interval:
    """Return the relative change of an error rate, paired, from the second report to the first."""
    return demo_report.Interval(*compare([report], [other])[unit].relative)


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


def _facts(into: Path, recipes: DemoRecipes) -> list[tuple[str, str]]:
    train, test = (read_manifest(into / name) for name in ("train", "test"))
    labelled = [u for u in train if u.text]
    minutes = recipes.tuned.labels.minutes or transcribed_minutes(labelled)
    pretraining, tuned, scratch = (one.train.num_steps for one in recipes)
    return [
        ("pre-training data", f"{_extent(train)}, transcripts not used"),
        ("pre-training", f"{pretraining:,} updates, {_hours_processed(into / 'pretrained')}"),
        ("transcribed data", f"{minutes:.1f} min of {_extent(labelled)}"),
        *_lm_facts(into),
        ("fine-tuning", f"{tuned:,} updates, {_hours_processed(into / PRETRAINED)}"),
        ("without pre-training", f"{scratch:,} updates, {_hours_processed(into / SCRATCH)}"),
        ("self-training", _about_self_training(into)),
        ("test", _extent(test)),
    ]


def _self_training(into: Path) -> dict[str, Any]:
    path = into / SELF_TRAINED / self_training.REPORT
    return read_json(path) if path.is_file() else {}


def _about_self_training(into: Path) -> str:
    """Return what the recogniser with pre-training has written for the next one, and what came of it."""
    found = _self_training(into)
    if not found:
        return "left out; the reason is in the output of sori demo"
    written, rates = found["rounds"][1]["written"], [f"{row[found['by']]:.1%}" for row in found["rounds"]]
    measure = {"lm_wer": "word error rate on dev with the language models", "dev_cer": "character error rate on dev"}
    known = f", with a character error rate of {written['cer']:.1%} where it is known" if "cer" in written else ""
    return (
        f"{written['kept_hours']:.2f} of {written['hours']:.2f} h written by the recogniser with pre-training{known}; "
        f"{measure[found['by']]} {rates[0]} before, {rates[1]} after"
        + ("" if found["chosen"] else ": not better, so it is not in this report")
    )


def _lm_facts(into: Path) -> list[tuple[str, str]]:
    stored = stored_lm.read(RunFolder(into / PRETRAINED).model)
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
