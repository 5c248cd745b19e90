"""Error report: an HTML page with error rates, confusions and utterances of one system, or two compared."""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from itertools import chain

from matplotlib.figure import Figure

from sori.evaluation import differences
from sori.evaluation.differences import FEWEST_DRAWN, Part
from sori.evaluation.error_rate import Rate
from sori.evaluation.report.scores import Scores
from sori.evaluation.report.utterance_table import AUDIO_MINUTES, listed
from sori.evaluation.report.verdict import caution
from sori.plots import html_page as blocks
from sori.plots.error_bars import by_group
from sori.text.edit_distance import Step

_SHOWN_CONFUSIONS = 12
_LABELLED = 24
"""Maximum number of groups whose names are drawn in a figure."""


def page(scores: Scores, *, audio_minutes: float = AUDIO_MINUTES) -> str:
    """Return the page as self-contained HTML.

    Args:
        scores: scores of one system or two.
        audio_minutes: maximum amount of audio to embed, of the worst utterances and some others.

    Raises:
        FileNotFoundError: a recording does not exist.
    """
    words = [differences.words(report) for report in scores.reports]
    body = chain(
        _summary(scores),
        _confusions(scores, words),
        _speakers(scores),
        _lengths(scores),
        listed(scores, words, audio_minutes=audio_minutes),
        _method(scores),
    )
    here = files("sori.evaluation.report")
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("error_page.css", "error_page.js"))
    return blocks.page(f"Error report: {' and '.join(scores.names)}", body, style=style, script=script)


def _summary(scores: Scores) -> Iterator[str]:
    first = scores.reports[0]
    yield blocks.heading("Error report", level=1)
    if scores.difference is None:
        yield blocks.paragraph(scores.names[0], soft=True)
    else:
        yield blocks.legend(zip(scores.labels, scores.names, strict=True))
    facts = []
    for label, report in zip(scores.labels, scores.reports, strict=True):
        system = f", {label}" if scores.difference else ""
        facts += [
            (f"{report.wer.rate:.2%}", f"word error rate (WER){system}"),
            (f"{report.cer.rate:.2%}", f"character error rate (CER){system}"),
        ]
    extent = f"{len(first.utterances):,} utterances"
    if scores.recordings:
        minutes = sum(one.duration_seconds for one in scores.recordings) / 60
        extent += f" of {minutes / 60:.1f} h" if minutes > 90 else f" of {minutes:.1f} min"
    if first.speakers:
        extent += f", {len(first.speakers):,} speaker{'s' if len(first.speakers) > 1 else ''}"
    yield blocks.tiles([*facts, (f"{first.wer.edits.total:,}", f"reference words in {extent}")])
    for found in scores.verdicts():
        yield blocks.finding(found.headline, found.detail)
    rows = [
        [*([label] if scores.difference else []), name, *_rate_cells(rate, digits=2), *_edit_cells(rate)]
        for name, kind in (("WER", "wer"), ("CER", "cer"))
        for label, report in zip(scores.labels, scores.reports, strict=True)
        for rate in [getattr(report, kind)]
    ]
    head = ["", "rate", "95% interval", "errors", "of", "substitutions", "insertions", "deletions"]
    head, numbers = (["", *head], range(2, 9)) if scores.difference else (head, range(1, 8))
    yield blocks.table(head, rows, numbers=numbers)
    remarks = [*scores.notes, caution(first.unit, scores.num_drawn)]
    if first.num_empty_references:
        remarks.append(
            f"{first.num_empty_references:,} empty references: every word of their hypotheses counts as an insertion."
        )
    for remark in filter(None, remarks):
        yield blocks.paragraph(f"Note: {remark}", soft=True)


def _rate_cells(rate: Rate, *, digits: int = 1) -> list[str]:
    interval = "" if math.isnan(rate.low) else f"{100 * rate.low:.{digits}f} to {rate.high:.{digits}%}"
    return [f"{rate.rate:.{digits}%}", interval]


def _rate_cell(rate: Rate) -> str:
    value, interval = _rate_cells(rate)
    return f"{value}<small class=range>{interval.removesuffix('%')}</small>"


def _edit_cells(rate: Rate) -> list[str]:
    edits = rate.edits
    return [
        f"{number:,}" for number in (edits.errors, edits.total, edits.substitutions, edits.insertions, edits.deletions)
    ]


def _confusions(scores: Scores, words: Sequence[list[list[Step]]]) -> Iterator[str]:
    yield blocks.heading("Most frequent errors")
    yield blocks.paragraph("Select a word to list the utterances with this error.", soft=True)
    yield from _confused(scores, words, unit="word", show=_clickable)
    yield blocks.heading("Characters", level=3)
    characters = [differences.characters(report) for report in scores.reports]
    yield from _confused(scores, characters, unit="character", show=_visible)


