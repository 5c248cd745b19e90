"""List utterances on the error page: reference, marked hypothesis, audio for some; with sorting and search."""

import html
import math
from collections.abc import Iterator, Sequence

from sori.core import audio
from sori.data.manifest import Utterance
from sori.evaluation.error_rate import Edits, Scored
from sori.evaluation.report.scores import Scores
from sori.plots import html_page as blocks
from sori.text.edit_distance import Step

AUDIO_MINUTES = 20.0
"""Maximum amount of audio on a page: about 10 MB."""
NUM_WORST, NUM_SPREAD = 60, 20
"""Number of utterances with audio, within this limit: the worst, and some spread evenly over the rest."""


def listed(scores: Scores, words: Sequence[list[list[Step]]], *, audio_minutes: float) -> Iterator[str]:
    """Yield the heading, the search and sort controls, and all utterances, the worst first.

    Args:
        scores: scores of one system or two.
        words: aligned words of each system, by utterance.
        audio_minutes: maximum amount of audio to embed.
    """
    number = len(scores.ids)
    badness = [_badness([report.utterances[row] for report in scores.reports]) for row in range(number)]
    order = sorted(range(number), key=lambda row: (-badness[row], -scores.reports[0].utterances[row].characters.total))
    players = audible(scores.recordings, order, minutes=audio_minutes)
    yield blocks.heading("Utterances")
    yield blocks.paragraph(_explanation(scores, players))
    yield _tools(scores)
    yield "<div id=utterances>"
    for row in order:
        recording = scores.recordings[row] if row in players else None
        yield _utterance(scores, row, [side[row] for side in words], badness[row], recording)
    yield "</div>"


def audible(recordings: Sequence[Utterance], order: Sequence[int], *, minutes: float) -> set[int]:
    """Select the recordings to embed in the page.

    Args:
        recordings: all recordings; empty if only texts were scored.
        order: row numbers, the worst first.
        minutes: maximum total duration; recordings that do not fit are skipped.
    """
    if not recordings:
        return set()
    rest = order[NUM_WORST:]
    spread = [rest[step * len(rest) // NUM_SPREAD] for step in range(NUM_SPREAD)] if len(rest) > NUM_SPREAD else rest
    chosen, seconds = set[int](), 0.0
    for row in [*order[:NUM_WORST], *spread]:
        length = recordings[row].duration_seconds
        if seconds + length <= 60 * minutes:
            chosen.add(row)
            seconds += length
    return chosen


def _badness(systems: Sequence[Scored]) -> float:
    """Return the CER over all systems; hypotheses of empty references come first."""
    return sum(one.characters.errors for one in systems) / max(sum(one.characters.total for one in systems), 1e-3)


def _explanation(scores: Scores, players: set[int]) -> str:
    marks = (
        "Underlined: substitutions (the reference is above the word). Plus: insertions. Struck through: deletions. "
        "Right: word error rate (W) and character error rate (C)."
    )
    if not scores.recordings:
        return marks
    if len(players) == len(scores.ids):
        return f"{marks} All utterances have audio."
    return (
        f"{marks} {len(players):,} of {len(scores.ids):,} have audio (the {NUM_WORST} worst and {NUM_SPREAD} "
        "spread over the rest, as far as they fit), to limit the size of the page."
    )


def _tools(scores: Scores) -> str:
    first = scores.reports[0].utterances
    wrong = sum(any(report.utterances[row].words.errors for report in scores.reports) for row in range(len(first)))
    choices = [("all", f"all {len(first):,}"), ("wrong", f"with errors {wrong:,}")]
    if scores.difference:
        gaps = [_gap(scores, row) for row in range(len(first))]
        choices += [
            ("first", f"A better {sum(gap < 0 for gap in gaps):,}"),
            ("second", f"B better {sum(gap > 0 for gap in gaps):,}"),
        ]
    orders = [("worst", "worst first"), ("number", "original order"), ("length", "longest first")]
    orders += [("gap", "largest difference first")] if scores.difference else []
    chips = "".join(
        f'<button type=button data-only="{key}" aria-pressed={"true" if key == "all" else "false"}>{text}</button>'
        for key, text in choices
    )
    options = "".join(f'<option value="{key}">{text}</option>' for key, text in orders)
    return (
        '<div id=tools hidden><input id=search type=search placeholder="search words, names, speakers" '
        f'aria-label="search utterances"><select id=order aria-label="order">{options}</select>'
        f"<div class=chips>{chips}</div><output id=shown></output></div>"
    )


def _gap(scores: Scores, row: int) -> int:
    """Return the word errors of the first system minus those of the second."""
    one, other = (report.utterances[row].words.errors for report in scores.reports)
    return one - other


def _utterance(
    scores: Scores, row: int, steps: Sequence[list[Step]], badness: float, recording: Utterance | None
) -> str:
    systems = [report.utterances[row] for report in scores.reports]
    first = systems[0]
    about = [f"<b>{html.escape(scores.ids[row])}</b>"]
    if first.speaker is not None:
        about.append(f"<span>speaker {html.escape(first.speaker)}</span>")
    if scores.recordings:
        about.append(f"<span>{scores.recordings[row].duration_seconds:.1f} s</span>")
    player = "" if recording is None else _player(recording)
    empty = "<i class=soft>empty</i>"
    lines = [f"<dt>reference</dt><dd dir=auto>{html.escape(first.reference) or empty}</dd><dd></dd>"]
    labels = [("", "hypothesis")] if scores.difference is None else [(" class=first", "A"), (" class=second", "B")]
    for (kind, label), one, aligned in zip(labels, systems, steps, strict=True):
        marked = blocks.marked(aligned) or empty
        lines.append(
            f"<dt{kind}>{label}</dt><dd dir=auto>{marked}</dd><dd>{_counted(one.words)} {_counted(one.characters)}</dd>"
        )
    gap = f' data-gap="{_gap(scores, row)}"' if scores.difference else ""
    errors = sum(one.words.errors for one in systems)
    data = (
        f'data-number="{row}" data-worst="{badness:.4g}" data-length="{first.characters.total}" data-wrong="{errors}"'
    )
    return f"<article {data}{gap}><header>{''.join(about)}</header>{player}<dl>{''.join(lines)}</dl></article>"


def _player(recording: Utterance) -> str:
    waveform = audio.read(
        recording.path, start=recording.start, duration=recording.duration_seconds, channel=recording.mix
    )
    return blocks.audio(waveform, small=True)


def _counted(edits: Edits) -> str:
    shown = f"{edits.rate:.0%}" if math.isfinite(edits.rate) else "\N{INFINITY}"
    return f'<span title="{edits.errors:,} of {edits.total:,}">{shown}</span>'
