"""Where a known text stands in a recording: the likeliest path of the text through the class distributions.

Viterbi over the topology of connectionist temporal classification (Graves et al. 2006, section 4.1; there the sum over
all paths, here the maximum): blank, symbol, blank, symbol, ..., blank; each state may be kept, or the next one entered,
and a blank between two different symbols may be left out.

**Words that are not spoken.** With a penalty, the path may leave out whole words, each with one boundary beside it. The
result is, exactly, the best over all choices of words to keep of: log-probability of the best path of the kept words'
text, minus the penalty for each word left out. It is found without trying the choices: the blank before a word, and the
boundary before a word, may be taken in the same frame for that before the next word, at the price of the penalty.

**Guarantee.** The best path is exact for every length: no band and no beam, so silence, music or a text that lags
behind cost nothing but time. Time grows with frames x symbols, memory with symbols x sqrt(frames): only every so many
frames does the first pass write down where each state came from, and the second pass computes the stretches between
again, this time within the few symbols that are known to lie there. Ties are broken the same way every time. An hour
(90,000 frames, 54,000 symbols) takes about 5 s on one core, 15 with skipping, and under 0.5 GiB, torch included; the
first call on a machine takes ten more, to compile.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, no_type_check

import numpy as np
import numpy.typing as npt

from sori.core.audio import SAMPLE_RATE
from sori.core.compiled import jit
from sori.core.shapes import Float, Tensor
from sori.decoding.greedy import Path, Word, collapse
from sori.text.vocabulary import WORD_BOUNDARY, Vocabulary, describe

_Array = npt.NDArray[Any]
_Task = tuple[_Array, _Array, _Array, _Array, float, int]  # emissions, labels, gate, begins, penalty, blank
_IMPOSSIBLE = -math.inf
_STAY, _PREVIOUS, _BEFORE, _RENAMED = 0, 1, 2, 3  # where a state came from: see `_step` and `_rename`

_compiled = jit(error_model="numpy")


class Alignment(NamedTuple):
    """The best path of a text through one utterance."""

    path: Path
    """Symbols on the path with their frames, as `greedy` gives them."""
    positions: list[int]
    """Of each symbol on the path: its index in the ids asked for."""
    scores: list[float]
    """Of each symbol on the path: mean log-probability in nats over its frames."""
    score: float
    """Log-probability of the whole path in nats, less the penalties."""
    skipped: list[int]
    """Words left out, counted from 0; empty without a penalty."""


class AlignedWords(NamedTuple):
    """The words of a text with their times in a recording."""

    words: list[Word]
    """As they were written, in order, with times in seconds; without those in `skipped`."""
    confidence: list[float]
    """Of each word, between 0 and 1: geometric mean of the probabilities of its symbols over their frames."""
    skipped: list[str]
    """Words that have no time: left out by the path at the penalty, or without any symbol the recogniser can write."""
    unwritable: list[str]
    """Symbols that the recogniser cannot write, each once; the words they stand in are aligned by the others."""


def align(
    logits: Float[Tensor, "frame class"],
    ids: Sequence[int],
    *,
    blank: int = 0,
    boundary: int | None = None,
    skip_penalty: float | None = None,
) -> Alignment:
    """The likeliest path of some classes, exactly; see the head of this file for topology and cost.

    Args:
        logits: class scores of one utterance, normalised or not.
        ids: classes of the text, without blanks.
        blank: its class.
        boundary: the class between words; only needed for skipping.
        skip_penalty: nats that a word left out costs; None: every word must be on the path.

    Raises:
        ValueError: fewer frames than the text needs, scores that are NaN or leave no path, a class out of range, or a
            penalty without words separated by single boundaries.
    """
    labels = np.asarray(ids, dtype=np.int64)
    emissions = _checked(logits, labels, blank)
    begins, ends = _word_limits(labels, boundary, skip_penalty)
    num_frames, num_labels = len(emissions), len(labels)
    needed = num_labels + int((labels[1:] == labels[:-1]).sum())
    if skip_penalty is None and needed > num_frames:
        raise ValueError(
            f"expected at least {needed} frames for {num_labels} symbols (one each, and a blank between equal "
            f"neighbours), got {num_frames}. Probably the text belongs to a longer recording, or is spoken faster than "
            "the recogniser can write: check the pair, or allow unspoken words with a skip penalty."
        )
    if num_frames == 0:
        return Alignment(Path([], []), [], [], 0.0, list(range(len(begins))))
    gate = np.zeros(num_labels)
    gate[1:][labels[1:] == labels[:-1]] = _IMPOSSIBLE  # equal neighbours need a blank between them
    penalty = float(skip_penalty or 0)  # an int would be compiled for anew
    every = 2 * math.isqrt(num_frames) + 1  # checkpoints of 4 bytes a state and stretches of 1 take about as much
    task = (emissions, labels, gate, begins, penalty, blank)
    kept, scores, ancestors = _forward(task, every)
    score, last = _best_end(scores, num_labels, ends, penalty, skipping=skip_penalty is not None)
    if score == _IMPOSSIBLE:
        raise ValueError(
            "expected class scores that allow the text, got a probability of zero for every path. Probably some "
            "classes are masked with -inf; align with the recogniser's own scores."
        )
    states = _backward(task, every, kept, ancestors, last)
    return _read_out(emissions, labels, blank, states, score, begins)


def align_words(
    logits: Float[Tensor, "frame class"],
    text: str,
    vocabulary: Vocabulary,
    *,
    hop_samples: float,
    skip_penalty: float | None = None,
) -> AlignedWords:
    """The words of a text, as written, with their times.

    A word is what stands between blanks; what is left of it after the vocabulary's normalisation is aligned, and what
    normalisation leaves nothing of (a dash between blanks) is written with the word before it. Times are those of
    `words`: from the first symbol's first frame to the end of the last symbol's last frame.

    Args:
        logits: class scores of one utterance, normalised or not, the classes being the vocabulary's symbols.
        text: raw, as a transcript comes.
        vocabulary: of the recogniser.
        hop_samples: samples from one class distribution to the next.
        skip_penalty: nats that an unspoken word may cost; None: every word is spoken.

    Raises:
        ValueError: nothing of the text can be written, or see `align`.
    """
    index = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    written = _written(text, vocabulary)
    unwritable = [s for s in dict.fromkeys(s for _, symbols in written for s in symbols) if s not in index]
    unwritable = [symbol for symbol in unwritable if symbol != WORD_BOUNDARY]
    ids: list[int] = []
    owners: list[int] = []  # of each class, the word it belongs to; -1: the boundary between two
    for number, (_, symbols) in enumerate(written):
        for part in _parts(symbols, index):
            if ids and WORD_BOUNDARY in index:
                ids.append(index[WORD_BOUNDARY])
                owners.append(-1)
            ids += part
            owners += [number] * len(part)
    if written and not ids:
        raise ValueError(
            f"expected a text in the recogniser's alphabet, got {text[:50]!r}, of which it can write no symbol: "
            f"{', '.join(map(describe, unwritable[:5]))}. Probably this recogniser is of another language; take one "
            "whose vocabulary holds these symbols, or write the text in its alphabet."
        )
    found = align(logits, ids, boundary=index.get(WORD_BOUNDARY), skip_penalty=skip_penalty)
    symbols_of: dict[int, list[int]] = {}
    for symbol, position in enumerate(found.positions):
        symbols_of.setdefault(owners[position], []).append(symbol)
    seconds = hop_samples / SAMPLE_RATE
    result = AlignedWords([], [], [], unwritable)
    for number, (word, _) in enumerate(written):
        if not (mine := symbols_of.get(number)):
            result.skipped.append(word)
            continue
        spans = [found.path.spans[symbol] for symbol in mine]
        result.words.append(Word(word, spans[0][0] * seconds, spans[-1][1] * seconds))
        total = sum(found.scores[symbol] * (end - start) for symbol, (start, end) in zip(mine, spans, strict=True))
        result.confidence.append(math.exp(total / sum(end - start for start, end in spans)))
    return result


def _written(text: str, vocabulary: Vocabulary) -> list[tuple[str, list[str]]]:
    """Words as they were written, each with its symbols; one without symbols is written with its neighbour."""
    found: list[tuple[str, list[str]]] = []
    silent = ""
    for piece in text.split():
        if symbols := vocabulary.split(piece):
            found.append((silent + piece, symbols))
            silent = ""
        elif found:
            found[-1] = (f"{found[-1][0]} {piece}", found[-1][1])
        else:
            silent += f"{piece} "
    return found


def _parts(symbols: list[str], index: dict[str, int]) -> list[list[int]]:
    """Classes of what stands between the boundaries, without what has no class."""
    parts: list[list[int]] = [[]]
    for symbol in symbols:
        if symbol == WORD_BOUNDARY:
            parts.append([])
        elif symbol in index:
            parts[-1].append(index[symbol])
    return [part for part in parts if part]


def _checked(logits: Tensor, labels: _Array, blank: int) -> _Array:
    """Log-probabilities on the host in float32; the sums over frames are float64."""
    num_classes = logits.shape[1]
    if wrong := sorted({int(label) for label in labels if not 0 <= label < num_classes or label == blank}):
        raise ValueError(
            f"expected classes of symbols, from 0 to {num_classes - 1} without the blank {blank}, got {wrong}. "
            "Probably text and scores come from different recognisers; encode with the recogniser's own vocabulary."
        )
    emissions: _Array = logits.detach().float().log_softmax(-1).cpu().numpy()
    if np.isnan(emissions).any():
        raise ValueError(
            f"expected finite class scores, got NaN or infinity in {int(np.isnan(emissions).any(1).sum())} frames. "
            "Probably the recogniser diverged in training, or the recording is damaged."
        )
    return emissions


def _word_limits(labels: _Array, boundary: int | None, skip_penalty: float | None) -> tuple[_Array, _Array]:
    """First label of each word and the one after its last; none if every word must be on the path."""
    if skip_penalty is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not 0 <= skip_penalty < math.inf:
        raise ValueError(f"expected a skip penalty in nats, 0 or more, got {skip_penalty}")
    if boundary is None:
        raise ValueError(
            "expected a class that stands between words, got none: without it words cannot be skipped. Probably the "
            f"vocabulary has no {WORD_BOUNDARY}; align without a skip penalty."
        )
    if not len(labels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.flatnonzero(labels == boundary)
    begins, ends = np.concatenate([[0], at + 1]), np.concatenate([at, [len(labels)]])
    if (begins >= ends).any():
        raise ValueError(
            "expected words separated by single boundaries, got a boundary at an end or two in a row; drop the extra"
        )
    return begins, ends


def _best_end(scores: _Array, num_labels: int, ends: _Array, penalty: float, *, skipping: bool) -> tuple[float, int]:
    """Score and number of the best state to end in: state 2 j is the blank before label j, 2 j + 1 the label."""
    states = np.array([2 * num_labels, max(2 * num_labels - 1, 0)])
    prices = np.zeros(2)
    if skipping and len(ends):
        after = penalty * np.arange(len(ends) - 1, -1, -1)  # the words after the last one kept
        states = np.concatenate([2 * ends, 2 * ends - 1, [0]])
        prices = np.concatenate([after, after, [penalty * len(ends)]])
    totals = scores[states % 2, (states + 1) // 2] - prices
    best = int(totals.argmax())
    return float(totals[best]), int(states[best])


def _read_out(emissions: _Array, labels: _Array, blank: int, states: _Array, score: float, begins: _Array) -> Alignment:
    symbols = np.append(labels, blank)  # the last blank has no label of its own number
    classes = np.where(states % 2 == 1, symbols[states // 2], blank)
    path = collapse(classes.tolist(), blank)
    positions = [int(states[start]) // 2 for start, _ in path.spans]
    scores = [float(emissions[a:b, c].mean(dtype=np.float64)) for c, (a, b) in zip(path.ids, path.spans, strict=True)]
    skipped = np.flatnonzero(~np.isin(begins, positions)).tolist()
    return Alignment(path, positions, scores, score, skipped)


@_compiled
@no_type_check
def _step(task: _Task, frame: int, low: int, high: int, old: _Array, new: _Array, origin: _Array) -> None:
    """One frame on: scores of the labels low..high-1 and of the blanks low..high, and where each came from.

    Row 0 holds the blanks, the one before label j at j; row 1 the labels, label j at j + 1, so that column j of both
    rows leads into label j.
    """
    emissions, labels, gate, _, _, blank = task
    # rows on their own, no branches and no negative indices: this is what becomes vector instructions
    blanks, stays, befores, gates = old[0, low:], old[1, low + 1 :], old[1, low:], gate[low:]
    symbols, ways, classes = new[1, low + 1 :], origin[1, low + 1 :], labels[low:]
    for j in range(high - low):
        stay, previous, before = stays[j], blanks[j], befores[j] + gates[j]
        best = max(stay, previous)
        way = _PREVIOUS if previous > stay else _STAY
        symbols[j] = max(best, before)
        ways[j] = _BEFORE if before > best else way
    for j in range(high - low):
        symbols[j] += emissions[frame, classes[j]]
    silence, silences, sources = emissions[frame, blank], new[0, low:], origin[0, low:]
    for j in range(high - low + 1):
        stay, previous = blanks[j], befores[j]
        silences[j] = max(stay, previous) + silence
        sources[j] = previous > stay


@_compiled
@no_type_check
def _rename(begins: _Array, penalty: float, first: int, stop: int, scores: _Array, origin: _Array) -> None:
    """Within a frame: what precedes a word may precede the next one instead, at a price."""
    for row in range(2):  # the blank before the word; the boundary before it, one label earlier, one column later
        if first < stop:
            best = scores[row, begins[first]]
        for word in range(first + 1, stop):
            column = begins[word]
            best -= penalty
            if best > scores[row, column]:
                scores[row, column] = best
                origin[row, column] = _RENAMED
            else:
                best = scores[row, column]


@_compiled
@no_type_check
def _carry(begins: _Array, low: int, high: int, origin: _Array, old: _Array, new: _Array) -> None:
    """Hand on, for each state, the state it descends from at the last checkpoint."""
    blanks, stays, befores = old[0, low:], old[1, low + 1 :], old[1, low:]
    symbols, ways, silences, sources = new[1, low + 1 :], origin[1, low + 1 :], new[0, low:], origin[0, low:]
    for j in range(high - low):
        stay, previous, before = stays[j], blanks[j], befores[j]
        other = previous if ways[j] == _PREVIOUS else before
        symbols[j] = stay if ways[j] == _STAY else other
    for j in range(high - low + 1):
        stay, previous = blanks[j], befores[j]
        silences[j] = stay if sources[j] == _STAY else previous
    for row in range(2):
        for word in range(1, len(begins)):
            if origin[row, begins[word]] == _RENAMED:
                new[row, begins[word]] = new[row, begins[word - 1]]


@_compiled
@no_type_check
def _number(states: _Array) -> None:
    """Every state its own number, in the layout of `_step`."""
    for j in range(states.shape[1]):
        states[0, j] = 2 * j
        states[1, j] = 2 * j - 1


@_compiled
@no_type_check
def _forward(task: _Task, every: int) -> tuple[_Array, _Array, _Array]:
    """Ancestors of all states at every checkpoint; scores and ancestors of all states at the last frame."""
    emissions, labels, _, begins, penalty, blank = task
    num_frames, num_labels = len(emissions), len(labels)
    skipping = len(begins) > 0
    scores = np.full((2, 2, num_labels + 1), _IMPOSSIBLE)
    ancestors = np.zeros((2, 2, num_labels + 1), np.int32)
    origin = np.zeros((2, num_labels + 1), np.uint8)
    kept = np.zeros(((num_frames - 1) // every + 1, 2, num_labels + 1), np.int32)
    scores[0, 0, 0] = emissions[0, blank]
    if num_labels:
        scores[0, 1, 1] = emissions[0, labels[0]]
    for word in range(1, len(begins)):
        scores[0, 1, begins[word] + 1] = emissions[0, labels[begins[word]]] - word * penalty
    _rename(begins, penalty, 0, len(begins), scores[0], origin)
    _number(ancestors[0])
    now = 0
    for frame in range(1, num_frames):
        # without skipping, a label must have as many frames before it as labels, and as many after it
        low = 0 if skipping else max(0, num_labels - num_frames + frame)
        high = num_labels if skipping else min(num_labels, frame + 1)
        _step(task, frame, low, high, scores[now], scores[1 - now], origin)
        _rename(begins, penalty, 0, len(begins), scores[1 - now], origin)
        _carry(begins, low, high, origin, ancestors[now], ancestors[1 - now])
        now = 1 - now
        if frame % every == 0:
            kept[frame // every] = ancestors[now]
            _number(ancestors[now])
    return kept, scores[now], ancestors[now]


@_compiled
@no_type_check
def _backward(task: _Task, every: int, kept: _Array, ancestors: _Array, last: int) -> _Array:
    """The state of each frame, from the last stretch between two checkpoints to the first."""
    num_frames, num_labels = len(task[0]), len(task[1])
    states = np.empty(num_frames, np.int64)
    scores = np.empty((2, 2, num_labels + 1))
    origin = np.zeros((2, num_labels + 1), np.uint8)
    stop = num_frames - 1
    for checkpoint in range(stop // every, -1, -1):
        begin = checkpoint * every
        first = ancestors[last % 2, (last + 1) // 2]
        low, high = first // 2, min(num_labels, last // 2 + 1)
        table = np.zeros((stop - begin, 2, high - low + 1), np.uint8)
        scores[:, :, low : high + 1] = _IMPOSSIBLE
        scores[begin % 2, first % 2, (first + 1) // 2] = 0
        words = np.searchsorted(task[3], low), np.searchsorted(task[3], high, "right")
        for frame in range(begin + 1, stop + 1):
            new = scores[frame % 2]
            _step(task, frame, low, high, scores[1 - frame % 2], new, origin)
            _rename(task[3], task[4], words[0], words[1], new, origin)
            table[frame - begin - 1] = origin[:, low : high + 1]
        _trace(task[3], table, low, last, states[begin + 1 : stop + 1])
        states[begin] = first
        last, stop, ancestors = first, begin, kept[checkpoint]
    return states


@_compiled
@no_type_check
def _trace(begins: _Array, table: _Array, low: int, state: int, states: _Array) -> None:
    """Follow a table of origins backwards from a state."""
    for frame in range(len(states) - 1, -1, -1):
        states[frame] = state
        row, column = state % 2, (state + 1) // 2
        way = table[frame, row, column - low]
        while way == _RENAMED:
            column = begins[np.searchsorted(begins, column) - 1]
            way = table[frame, row, column - low]
        state = 2 * column - row
        if way == _PREVIOUS:
            state -= 1
        elif way == _BEFORE:
            state -= 2
