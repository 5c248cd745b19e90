"""Forced alignment: the likeliest path of a known text through the class distributions of a recording.

Viterbi over the CTC topology (Graves et al. 2006, section 4.1; there the sum over all paths, here the maximum): blank,
symbol, blank, symbol, ..., blank. Each frame either stays in a state or enters the next one, and a blank between two
different symbols may be skipped.

**Skipping words that are not spoken.** With a penalty, the path may skip whole words, each with one boundary beside it.
The result maximises exactly, over all subsets of words to keep, the log-probability of the best path of the kept words
minus the penalty for each skipped word. This needs no enumeration: the blank before a word, and the boundary before a
word, may be replaced within a frame by that before the next word, at the cost of the penalty.

**Exactness.** The best path is exact for every length, without band or beam, so long silence, music or a delayed text
cost only time. Time grows with frames x symbols, memory with symbols x sqrt(frames): the first pass stores the
ancestors of all states only every N-th frame, and the second pass recomputes the frames between, restricted to the few
symbols on the path there. Ties are broken deterministically. An hour (90,000 frames, 54,000 symbols) takes about 5 s on
one core, 15 s with skipping, and less than 0.5 GiB, torch included; the first call on a machine takes 10 s more, to
compile.
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
_STAY, _PREVIOUS, _BEFORE, _SKIPPED = 0, 1, 2, 3  # origins of a state: see `_step` and `_skip_words`

_compiled = jit(error_model="numpy")


class Alignment(NamedTuple):
    """Best path of a text through one utterance."""

    path: Path
    """Symbols on the path with their frames, as in `greedy`."""
    positions: list[int]
    """Index of each symbol of the path in the given ids."""
    scores: list[float]
    """Mean log-probability of each symbol of the path over its frames, in nats."""
    score: float
    """Log-probability of the whole path in nats, minus the penalties."""
    skipped: list[int]
    """Indices of the skipped words; empty without a penalty."""


class AlignedWords(NamedTuple):
    """Words of a text with their times in a recording."""

    words: list[Word]
    """Words as given in the text, in order, with times in seconds; without those in `skipped`."""
    confidence: list[float]
    """Confidence of each word, from 0 to 1: geometric mean of the probabilities of its symbols over their frames."""
    skipped: list[str]
    """Words without times: skipped at the penalty, or without any symbol of the recogniser's vocabulary."""
    unwritable: list[str]
    """Symbols not in the recogniser's vocabulary, each once; their words are aligned by the other symbols."""


