"""ABX: is a sound nearer to another instance of itself than to another sound? No classifier, nothing is trained.

A and X are two items of one phone, B is an item of another one, all in the same context (the phone before and the phone
after). An error is when X is nearer to B than to A (half of one when equally near); chance is 50 %. *Within*: one
speaker says all three. *Across*: A and B are of one speaker, X of another. The distance is `dtw.py`'s.

What an item is, is the task's name:
- `triphone`: phone, its left and its right neighbour, all of it, as ZeroSpeech 2017 and 2021 measure;
- `phone`: the phone alone, compared within the same context (ZeroSpeech's later "phoneme, within context");
- `any`: the phone alone, whatever its context ("any context").
Silences and gaps are nobody's phone and nobody's context.

What is averaged, in this order. Over all triples of a cell (context, phone of A and X, phone of B, speaker of A and B,
speaker of X); over contexts; over the speakers of X; over the speakers of A and B; and over ordered pairs of phones.
So a frequent context, a talkative speaker or a frequent pair weighs as much as a rare one.

Caps, as in ZeroSpeech 2021: at most 10 items of each phone, context and speaker, and at most 5 speakers of X for each
phone, context and speaker of A; both drawn at random, by the seed.
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
"""Between phones that count as neighbours: one step of a usual aligner, and rounding."""
_Array = NDArray[Any]


class AbxConfig(Config):
    """What is compared."""

    task: Task = "triphone"
    max_items: int = 10
    """Of one phone by one speaker in one context."""
    max_x_speakers: int = 5
    """That X is taken from, for each phone, context and speaker of A and B."""


class Item(NamedTuple):
    """A stretch of an utterance in which a phone is said."""

    utterance: int
    start: float
    """Seconds from the beginning of the utterance."""
    end: float
    phone: int
    context: tuple[int, int]
    """The phone before and the phone after; (-1, -1): any."""
    speaker: int


class Score(NamedTuple):
    """An ABX error rate."""

    error: Estimate
    num_cells: int
    num_triples: int
    num_distances: int


class Abx(NamedTuple):
    """ABX error rates; None where there are no two speakers (or items) to compare."""

    within: Score | None
    across: Score | None


class Plan(NamedTuple):
    """Which items are compared: independent of what represents them, so made once for all layers."""

    chosen: list[Item]
    """By context, speaker and phone."""
    bags: NDArray[np.int64]
    """`bag + 1`: first of the chosen items of each bag: those of one context, speaker and phone."""
    keys: NDArray[np.int64]
    """`bag 3`: number of its context, its speaker, its phone."""
    within: NDArray[np.int64]
    """Tasks as `dtw.compare` takes them."""
    across: NDArray[np.int64]


def find_items(
    phones: Sequence[Sequence[tuple[float, float, int]]], speakers: Sequence[int], *, task: Task = "triphone"
) -> list[Item]:
    """Every phone that has a phone before and a phone after it, right beside it.

    Args:
        phones: of each utterance in order: start and end in seconds and number of the phone, -1 for silence.
        speakers: of each utterance.
        task: see the head of this file.
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
    """Which items are compared with which.

    Args:
        items: from `find_items`.
        config: caps.
        seed: of the draws.
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
    places: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)  # bags of one context and speaker
    sayers: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)  # bags of one context and phone
    for bag, (context, speaker, phone) in enumerate(names):
        places[context, speaker].append(bag)
        sayers[context, phone].append(bag)
    within, across = list[list[int]](), list[list[int]]()
    for (context, _), row in places.items():
        for a in row if len(row) > 1 else ():
            span = [row[0], row[-1] + 1]
            if bags[a + 1] - bags[a] > 1:
                within.append([a, a, *span])
            others = [bag for bag in sayers[context, names[a][2]] if bag != a]
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
    """Error rates of one representation.

    Args:
        planned: from `plan`.
        frames: `frame dim`, of all utterances; float32 or float64.
        spans: `item 2`: first frame and last + 1 of each chosen item, at least one frame each.
        num_threads: None: one for each core.
        seed: of the bootstrap.

    Raises:
        ValueError: an item without a frame, or outside the frames.
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
    # phone of A, phone of B, speaker of A and B, speaker of X, context: averaged one after the other, from the right.
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
    """The mean of the values of each distinct row of keys (`value key`, none negative), and these rows in order."""
    width = keys.max(axis=0, initial=0) + 1
    packed = np.ravel_multi_index(tuple(keys.T), tuple(width))
    found, place = np.unique(packed, return_inverse=True)
    rows = np.stack(np.unravel_index(found, tuple(width)), axis=1)
    return rows, np.bincount(place, values) / np.bincount(place)


def _redrawn(grid: _Array, unit: Unit, seed: int) -> NDArray[np.float64]:
    """The mean over phone pairs in each draw of speakers, or of phone pairs."""
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
    """First frame and last + 1 of each item: frames whose middle lies in it, or else the one nearest to its middle.

    Args:
        items: with times.
        middles: seconds of the frames of each utterance.
        offsets: number of the first frame of each utterance.
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
