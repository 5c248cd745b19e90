"""ABX phone discrimination: how often X is closer to B than to A, where A and X are the same phone. No training.

A and X are two items of one phone, B is an item of another one, all in the same context (preceding and following
phone). It is an error if X is closer to B than to A (half an error for equal distances); chance level is 50 %.
*Within*: all three items are from one speaker. *Across*: A and B are from one speaker, X from another. Distances are
computed by `dtw.py`.

The task defines the items:
- `triphone`: the phone with its left and right neighbour, as in ZeroSpeech 2017 and 2021;
- `phone`: the phone alone, compared within the same context (ZeroSpeech's later "phoneme, within context");
- `any`: the phone alone, in any context ("any context").
Silences and gaps are neither phones nor contexts.

Error rates are averaged in this order: over all triples of a cell (context, phone of A and X, phone of B, speaker of A
and B, speaker of X); over contexts; over speakers of X; over speakers of A and B; over ordered pairs of phones. All
contexts, speakers and pairs thus have equal weight, however frequent they are.

Limits, as in ZeroSpeech 2021: at most 10 items of each phone, context and speaker, and at most 5 speakers of X for each
phone, context and speaker of A; both are sampled at random.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.config import Config
from sori.core.seeds import derive
from sori.evaluation.bootstrap import FEWEST_SPEAKERS, Estimate, Unit, basis_of, draws, interval
from sori.evaluation.dtw import Items, compare, unit_length

Task = Literal["triphone", "phone", "any"]
_GAP_SECONDS = 0.011
"""Maximum gap between neighbouring phones: one frame of a typical aligner, and rounding."""
_Array = NDArray[Any]


class AbxConfig(Config):
    """Task and limits of the ABX evaluation."""

    task: Task = "triphone"
    max_items: int = 10
    """Maximum number of items of one phone by one speaker in one context."""
    max_x_speakers: int = 5
    """Maximum number of speakers of X for each phone, context and speaker of A and B."""


class Item(NamedTuple):
    """Segment of an utterance that contains a phone."""

    utterance: int
    start: float
    """Seconds from the start of the utterance."""
    end: float
    phone: int
    context: tuple[int, int]
    """Preceding and following phone; (-1, -1): any."""
    speaker: int


class Score(NamedTuple):
    """An ABX error rate."""

    error: Estimate
    num_cells: int
    num_triples: int
    num_distances: int


class Abx(NamedTuple):
    """ABX error rates; None if there are no two speakers (or items) to compare."""

    within: Score | None
    across: Score | None


class Plan(NamedTuple):
    """Items to compare; independent of the representation, so computed once for all layers."""

    chosen: list[Item]
    """Selected items, sorted by context, speaker and phone."""
    bags: NDArray[np.int64]
    """`bag + 1`: first item of each bag, the chosen items of one context, speaker and phone."""
    keys: NDArray[np.int64]
    """`bag 3`: context, speaker and phone of each bag, as numbers."""
    within: NDArray[np.int64]
    """Tasks in the format of `dtw.compare`."""
    across: NDArray[np.int64]


def find_items(
    phones: Sequence[Sequence[tuple[float, float, int]]], speakers: Sequence[int], *, task: Task = "triphone"
) -> list[Item]:
    """Return all phones with an adjacent preceding and following phone.

    Args:
        phones: for each utterance, start and end in seconds and number of each phone in order, -1 for silence.
        speakers: speaker of each utterance.
        task: see the module docstring.
    """
    found = []
    for utterance, (row, speaker) in enumerate(zip(phones, speakers, strict=True)):
        for before, here, after in zip(row, row[1:], row[2:], strict=False):
            numbers = (before[2], here[2], after[2])
            if min(numbers) < 0 or here[0] - before[1] > _GAP_SECONDS or after[0] - here[1] > _GAP_SECONDS:
                continue
            context = (-1, -1) if task == "any" else (before[2], after[2])
            start, end = (before[0], after[1]) if task == "triphone" else (here[0], here[1])
            found.append(Item(utterance, start, end, here[2], context, speaker))
    return found


def plan(items: Sequence[Item], config: AbxConfig | None = None, *, seed: int = 0) -> Plan:
    """Select the items and the comparisons.

    Args:
        items: from `find_items`.
        config: limits.
        seed: seed of the random sampling.
    """
    config = config or AbxConfig()
    random = np.random.default_rng(derive(seed, "abx"))
    bagged: dict[tuple[tuple[int, int], int, int], list[Item]] = defaultdict(list)
    for item in items:
        bagged[item.context, item.speaker, item.phone].append(item)
    names = sorted(bagged)
    chosen, bags = list[Item](), [0]
    for name in names:
        some = bagged[name]
        if len(some) > config.max_items:
            some = [some[i] for i in np.sort(random.choice(len(some), config.max_items, replace=False))]
        chosen += some
        bags.append(len(chosen))
    same_speaker: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)  # bags of one context and speaker
    same_phone: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)  # bags of one context and phone
    for bag, (context, speaker, phone) in enumerate(names):
        same_speaker[context, speaker].append(bag)
        same_phone[context, phone].append(bag)
    within, across = list[list[int]](), list[list[int]]()
    for (context, _), row in same_speaker.items():
        for a in row if len(row) > 1 else ():
            span = [row[0], row[-1] + 1]
            if bags[a + 1] - bags[a] > 1:
                within.append([a, a, *span])
            others = [bag for bag in same_phone[context, names[a][2]] if bag != a]
            if len(others) > config.max_x_speakers:
                others = [others[i] for i in random.choice(len(others), config.max_x_speakers, replace=False)]
            across += [[x, a, *span] for x in others]
    contexts = {context: i for i, context in enumerate(sorted({name[0] for name in names}))}
    keys = [[contexts[context], speaker, phone] for context, speaker, phone in names]
    return Plan(chosen, np.array(bags), _table(keys, 3), _table(within, 4), _table(across, 4))


def _table(rows: list[list[int]], width: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, width)


def score(
    planned: Plan, frames: _Array, spans: NDArray[np.int64], *, num_threads: int | None = None, seed: int = 0
) -> Abx:
    """Return the ABX error rates of one representation.

    Args:
        planned: from `plan`.
        frames: `frame dim`, frames of all utterances; float32 or float64.
        spans: `item 2`: first frame and last + 1 of each chosen item, at least one frame each.
        num_threads: number of threads; None: one per core.
        seed: seed of the bootstrap.

    Raises:
        ValueError: an item has no frame, or lies outside the frames.
    """
    if len(spans) and not ((spans[:, 0] < spans[:, 1]).all() and spans.min() >= 0 and spans.max() <= len(frames)):
        raise ValueError(f"expected spans of at least one frame within {len(frames)} frames, got others")
    starts, stops = (np.ascontiguousarray(spans[:, i], dtype=np.int64) for i in (0, 1))
    items = Items(unit_length(np.ascontiguousarray(frames)), starts, stops, planned.bags)
    found = []
    for tasks in (planned.within, planned.across):
        errors, triples, num_distances = compare(items, tasks, num_threads=num_threads)
        found.append(_average(planned.keys, tasks, errors, triples, num_distances, seed))
    return Abx(*found)


def _average(
    keys: _Array, tasks: _Array, errors: _Array, triples: _Array, num_distances: int, seed: int
) -> Score | None:
    if not triples.sum():
        return None
    sizes = tasks[:, 3] - tasks[:, 2]
    task = np.repeat(np.arange(len(tasks)), sizes)
    b_bag = np.arange(len(task)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + tasks[task, 2]
    a, x = keys[tasks[task, 1]], keys[tasks[task, 0]]
    real = triples > 0
    rate = errors[real] / triples[real]
    # phone of A, phone of B, speaker of A and B, speaker of X, context: averaged in turn, from right to left.
    cells = np.stack([a[:, 2], keys[b_bag, 2], a[:, 1], x[:, 1], a[:, 0]], axis=1)[real]
    num_cells = len(cells)
    for width in (4, 3):
        cells, rate = mean_by(cells[:, :width], rate)
    pairs, pair = np.unique(cells[:, :2], axis=0, return_inverse=True)
    speakers, speaker = np.unique(cells[:, 2], return_inverse=True)
    grid = np.full((len(pairs), len(speakers)), np.nan)
    grid[pair.ravel(), speaker.ravel()] = rate
    value = float(np.nanmean(grid, axis=1).mean())
    unit: Unit = "speakers" if len(speakers) >= FEWEST_SPEAKERS else "phone pairs"
    by_draw = _redrawn(grid, unit, seed)
    drawn_from = basis_of(unit, pairs.tolist(), speakers.tolist(), seed)
    estimate = Estimate(value, *interval(by_draw), unit, tuple(by_draw.tolist()), drawn_from)
    return Score(estimate, num_cells, int(triples.sum()), num_distances)


def mean_by(keys: _Array, values: _Array) -> tuple[_Array, _Array]:
    """Return the sorted distinct rows of keys (`value key`, non-negative) and the mean of the values of each."""
    width = keys.max(axis=0, initial=0) + 1
    packed = np.ravel_multi_index(tuple(keys.T), tuple(width))
    found, place = np.unique(packed, return_inverse=True)
    rows = np.stack(np.unravel_index(found, tuple(width)), axis=1)
    return rows, np.bincount(place, values) / np.bincount(place)


def _redrawn(grid: _Array, unit: Unit, seed: int) -> NDArray[np.float64]:
    """Return the mean over phone pairs in each bootstrap draw of speakers, or of phone pairs."""
    if unit == "phone pairs":
        weights = draws(len(grid), num_draws=1000, seed=seed)
        drawn: NDArray[np.float64] = weights @ np.nanmean(grid, axis=1) / len(grid)
        return drawn
    weights = draws(grid.shape[1], num_draws=1000, seed=seed)
    known = np.isfinite(grid)
    counts = weights @ known.T
    sums = weights @ np.where(known, grid, 0).T
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    by_draw: NDArray[np.float64] = np.nanmean(means, axis=1)
    return by_draw


def spans_of(
    items: Sequence[Item], middles: Mapping[int, NDArray[np.float64]], offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return first frame and last + 1 of each item: the frames centred in it, or else the one closest to its centre.

    Args:
        items: items with times.
        middles: frame centres of each utterance in seconds.
        offsets: index of the first frame of each utterance.
    """
    spans = np.empty((len(items), 2), dtype=np.int64)
    for row, item in enumerate(items):
        times = middles[item.utterance]
        first, last = np.searchsorted(times, [item.start, item.end])
        if first == last:
            first = int(np.abs(times - (item.start + item.end) / 2).argmin())
            last = first + 1
        spans[row] = offsets[item.utterance] + first, offsets[item.utterance] + last
    return spans