def align(
    logits: Float[Tensor, "frame class"],
    ids: Sequence[int],
    *,
    blank: int = 0,
    boundary: int | None = None,
    skip_penalty: float | None = None,
) -> Alignment:
    """Return the likeliest path of a sequence of classes, exactly; see the module docstring for topology and cost.

    Args:
        logits: Class scores of one utterance, normalised or not.
        ids: Classes of the text, without blanks.
        blank: Class of the blank.
        boundary: Class of the word boundary; only needed for skipping.
        skip_penalty: Cost of a skipped word in nats; None: no word may be skipped.

    Raises:
        ValueError: There are fewer frames than the text needs, scores are NaN or allow no path, a class is out of
            range, or a penalty is given for words that are not separated by single boundaries.
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
            "the frame rate allows: check the pair, or allow unspoken words with a skip penalty."
        )
    if num_frames == 0:
        return Alignment(Path([], []), [], [], 0.0, list(range(len(begins))))
    gate = np.zeros(num_labels)
    gate[1:][labels[1:] == labels[:-1]] = _IMPOSSIBLE  # equal neighbours need a blank between them
    penalty = float(skip_penalty or 0)  # an int would trigger another compilation
    every = 2 * math.isqrt(num_frames) + 1  # balances checkpoints (4 bytes per state) and recomputed frames (1 byte)
    task = (emissions, labels, gate, begins, penalty, blank)
    kept, scores, ancestors = _forward(task, every)
    score, last = _best_end(scores, num_labels, ends, penalty, skipping=skip_penalty is not None)
    if score == _IMPOSSIBLE:
        raise ValueError(
            "expected class scores that allow the text, got a probability of zero for every path. Probably some "
            "classes are masked with -inf; align with the recogniser's unmasked scores."
        )
    states = _backward(task, every, kept, ancestors, last)
    return _alignment(emissions, labels, blank, states, score, begins)


def align_words(
    logits: Float[Tensor, "frame class"],
    text: str,
    vocabulary: Vocabulary,
    *,
    hop_samples: float,
    skip_penalty: float | None = None,
) -> AlignedWords:
    """Align the words of a text, as written, with a recording.

    Words are separated by white space. Each is aligned by its symbols after the vocabulary's normalisation; one without
    symbols (a dash) is joined to the word before it. Times are those of `greedy.words`: from the first frame of the
    first symbol to the end of the last frame of the last symbol.

    Args:
        logits: Class scores of one utterance, normalised or not, over the vocabulary's symbols.
        text: Transcript, not normalised.
        vocabulary: Vocabulary of the recogniser.
        hop_samples: Number of samples per frame.
        skip_penalty: Cost of a skipped word in nats; None: no word may be skipped.

    Raises:
        ValueError: The vocabulary contains no symbol of the text, or see `align`.
    """
    index = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    written = _written(text, vocabulary)
    unwritable = [s for s in dict.fromkeys(s for _, symbols in written for s in symbols) if s not in index]
    unwritable = [symbol for symbol in unwritable if symbol != WORD_BOUNDARY]
    ids: list[int] = []
    owners: list[int] = []  # index of the word of each class; -1: boundary
    for number, (_, symbols) in enumerate(written):
        for part in _parts(symbols, index):
            if ids and WORD_BOUNDARY in index:
                ids.append(index[WORD_BOUNDARY])
                owners.append(-1)
            ids += part
            owners += [number] * len(part)
    if written and not ids:
        raise ValueError(
            f"expected a text in the recogniser's alphabet, got {text[:50]!r}, none of whose symbols is in its "
            f"vocabulary: {', '.join(map(describe, unwritable[:5]))}. Probably this recogniser is of another language; "
            "use one whose vocabulary holds these symbols, or transliterate the text."
        )
    found = align(logits, ids, boundary=index.get(WORD_BOUNDARY), skip_penalty=skip_penalty)
    symbols_of: dict[int, list[int]] = {}
    for symbol, position in enumerate(found.positions):
        symbols_of.setdefault(owners[position], []).append(symbol)
    seconds = hop_samples / SAMPLE_RATE
    result = AlignedWords([], [], [], unwritable)
    for number, (word, _) in enumerate(written):
        if not (own := symbols_of.get(number)):
            result.skipped.append(word)
            continue
        spans = [found.path.spans[symbol] for symbol in own]
        result.words.append(Word(word, spans[0][0] * seconds, spans[-1][1] * seconds))
        total = sum(found.scores[symbol] * (end - start) for symbol, (start, end) in zip(own, spans, strict=True))
        result.confidence.append(math.exp(total / sum(end - start for start, end in spans)))
    return result


def _written(text: str, vocabulary: Vocabulary) -> list[tuple[str, list[str]]]:
    """Return the words as written, each with its symbols; one without symbols is joined to its neighbour."""
    found: list[tuple[str, list[str]]] = []
    leading = ""
    for piece in text.split():
        if symbols := vocabulary.split(piece):
            found.append((leading + piece, symbols))
            leading = ""
        elif found:
            found[-1] = (f"{found[-1][0]} {piece}", found[-1][1])
        else:
            leading += f"{piece} "
    return found


def _parts(symbols: list[str], index: dict[str, int]) -> list[list[int]]:
    """Return the classes between boundaries, without symbols that have no class."""
    parts: list[list[int]] = [[]]
    for symbol in symbols:
        if symbol == WORD_BOUNDARY:
            parts.append([])
        elif symbol in index:
            parts[-1].append(index[symbol])
    return [part for part in parts if part]


def _checked(logits: Tensor, labels: _Array, blank: int) -> _Array:
    """Check ids and scores; return log-probabilities on the CPU in float32 (sums over frames are float64)."""
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
    """Return the first label of each word and the one after its last; empty if no word may be skipped."""
    if skip_penalty is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not 0 <= skip_penalty < math.inf:
        raise ValueError(f"expected a skip penalty in nats, 0 or more, got {skip_penalty}")
    if boundary is None:
        raise ValueError(
            "expected the class of the word boundary, got none: words cannot be skipped without it. Probably the "
            f"vocabulary has no {WORD_BOUNDARY}; align without a skip penalty."
        )
    if not len(labels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.flatnonzero(labels == boundary)
    begins, ends = np.concatenate([[0], at + 1]), np.concatenate([at, [len(labels)]])
    if (begins >= ends).any():
        raise ValueError(
            "expected words separated by single boundaries, got a boundary at an end or two in a row; remove the extra "
            "ones"
        )
    return begins, ends


def _best_end(scores: _Array, num_labels: int, ends: _Array, penalty: float, *, skipping: bool) -> tuple[float, int]:
    """Return score and number of the best final state: state 2 j is the blank before label j, 2 j + 1 the label."""
    states = np.array([2 * num_labels, max(2 * num_labels - 1, 0)])
    costs = np.zeros(2)
    if skipping and len(ends):
        after = penalty * np.arange(len(ends) - 1, -1, -1)  # the words after the last one kept
        states = np.concatenate([2 * ends, 2 * ends - 1, [0]])
        costs = np.concatenate([after, after, [penalty * len(ends)]])
    totals = scores[states % 2, (states + 1) // 2] - costs
    best = int(totals.argmax())
    return float(totals[best]), int(states[best])


def _alignment(
    emissions: _Array, labels: _Array, blank: int, states: _Array, score: float, begins: _Array
) -> Alignment:
    symbols = np.append(labels, blank)  # the last blank has no label
    classes = np.where(states % 2 == 1, symbols[states // 2], blank)
    path = collapse(classes.tolist(), blank)
    positions = [int(states[start]) // 2 for start, _ in path.spans]
    scores = [float(emissions[a:b, c].mean(dtype=np.float64)) for c, (a, b) in zip(path.ids, path.spans, strict=True)]
    skipped = np.flatnonzero(~np.isin(begins, positions)).tolist()
    return Alignment(path, positions, scores, score, skipped)


@_compiled
@no_type_check
def _step(task: _Task, frame: int, low: int, high: int, old: _Array, new: _Array, origin: _Array) -> None:
    """Advance by one frame: scores and origins of the labels low..high-1 and of the blanks low..high.

    Row 0 holds the blanks, the one before label j in column j; row 1 holds the labels, label j in column j + 1, so that
    column j of both rows leads to label j.
    """
    emissions, labels, gate, _, _, blank = task
    # separate rows, no branches and no negative indices, so that the compiler vectorises the loops
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
def _skip_words(begins: _Array, penalty: float, first: int, stop: int, scores: _Array, origin: _Array) -> None:
    """Skip words within a frame: replace the state before a word by that before the next one, at the penalty."""
    for row in range(2):  # the blank before the word; the boundary before it (one label earlier, one column later)
        if first < stop:
            best = scores[row, begins[first]]
        for word in range(first + 1, stop):
            column = begins[word]
            best -= penalty
            if best > scores[row, column]:
                scores[row, column] = best
                origin[row, column] = _SKIPPED
            else:
                best = scores[row, column]


@_compiled
@no_type_check
def _carry_ancestors(begins: _Array, low: int, high: int, origin: _Array, old: _Array, new: _Array) -> None:
    """Propagate, for each state, its ancestor at the last checkpoint."""
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
            if origin[row, begins[word]] == _SKIPPED:
                new[row, begins[word]] = new[row, begins[word - 1]]


@_compiled
@no_type_check
def _number_states(states: _Array) -> None:
    """Fill in the number of every state, in the layout of `_step`."""
    for j in range(states.shape[1]):
        states[0, j] = 2 * j
        states[1, j] = 2 * j - 1


@_compiled
@no_type_check
def _forward(task: _Task, every: int) -> tuple[_Array, _Array, _Array]:
    """Run the first pass.

    Returns:
        Ancestors of all states at every checkpoint; scores and ancestors of all states at the last frame.
    """
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
    _skip_words(begins, penalty, 0, len(begins), scores[0], origin)
    _number_states(ancestors[0])
    now = 0
    for frame in range(1, num_frames):
        # without skipping, each label needs at least one frame for every label before it and after it
        low = 0 if skipping else max(0, num_labels - num_frames + frame)
        high = num_labels if skipping else min(num_labels, frame + 1)
        _step(task, frame, low, high, scores[now], scores[1 - now], origin)
        _skip_words(begins, penalty, 0, len(begins), scores[1 - now], origin)
        _carry_ancestors(begins, low, high, origin, ancestors[now], ancestors[1 - now])
        now = 1 - now
        if frame % every == 0:
            kept[frame // every] = ancestors[now]
            _number_states(ancestors[now])
    return kept, scores[now], ancestors[now]


@_compiled
@no_type_check
def _backward(task: _Task, every: int, kept: _Array, ancestors: _Array, last: int) -> _Array:
    """Return the state of each frame, computed from the last checkpoint back to the first."""
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
            _skip_words(task[3], task[4], words[0], words[1], new, origin)
            table[frame - begin - 1] = origin[:, low : high + 1]
        _trace(task[3], table, low, last, states[begin + 1 : stop + 1])
        states[begin] = first
        last, stop, ancestors = first, begin, kept[checkpoint]
    return states


@_compiled
@no_type_check
def _trace(begins: _Array, table: _Array, low: int, state: int, states: _Array) -> None:
    """Trace a table of origins back from a state."""
    for frame in range(len(states) - 1, -1, -1):
        states[frame] = state
        row, column = state % 2, (state + 1) // 2
        way = table[frame, row, column - low]
        while way == _SKIPPED:
            column = begins[np.searchsorted(begins, column) - 1]
            way = table[frame, row, column - low]
        state = 2 * column - row
        if way == _PREVIOUS:
            state -= 1
        elif way == _BEFORE:
            state -= 2
