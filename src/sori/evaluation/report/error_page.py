"""The page that shows how often a system is wrong, where, and whether another one is better."""

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
"""More groups than this stand in a figure without their names."""


def page(scores: Scores, *, audio_minutes: float = AUDIO_MINUTES) -> str:
    """The page as HTML, complete in one file.

    Args:
        scores: of one system or two.
        audio_minutes: at most so much sound is put in, of the worst utterances and of some others.

    Raises:
        FileNotFoundError: a recording is gone.
    """
    words = [differences.words(report) for report in scores.reports]
    body = chain(
        _answer(scores),
        _confusions(scores, words),
        _speakers(scores),
        _lengths(scores),
        listed(scores, words, audio_minutes=audio_minutes),
        _method(scores),
    )
    here = files("sori.evaluation.report")
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("error_page.css", "error_page.js"))
    return blocks.page(f"Error report: {' and '.join(scores.names)}", body, style=style, script=script)


def _answer(scores: Scores) -> Iterator[str]:
    first = scores.reports[0]
    yield blocks.heading("Error report", level=1)
    if scores.difference is None:
        yield blocks.paragraph(scores.names[0], soft=True)
    else:
        yield blocks.legend(zip(scores.labels, scores.names, strict=True))
    facts = []
    for label, report in zip(scores.labels, scores.reports, strict=True):
        of = f", {label}" if scores.difference else ""
        facts += [
            (f"{report.wer.rate:.2%}", f"of words wrong{of}"),
            (f"{report.cer.rate:.2%}", f"of letters wrong{of}"),
        ]
    extent = f"{len(first.utterances):,} utterances"
    if scores.recordings:
        minutes = sum(one.duration_seconds for one in scores.recordings) / 60
        extent += f" of {minutes / 60:.1f} h" if minutes > 90 else f" of {minutes:.1f} min"
    if first.speakers:
        extent += f", {len(first.speakers):,} speaker{'s' if len(first.speakers) > 1 else ''}"
    yield blocks.tiles([*facts, (f"{first.wer.edits.total:,}", f"words said in {extent}")])
    for found in scores.verdicts():
        yield blocks.finding(found.headline, found.detail)
    rows = [
        [*([label] if scores.difference else []), name, *_rate_cells(rate, digits=2), *_edit_cells(rate)]
        for name, kind in (("words", "wer"), ("letters", "cer"))
        for label, report in zip(scores.labels, scores.reports, strict=True)
        for rate in [getattr(report, kind)]
    ]
    head = ["", "wrong", "95% interval", "errors", "of", "for another", "too many", "left out"]
    head, numbers = (["", *head], range(2, 9)) if scores.difference else (head, range(1, 8))
    yield blocks.table(head, rows, numbers=numbers)
    remarks = [*scores.notes, caution(first.unit, scores.num_drawn)]
    if first.num_empty_references:
        remarks.append(
            f"In {first.num_empty_references:,} utterances nothing was said: every word written there is one too many."
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
    yield blocks.heading("What is confused")
    yield blocks.paragraph("The commonest errors. Choose a word to see the utterances it is wrong in.", soft=True)
    yield from _confused(scores, words, unit="words", show=_clickable)
    yield blocks.heading("Letters", level=3)
    characters = [differences.characters(report) for report in scores.reports]
    yield from _confused(scores, characters, unit="letters", show=_visible)


def _confused(
    scores: Scores, aligned: Sequence[list[list[Step]]], *, unit: str, show: Callable[[str, str, str], str]
) -> Iterator[str]:
    """Three tables side by side: written for something else, left out, too many; a column of counts for each system."""
    found = [differences.confusions(one) for one in aligned]
    tables = []
    titles = (("wrong", f"{unit} for others"), ("missing", f"{unit} left out"), ("extra", f"{unit} too many"))
    for kind, title in titles:
        counts = [{tuple(row[:-1]): row[-1] for row in getattr(one, kind)} for one in found]
        keys = sorted(
            {key for one in counts for key in one}, key=lambda key: (-max(c.get(key, 0) for c in counts), key)
        )
        totals = ", ".join(
            (f"{label} " if scores.difference else "") + f"{sum(one.values()):,}"
            for label, one in zip(scores.labels, counts, strict=True)
        )
        named = ["said", "written"] if kind == "wrong" else ["said" if kind == "missing" else "written"]
        head = [*named, *(scores.labels if scores.difference else ["times"])]
        rows = [
            [show(kind, *_both(kind, key))] + [f"{one.get(key, 0):,}" for one in counts]
            for key in keys[:_SHOWN_CONFUSIONS]
        ]
        head = [" \N{RIGHTWARDS ARROW} ".join(named), *head[len(named) :]]
        rest = f"and {len(keys) - len(rows):,} other kinds" if len(keys) > len(rows) else ""
        caption = blocks.heading(title, level=4) + blocks.paragraph(totals, soft=True)
        made = blocks.raw_table(head, rows, numbers=range(1, len(head))) if rows else ""
        tables.append(f"<div>{caption}{made}{blocks.paragraph(rest, soft=True) if rest else ''}</div>")
    yield f"<div class=three>{''.join(tables)}</div>"


def _both(kind: str, key: tuple[str, ...]) -> tuple[str, str]:
    return (key[0], key[1]) if kind == "wrong" else (key[0], "") if kind == "missing" else ("", key[0])


def _clickable(kind: str, said: str, written: str) -> str:
    sought = {"wrong": f"{said} \N{RIGHTWARDS ARROW} {written}", "missing": f"\N{MINUS SIGN} {said}"}
    return blocks.finder(_pair(said, written), sought.get(kind, f"+ {written}"))


def _visible(_kind: str, said: str, written: str) -> str:
    return blocks.escaped(_pair(*("space" if letter == " " else letter for letter in (said, written))))


def _pair(said: str, written: str) -> str:
    return f"{said} \N{RIGHTWARDS ARROW} {written}" if said and written else said or written


def _speakers(scores: Scores) -> Iterator[str]:
    parts = [differences.by_speaker(report) for report in scores.reports]
    if len(parts[0]) < 2:
        return
    ordered = [[{part.name: part for part in side}[one.name] for one in parts[0]] for side in parts]
    yield blocks.heading("By speaker")
    yield blocks.picture(_drawn(scores, ordered, "speakers"), "Letters wrong, in percent of those said, by speaker.")
    yield "<div class=tall>" + _parts(scores, ordered, "speaker", clickable=True) + "</div>"
    yield blocks.paragraph(
        f"Small: intervals over the speaker's utterances, where there are at least {FEWEST_DRAWN}.", soft=True
    )


def _lengths(scores: Scores) -> Iterator[str]:
    yield blocks.heading("By length")
    by_words = [differences.by_words(report) for report in scores.reports]
    yield _parts(scores, by_words, "words said")
    if scores.recordings:
        seconds = [one.duration_seconds for one in scores.recordings]
        by_seconds = [differences.by_seconds(report, seconds) for report in scores.reports]
        yield _parts(scores, by_seconds, "seconds")


def _parts(scores: Scores, sides: Sequence[Sequence[Part]], name: str, *, clickable: bool = False) -> str:
    """A row for each part, with the rates of each system."""
    marks = [f" {label}" if scores.difference else "" for label in scores.labels]
    head = [name, "utterances", "words"]
    head += [f"{what} wrong{mark}" for what in ("words", "letters") for mark in marks]
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
    return by_group(names if len(names) <= _LABELLED else None, series, what=what, measure="letters wrong")


def _method(scores: Scores) -> Iterator[str]:
    yield blocks.heading("How this is counted")
    yield blocks.paragraph(
        "Each text is laid beside what was written so that the fewest words differ. A word written for another "
        "(substitution), one too many (insertion) and one left out (deletion) are an error each; the rate is errors by "
        "words said, and can exceed 100 %. Letters are counted in the same way: a letter is what a reader takes for "
        "one, and the space between words is one too."
    )
    yield blocks.paragraph(
        f"Intervals say how far the rates could lie elsewhere by chance: 1,000 times, {scores.num_drawn:,} "
        f"{scores.reports[0].unit} are drawn from those of this test, each as often as it comes, and scored again; the "
        "middle 95 % of the rates make the interval. Two systems are compared on the same draws, which tells more than "
        "looking whether their intervals overlap."
    )
