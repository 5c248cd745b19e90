"""Choose which utterances to transcribe next (`sori select`).

Without a model, utterances are chosen by chance among the suitable ones, or so that they cover the sounds and the
speakers of the corpus (`coverage.py`). With a recogniser, those of which it is least confident are preferred, in
balance with what they add to the transcribed ones. Utterances that are transcribed, or held out for evaluation, are not
candidates.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.log import logger
from sori.core.seeds import derive
from sori.core.text_files import json_lines
from sori.data.manifest import Utterance, read_manifest
from sori.data.preparation.prepare import FLAGGED
from sori.data.sources.delimited import delimited_rows
from sori.data.utterances import folders_of
from sori.inference.coverage import Coverage, Gain, choose_greedily, count_features
from sori.inference.uncertainty import Fit, calibrated, confidences
from sori.inference.unit_sequences import by_clusters, by_encoder
from sori.inference.units import require_quantizer
from sori.models.ctc import Ctc
from sori.models.factory import System
from sori.recipes.recipe import Recipe

SECONDS = (2.0, 10.0)
"""Preferred lengths: shorter utterances have little context, longer ones are tedious to transcribe."""
WIDER_SECONDS = (0.5, 30.0)
"""Lengths that are used if there is not enough of the preferred ones."""
UNCLEAN = ("very quiet", "some clipping", "offset", "mostly zeros", "truncated", "foreign bytes")
"""Warnings of `sori prepare` about recordings that are used only if there is not enough without them."""
HELD_OUT: tuple[str, ...] = Recipe.model_fields["held_out"].default
_PIECE = re.compile(r"-\d{4,}$")
_LEAST_POOL = 1.5
"""There must be this many times the requested length of preferred utterances; otherwise others are candidates too."""
MOST_HOURS = 20.0
Row = TypeVar("Row")
By = Literal["chance", "sounds"]


class Selected(NamedTuple):
    """An utterance to transcribe, and why."""

    utterance: Utterance
    why: str
    confidence: float | None
    """Confidence of the recogniser in the utterance; None without one, or where it outputs nothing."""


class _Pool(NamedTuple):
    """Utterances to choose from, and those that were transcribed before, whose sounds are covered."""

    candidates: list[Utterance]
    transcribed: list[Utterance]


def select(
    data: str | Path | Sequence[str | Path],
    *,
    minutes: float = 10.0,
    by: By | None = None,
    model: str | Path | None = None,
    seed: int = 0,
    transcribed: Collection[str] = (),
    left_out: Collection[str] = (),
    most_hours: float = MOST_HOURS,
) -> list[Selected]:
    """Choose utterances of prepared folders to transcribe next, in the order of their value.

    Args:
        data: prepared folder or folders.
        minutes: maximum length of all chosen utterances together.
        by: `chance`: at random; `sounds`: so that sounds and speakers are covered. None: `sounds` with a model, else
            `chance`, because sounds gave no better recognisers (`docs/results/languages-and-speakers.md`).
        model: an encoder with a quantiser, whose units stand for sounds, or a recogniser, whose uncertainty then
            counts as well; None: the sounds are clusters of MFCC.
        seed: seed of the choice by chance, of the clusters and of the sample; the result depends only on the arguments
            and the recordings.
        transcribed: ids of utterances that have been transcribed since the folders were prepared.
        left_out: ids of utterances that are not candidates for another reason.
        most_hours: maximum amount of audio that is processed; of larger corpora, a random sample with all speakers.

    Raises:
        ValueError: nothing is left to transcribe, minutes are not positive, the model is of another kind, or there is
            one for a choice by chance.
    """
    if not 0 < minutes < float("inf") or not most_hours > 0:
        raise ValueError(f"expected minutes and hours above 0, got {minutes} minutes of {most_hours} hours")
    if by == "chance" and model is not None:
        raise ValueError(f"expected no model for a choice by chance, got {model}; leave one of the two out")
    folders = [Path(folder) for folder in folders_of(data)]
    pool = _pool(folders, set(transcribed), set(left_out), minutes=minutes, most_hours=most_hours, seed=seed)
    if model is None and by != "sounds":
        return _by_chance(pool.candidates, minutes=minutes, seed=seed)
    system = None if model is None else store.load(model).to(distributed.device()).eval()
    fit = calibrated(system, model) if isinstance(system, Ctc) and model is not None else None
    return _choose(pool, system, fit, model, minutes=minutes, seed=seed)


def read_ids(table: Path, column: str = "text") -> list[str]:
    """Return the ids of the rows of a table in which a column is not empty.

    Args:
        table: table with the columns `id` and `column`, such as a filled one of `sori select`.
        column: name of the column.

    Raises:
        ValueError: a column is missing, or the table is damaged.
    """
    rows = [row for _, row in delimited_rows(table, ("id", "text", "reason"))]
    if missing := [name for name in ("id", column) if rows and name not in rows[0]]:
        raise ValueError(f"{table}: expected the columns id and {column}, got no {missing[0]}; likely another table")
    return [row["id"] for row in rows if row[column].strip()]


def _by_chance(candidates: Sequence[Utterance], *, minutes: float, seed: int) -> list[Selected]:
    """Return candidates in a random order, without those for which no time is left."""
    left, found = 60 * minutes, list[Selected]()
    for row in np.random.default_rng(derive(seed, "chance")).permutation(len(candidates)).tolist():
        if candidates[row].duration_seconds <= left:
            left -= candidates[row].duration_seconds
            found.append(Selected(candidates[row], "by chance", None))
    return found


def _choose(
    pool: _Pool, system: System | None, fit: Fit | None, name: str | Path | None, *, minutes: float, seed: int
) -> list[Selected]:
    every = [*pool.candidates, *pool.transcribed]
    if system is None or isinstance(system, Ctc):
        found = by_clusters(every, seed=seed)
    else:
        found = by_encoder(require_quantizer(system, str(name)), every)
    units = list(_shown(found, len(every), "Comparing sounds"))
    sure: list[float | None] = [None] * len(every)
    if isinstance(system, Ctc):
        sure = [*_shown(confidences(system, pool.candidates, fit), len(pool.candidates), "Recognising"), *sure]
    rows = [
        row
        for row in range(len(pool.candidates))
        if units[row] is not None and (sure[row] is not None or not isinstance(system, Ctc))
    ]
    known = np.array([sure[row] for row in rows], dtype=float)
    factors = dict(zip(rows, _uncertainty(known).tolist(), strict=True)) if isinstance(system, Ctc) else None
    seconds = np.array([u.duration_seconds for u in every])
    speakers = [u.speaker for u in every]
    features = count_features([one or [] for one in units])
    coverage = Coverage(features, seconds, speakers, budget_seconds=60 * minutes)
    for row in range(len(pool.candidates), len(every)):
        coverage.add(row)
    gains = choose_greedily(coverage, rows, seconds, budget_seconds=60 * minutes, factors=factors)
    return [_selected(every[gain.row], gain, sure[gain.row], known) for gain in gains]


def _uncertainty(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return factors on the gain of each candidate, 1 on average; utterances without output get 1."""
    doubt = 1 - confidence
    known = doubt[np.isfinite(doubt)]
    mean = float(known.mean()) if len(known) else 1.0
    return np.where(np.isfinite(doubt), np.maximum(doubt, 1e-6) / max(mean, 1e-6), 1.0)