def _confused(
    scores: Scores, aligned: Sequence[list[list[Step]]], *, unit: str, show: Callable[[str, str, str], str]
) -> Iterator[str]:
    """Yield tables of substitutions, deletions and insertions, with a column of counts for each system."""
    found = [differences.confusions(one) for one in aligned]
    tables = []
    titles = (("wrong", f"{unit} substitutions"), ("missing", f"{unit} deletions"), ("extra", f"{unit} insertions"))
    for kind, title in titles:
        counts = [{tuple(row[:-1]): row[-1] for row in getattr(one, kind)} for one in found]
        keys = sorted(
            {key for one in counts for key in one}, key=lambda key: (-max(c.get(key, 0) for c in counts), key)
        )
        totals = ", ".join(
            (f"{label} " if scores.difference else "") + f"{sum(one.values()):,}"
            for label, one in zip(scores.labels, counts, strict=True)
        )
        named = ["reference", "hypothesis"] if kind == "wrong" else ["reference" if kind == "missing" else "hypothesis"]
        head = [*named, *(scores.labels if scores.difference else ["count"])]
        rows = [
            [show(kind, *_both(kind, key))] + [f"{one.get(key, 0):,}" for one in counts]
            for key in keys[:_SHOWN_CONFUSIONS]
        ]
        head = [" \N{RIGHTWARDS ARROW} ".join(named), *head[len(named) :]]
        rest = f"and {len(keys) - len(rows):,} others" if len(keys) > len(rows) else ""
        caption = blocks.heading(title, level=4) + blocks.paragraph(totals, soft=True)
        made = blocks.raw_table(head, rows, numbers=range(1, len(head))) if rows else ""
        tables.append(f"<div>{caption}{made}{blocks.paragraph(rest, soft=True) if rest else ''}</div>")
    yield f"<div class=three>{''.join(tables)}</div>"


def _both(kind: str, key: tuple[str, ...]) -> tuple[str, str]:
    return (key[0], key[1]) if kind == "wrong" else (key[0], "") if kind == "missing" else ("", key[0])


def _clickable(kind: str, reference: str, hypothesis: str) -> str:
    queries = {"wrong": f"{reference} \N{RIGHTWARDS ARROW} {hypothesis}", "missing": f"\N{MINUS SIGN} {reference}"}
    return blocks.finder(_pair(reference, hypothesis), queries.get(kind, f"+ {hypothesis}"))


def _visible(_kind: str, reference: str, hypothesis: str) -> str:
    return blocks.escaped(_pair(*("space" if one == " " else one for one in (reference, hypothesis))))


def _pair(reference: str, hypothesis: str) -> str:
    both = f"{reference} \N{RIGHTWARDS ARROW} {hypothesis}"
    return both if reference and hypothesis else reference or hypothesis


def _speakers(scores: Scores) -> Iterator[str]:
    parts = [differences.by_speaker(report) for report in scores.reports]
    if len(parts[0]) < 2:
        return
    ordered = [[{part.name: part for part in side}[one.name] for one in parts[0]] for side in parts]
    yield blocks.heading("By speaker")
    yield blocks.picture(_drawn(scores, ordered, "speakers"), "Character error rate by speaker, in percent.")
    yield "<div class=tall>" + _parts(scores, ordered, "speaker", clickable=True) + "</div>"
    yield blocks.paragraph(
        f"Below each rate: 95% interval over the speaker's utterances, if there are at least {FEWEST_DRAWN}.", soft=True
    )


def _lengths(scores: Scores) -> Iterator[str]:
    yield blocks.heading("By length")
    by_words = [differences.by_words(report) for report in scores.reports]
    yield _parts(scores, by_words, "reference words")
    if scores.recordings:
        seconds = [one.duration_seconds for one in scores.recordings]
        by_seconds = [differences.by_seconds(report, seconds) for report in scores.reports]
        yield _parts(scores, by_seconds, "seconds")


def _parts(scores: Scores, sides: Sequence[Sequence[Part]], name: str, *, clickable: bool = False) -> str:
    """Return a table with the error rates of each system by part."""
    marks = [f" {label}" if scores.difference else "" for label in scores.labels]
    head = [name, "utterances", "words"]
    head += [f"{rate}{mark}" for rate in ("WER", "CER") for mark in marks]
    rows = []
    for row in zip(*sides, strict=True):
        first = row[0]
        shown = blocks.finder(first.name, f"speaker {first.name}") if clickable else blocks.escaped(first.name)
        cells = [shown, f"{first.num_utterances:,}", f"{first.words.edits.total:,}"]
        cells += [
            _rate_cell(rate) for what in ("words", "characters") for part in row for rate in [getattr(part, what)]
        ]
        rows.append(cells)
    return blocks.raw_table(head, rows, numbers=range(1, len(head)))


def _drawn(scores: Scores, sides: Sequence[Sequence[Part]], what: str) -> Figure:
    names = [part.name for part in sides[0]]
    rates = [[(part.characters.rate, part.characters.low, part.characters.high) for part in side] for side in sides]
    series = list(zip(scores.labels, rates, strict=True))
    return by_group(names if len(names) <= _LABELLED else None, series, what=what, measure="CER")


def _method(scores: Scores) -> Iterator[str]:
    yield blocks.heading("Method")
    yield blocks.paragraph(
        "Each hypothesis is aligned with its reference so that the number of errors is minimal. Substitutions, "
        "insertions and deletions count as one error each; the error rate is the number of errors divided by the "
        "number of reference words, and can exceed 100 %. Characters are counted in the same way: a character is a "
        "grapheme cluster, and the space between words counts as one."
    )
    yield blocks.paragraph(
        f"Intervals are computed by the bootstrap: 1,000 times, {scores.num_drawn:,} {scores.reports[0].unit} are "
        "drawn with replacement from those of this test set and scored; the interval is the central 95 % of the rates. "
        "Two systems are compared on the same draws (paired bootstrap), which is more sensitive than checking whether "
        "their intervals overlap."
    )
