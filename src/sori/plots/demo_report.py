"""HTML report of `sori demo`: what pre-training and self-training gain, and how."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sori.core.shapes import Bool, Float, Int, Tensor
from sori.plots import html_page
from sori.plots.codebook_heatmap import codebook_use, units_over_time
from sori.plots.error_bars import error_rates, losses
from sori.plots.features import features, masking
from sori.plots.signal import TimedWord, transcript
from sori.plots.training_curves import curves


class Interval(NamedTuple):
    """Value with its 95 % interval."""

    value: float
    low: float
    high: float


class Rates(NamedTuple):
    """Error rates on the test set, as fractions."""

    words: Interval
    characters: Interval


class Score(NamedTuple):
    """Scores of a recogniser on the test set."""

    label: str
    rates: Rates
    """With the language model."""
    alone: Rates
    """Without it."""
    loss: list[tuple[int, float]]
    """Training loss: (update, CTC loss in nats per utterance)."""
    language_model: str
    """How the language model is used, in words."""


class Example(NamedTuple):
    """Test utterance with the hypotheses of all recognisers."""

    waveform: Float[Tensor, " sample"]
    reference: str
    hypotheses: list[list[TimedWord]]
    """Hypothesis of each recogniser, in the order of the scores."""


class PretrainingExample(NamedTuple):
    """One utterance in pre-training: input, mask and units."""

    waveform: Float[Tensor, " sample"]
    log_mel: Float[Tensor, "window mel"]
    masked: Bool[Tensor, " frame"]
    units: Int[Tensor, "frame group"]
    unit_counts: Int[Tensor, "group unit"]
    """Number of frames of each unit over all test utterances."""


class Findings(NamedTuple):
    """Content of the page."""

    facts: list[tuple[str, str]]
    """Data and training, as (name, amount)."""
    scores: list[Score]
    """Scores without pre-training, with it, and perhaps with self-training after it."""
    change: Interval
    """Relative change of the WER by pre-training: -0.4 is 40 % fewer errors."""
    change_alone: Interval
    """Relative change of the CER by pre-training, without the language model."""
    self_training: Interval | None
    """Relative change of the WER by self-training; None: it is not in the report."""
    text: list[list[str]]
    """Sentences to read: what was said, and what each recogniser has written, in the order of the scores."""
    pretraining: list[dict[str, Any]]
    """Rows of `metrics.jsonl` of the pre-training run."""
    pretraining_example: PretrainingExample
    examples: list[Example]
    commands: str
    """Commands for other recordings."""


def compose(findings: Findings) -> str:
    """Return the page as self-contained HTML."""
    blocks = [
        *_summary(findings),
        *_language_model(findings),
        *_pretraining(findings),
        *_examples(findings),
        *_details(findings),
    ]
    return html_page.page("Gain from pre-training", blocks)


def _summary(findings: Findings) -> Iterator[str]:
    yield html_page.heading("Gain from pre-training", level=1)
    yield html_page.paragraph(
        "Two recognisers are trained on the same transcribed speech. One of them was first pre-trained on recordings "
        "without transcripts; the other is trained longer, with another optimiser. Both write speakers and sentences "
        "that are not in the training data, with language models of the same texts."
        + (
            ""
            if findings.self_training is None
            else " A third one is pre-trained, too, and also learns from what the pre-trained one writes for the "
            "recordings without transcripts (self-training)."
        )
    )
    header = ["said", *(score.label for score in findings.scores)]
    yield html_page.reading(header, findings.text)
    yield html_page.paragraph(
        "The first sentences of each test speaker. Underlined: wrong or inserted words; \N{WHITE SQUARE}: missing.",
        soft=True,
    )
    changes = [("with pre-training", findings.change), ("with self-training", findings.self_training)]
    yield html_page.tiles(
        [(f"{score.rates.words.value:.1%}", f"WER {score.label}") for score in findings.scores]
        + [
            (
                _fewer(change.value),
                f"word errors {what} (95% interval {change.low:+.0%} to {change.high:+.0%})",
            )
            for what, change in changes
            if change is not None
        ]
    )
    rows = [
        (score.label, score.rates.words.value, (score.rates.words.low, score.rates.words.high))
        for score in reversed(findings.scores)  # the first one is in colour
    ]
    yield html_page.picture(
        error_rates(rows, measure="word error rate"),
        "Word error rate: substitutions, deletions and insertions in percent of the reference words, with 95% "
        "intervals. Character error rate: "
        + ", ".join(f"{score.rates.characters.value:.1%} {score.label}" for score in findings.scores)
        + ".",
    )
    example = findings.examples[0]
    hypotheses = [(score.label, words) for score, words in zip(findings.scores, example.hypotheses, strict=True)]
    yield html_page.picture(
        transcript(example.waveform, reference=example.reference, rows=hypotheses),
        "A test recording and the recognised words at their times. Green: correct. Red: substitutions "
        "(\N{MULTIPLICATION SIGN}), insertions (+) and deletions (in brackets).",
    )


def _language_model(findings: Findings) -> Iterator[str]:
    change = findings.change_alone
    yield html_page.heading("What the language model does")
    yield html_page.paragraph(
        "The language model counts which words follow each other, in texts and not in speech. It chooses among words "
        "that sound alike; a word that it does not know is spelt as it sounds. The same recognisers with and "
        "without it:"
    )
    rows = [
        (f"{score.label}, {how}", rates.words.value, (rates.words.low, rates.words.high))
        for score in reversed(findings.scores)
        for how, rates in (("language model", score.rates), ("no language model", score.alone))
    ]
    yield html_page.picture(
        error_rates(rows, measure="word error rate"), "Word error rate with and without it, with 95% intervals."
    )
    yield html_page.table(
        ["", "WER", "CER"],
        [
            [f"{score.label}, {how}", _with_interval(rates.words), _with_interval(rates.characters)]
            for score in findings.scores
            for how, rates in (("language model", score.rates), ("no language model", score.alone))
        ],
    )
    yield html_page.paragraph(
        "What pre-training does for the recognition of sounds shows without language model, in characters: "
        f"{_fewer(change.value)} errors (95% interval {change.low:+.0%} to {change.high:+.0%})."
    )
    for score in findings.scores:
        yield html_page.paragraph(f"Language model of the recogniser {score.label}: {score.language_model}.", soft=True)


def _fewer(change: float) -> str:
    return f"{abs(change):.0%} {'fewer' if change <= 0 else 'more'}"


def _pretraining(findings: Findings) -> Iterator[str]:
    example = findings.pretraining_example
    seconds = len(example.waveform) / 16_000
    yield html_page.heading("Pre-training without transcripts")
    yield html_page.paragraph(
        "The input is a log-mel spectrogram. In pre-training, spans of frames are masked, and the model predicts the "
        "quantised unit of each masked frame among distractors from the same recording (contrastive loss)."
    )
    yield html_page.picture(
        features(example.waveform, example.log_mel), "A test recording: waveform and model input (log-mel)."
    )
    yield html_page.picture(
        masking(example.log_mel, example.masked, seconds=seconds),
        "The same recording in pre-training: the hatched frames are masked and have to be predicted.",
    )
    yield html_page.paragraph(
        "The targets are entries of a codebook that is trained jointly. In a healthy run many entries are in use, and "
        "an entry stays constant for the duration of a sound."
    )
    yield html_page.picture(
        curves(findings.pretraining),
        "Pre-training: contrastive loss and its chance level; accuracy on masked frames; codebook perplexity (the "
        "effective number of entries); gradient norm and learning rate.",
    )
    num_codes = example.unit_counts.shape[1]
    yield html_page.picture(
        units_over_time(example.log_mel, example.units, num_codes=num_codes, seconds=seconds),
        "Units of the recording: one from each group for each frame.",
    )
    yield html_page.picture(codebook_use(example.unit_counts), "Frequency of the units over all test recordings.")


def _examples(findings: Findings) -> Iterator[str]:
    yield html_page.heading("Listen and compare")
    yield html_page.paragraph(
        "The first test recording of each speaker. Underlined: substitutions (the reference is above the word). Bold "
        "with a plus: insertions. Struck through: deletions."
    )
    for example in findings.examples:
        rows = [
            (score.label, " ".join(word.text for word in words))
            for score, words in zip(findings.scores, example.hypotheses, strict=True)
        ]
        yield html_page.utterance(example.waveform, reference=example.reference, rows=rows)


def _details(findings: Findings) -> Iterator[str]:
    yield html_page.heading("Data and training")
    yield html_page.table(["item", "amount"], findings.facts)
    rows = [(score.label, score.loss) for score in reversed(findings.scores) if score.loss]
    yield html_page.picture(
        losses(rows, ylabel="CTC loss, nats per utterance"), "Training loss of the recognisers in fine-tuning."
    )
    yield html_page.heading("Commands for your own recordings")
    yield html_page.code(findings.commands)


def _with_interval(rate: Interval) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"
