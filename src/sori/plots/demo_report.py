"""The page on which a demonstration shows what it did and found."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sori.core.shapes import Bool, Float, Int, Tensor
from sori.plots import html_page
from sori.plots.codebook_heatmap import code_use, units_over_time
from sori.plots.error_bars import error_rates, losses
from sori.plots.features import features, masking
from sori.plots.signal import TimedWord, transcript
from sori.plots.training_curves import curves


class Interval(NamedTuple):
    """A number with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Score(NamedTuple):
    """A recogniser on the test."""

    label: str
    characters: Interval
    """Error rate, 0.25 for 25 %."""
    words: Interval
    loss: list[tuple[int, float]]
    """(update, CTC loss in nats an utterance) of its training."""


class Example(NamedTuple):
    """A test utterance, and what each recogniser heard."""

    waveform: Float[Tensor, " sample"]
    reference: str
    heard: list[list[TimedWord]]
    """In the order of the scores."""


class Inside(NamedTuple):
    """What pre-training makes of one utterance."""

    waveform: Float[Tensor, " sample"]
    log_mel: Float[Tensor, "window mel"]
    masked: Bool[Tensor, " frame"]
    codes: Int[Tensor, "frame group"]
    code_counts: Int[Tensor, "group code"]
    """Over all test utterances."""


class Findings(NamedTuple):
    """Everything on the page."""

    facts: list[tuple[str, str]]
    """What was used, and how much of it."""
    scores: tuple[Score, Score]
    """With pre-training and without."""
    change: Interval
    """Of the character error rate by pre-training, relative: -0.4 is 40 % fewer errors."""
    pretraining: list[dict[str, Any]]
    """Rows of its `metrics.jsonl`."""
    inside: Inside
    examples: list[Example]
    commands: str
    """How to do the same with other recordings."""


def compose(findings: Findings) -> str:
    """The page as HTML, complete in one file."""
    blocks = [*_answer(findings), *_pretraining(findings), *_examples(findings), *_details(findings)]
    return html_page.page("What pre-training is worth", blocks)


def _answer(findings: Findings) -> Iterator[str]:
    first, second = findings.scores
    change = findings.change
    yield html_page.heading("What pre-training is worth", level=1)
    yield html_page.paragraph(
        "Two recognisers learnt from the same few minutes of transcribed speech, with the same updates. One of them "
        "had first listened to recordings without transcripts. Both then wrote down voices and sentences that are in "
        "no training data."
    )
    yield html_page.tiles(
        [
            (f"{first.characters.value:.1%}", f"of letters wrong {first.label}"),
            (f"{second.characters.value:.1%}", f"of letters wrong {second.label}"),
            (
                _fewer(change.value),
                f"letter errors by pre-training (95% interval {change.low:+.0%} to {change.high:+.0%})",
            ),
        ]
    )
    rows = [
        (score.label, score.characters.value, (score.characters.low, score.characters.high))
        for score in findings.scores
    ]
    yield html_page.picture(
        error_rates(rows, measure="character error rate"),
        "Letters that are wrong, missing or too many, in percent of the letters said. "
        f"Of words: {first.words.value:.1%} {first.label}, {second.words.value:.1%} {second.label}.",
    )
    example = findings.examples[0]
    heard = [(score.label, words) for score, words in zip(findings.scores, example.heard, strict=True)]
    yield html_page.picture(
        transcript(example.waveform, reference=example.reference, rows=heard),
        "One test recording and the words recognised in it, where they were heard. Green: right. Red: wrong "
        "(\N{MULTIPLICATION SIGN}), too many (+) or missing (in brackets).",
    )


def _fewer(change: float) -> str:
    return f"{abs(change):.0%} {'fewer' if change <= 0 else 'more'}"


def _pretraining(findings: Findings) -> Iterator[str]:
    inside = findings.inside
    seconds = len(inside.waveform) / 16_000
    yield html_page.heading("Listening without transcripts")
    yield html_page.paragraph(
        "A recording becomes frames of sound energy by pitch. In pre-training, stretches of them are hidden; from what "
        "remains, the model has to tell which sound was there, among others from the same recording."
    )
    yield html_page.picture(
        features(inside.waveform, inside.log_mel), "A test recording as a waveform and as the model's input."
    )
    yield html_page.picture(
        masking(inside.log_mel, inside.masked, seconds=seconds),
        "The same recording as a pre-training task: guess what is hatched.",
    )
    yield html_page.paragraph(
        "The sounds to be told apart are entries of a codebook that is learnt along. A healthy codebook uses many of "
        "its entries, and holds one for as long as a sound lasts."
    )
    yield html_page.picture(
        curves(findings.pretraining),
        "The training: the loss beside chance, where a model stays that learns nothing; how often the hidden sound is "
        "told; how many codes are in use; the size of the updates.",
    )
    num_codes = inside.code_counts.shape[1]
    yield html_page.picture(
        units_over_time(inside.log_mel, inside.codes, num_codes=num_codes, seconds=seconds),
        "The codes chosen for the recording: one from each group for each frame.",
    )
    yield html_page.picture(code_use(inside.code_counts), "How evenly the codes are used over all test recordings.")


def _examples(findings: Findings) -> Iterator[str]:
    yield html_page.heading("Listen and compare")
    yield html_page.paragraph(
        "The first test recording of each speaker. Underlined words are wrong (above them stands what was said), bold "
        "ones with a plus were not said, struck ones were not heard."
    )
    for example in findings.examples:
        rows = [
            (score.label, " ".join(word.text for word in words))
            for score, words in zip(findings.scores, example.heard, strict=True)
        ]
        yield html_page.heard(example.waveform, reference=example.reference, rows=rows)


def _details(findings: Findings) -> Iterator[str]:
    yield html_page.heading("How it was done")
    yield html_page.table(["what", "how much"], findings.facts)
    rows = [(score.label, score.loss) for score in findings.scores if score.loss]
    yield html_page.picture(
        losses(rows, ylabel="CTC loss, nats an utterance"), "The loss of both recognisers on what they learn from."
    )
    measures: Sequence[tuple[str, str]] = (("characters", "character error rate"), ("words", "word error rate"))
    yield html_page.table(
        ["", *(score.label for score in findings.scores)],
        [[title, *(_written(getattr(score, name)) for score in findings.scores)] for name, title in measures],
    )
    yield html_page.heading("The same with your recordings")
    yield html_page.code(findings.commands)


def _written(rate: Interval) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