def _selected(utterance: Utterance, gain: Gain, confidence: float | None, every: NDArray[np.float64]) -> Selected:
    reasons = []
    if confidence is not None and np.isfinite(confidence):
        surer = float((every[np.isfinite(every)] > confidence).mean())
        reasons.append(f"confidence {confidence:.2f}, lower than of {surer:.0%}")
    elif confidence is not None:
        reasons.append("the recogniser outputs nothing")
        confidence = None
    if gain.new_units or gain.new_pairs:
        reasons.append(f"new units: {gain.new_units}, new pairs of units: {gain.new_pairs}")
    if utterance.speaker is not None:
        had = f"{gain.speaker_seconds:.0f} s so far" if gain.speaker_seconds else "none so far"
        reasons.append(f"speaker with {had}")
    return Selected(utterance, "; ".join(reasons) or "more of frequent sounds", confidence)


def _pool(
    folders: Sequence[Path],
    transcribed: set[str],
    left_out: set[str],
    *,
    minutes: float,
    most_hours: float,
    seed: int,
) -> _Pool:
    every = [u for folder in folders for u in read_manifest(folder)]
    unclean = {name for folder in folders for name in _unclean(folder)}
    usable = [u for u in every if not (u.split or "").startswith(HELD_OUT)]
    done = [u for u in usable if u.id in transcribed or (u.text or "").strip()]
    done_ids = {u.id for u in done}
    open_ones = [u for u in usable if u.id not in done_ids and u.id not in left_out]
    candidates: list[Utterance] = []
    for (shortest, longest), names in ((SECONDS, unclean), (SECONDS, set[str]()), (WIDER_SECONDS, set[str]())):
        candidates = [u for u in open_ones if shortest <= u.duration_seconds <= longest and not _is_unclean(u, names)]
        if sum(u.duration_seconds for u in candidates) >= 60 * minutes * _LEAST_POOL:
            break
    if not candidates:
        raise ValueError(
            f"expected utterances of {WIDER_SECONDS[0]:g} to {WIDER_SECONDS[1]:g} s without a transcript, got none: "
            f"{len(done)} of {len(every)} are transcribed, {len(every) - len(usable)} are held out for evaluation "
            f"({', '.join(HELD_OUT)}), {len(usable) - len(done) - len(open_ones)} are left out; prepare more recordings"
        )
    sampled = _sample(candidates, most_hours, seed)
    if len(sampled) < len(candidates):
        logger.info(f"choosing among {len(sampled):,} of {len(candidates):,} utterances, {most_hours:g} h at random")
    return _Pool(sampled, _sample(_readable_length(done), most_hours, seed))


def _readable_length(utterances: Iterable[Utterance]) -> list[Utterance]:
    return [u for u in utterances if u.duration_seconds <= WIDER_SECONDS[1]]


def _sample(utterances: list[Utterance], most_hours: float, seed: int) -> list[Utterance]:
    """Return utterances of a maximum length together, one of each speaker in turn; in their order."""
    if sum(u.duration_seconds for u in utterances) <= most_hours * 3600:
        return utterances
    order = np.random.default_rng(derive(seed, "sample")).permutation(len(utterances))
    turns: dict[str | None, int] = {}
    placed = []
    for place, row in enumerate(order.tolist()):
        turn = turns[utterances[row].speaker] = turns.get(utterances[row].speaker, -1) + 1
        placed.append((turn, place, row))
    placed.sort()
    ends = np.cumsum([utterances[row].num_samples for *_, row in placed])
    num = int(np.searchsorted(ends, most_hours * 3600 * SAMPLE_RATE))
    return [utterances[row] for row in sorted(row for *_, row in placed[: max(1, num)])]


def _unclean(folder: Path) -> set[str]:
    """Return the ids of recordings about which `sori prepare` has given warnings of `UNCLEAN`."""
    file = folder / FLAGGED
    if not file.is_file():  # cuts that were not made by `sori prepare`
        return set()
    rows = (row for _, row in json_lines(file) if isinstance(row, dict))
    return {str(row.get("id")) for row in rows if str(row.get("warning", "")).startswith(UNCLEAN)}


def _is_unclean(utterance: Utterance, flagged: set[str]) -> bool:
    """Return whether an utterance, or the recording that it was cut from (`talk` of `talk-0001`), has a warning."""
    return utterance.id in flagged or _PIECE.sub("", utterance.id) in flagged


def _shown(rows: Iterable[Row], total: int, title: str) -> Iterable[Row]:
    return track(rows, title, total=total, console=Console(stderr=True))
