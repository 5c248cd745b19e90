"""The compiled part of the beam search (`beam.py`): prefixes, one step per frame.

A prefix is the beginning of a text. Its language-model score and bonuses depend on the text alone and are computed
once. Its acoustic score is two log-probabilities: of the alignments that end in blank, and of the others.

A word that leaves the lexicon is scored symbol by symbol by the spelling model from then on; what its first symbols
cost is known for each node of the lexicon (`Model.leave`).
"""

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.decoding.trie import Trie, child
from sori.lm.ngram import Ngrams, score

NO_LM, WORDS, SYMBOLS = 0, 1, 2
_IMPOSSIBLE, _UNSET = -1, -2


class Model(NamedTuple):
    """All inputs of the compiled search except the class scores."""

    trie: Trie
    ahead: NDArray[np.float64]
    """For each node the highest score of the words below it, used as look-ahead for incomplete words."""
    ahead_unknown: float
    word_lm: NDArray[np.int32]
    word_score: NDArray[np.float64]
    lm: Ngrams
    lm_kind: int
    lm_start: int
    lm_end: int
    lm_unknown: int
    symbol_lm: NDArray[np.int32]
    writable: NDArray[np.bool_]
    bar: int
    is_open: bool
    lm_weight: float
    any_word_score: float
    unknown_symbol_score: float
    leave: NDArray[np.float64]
    """For each node the score of an unknown word with the symbols up to it."""
    spelling: Ngrams
    spelling_weight: float
    """0: no spelling model."""
    spelling_symbol: NDArray[np.int32]
    """Number of each class in the spelling model."""
    spelling_end: int
    spelling_state: NDArray[np.int32]
    """State of the spelling model at each node."""
    beam_size: int
    beam_threshold: float
    symbol_threshold: float
    log_add: bool


class Prefixes(NamedTuple):
    """Prefixes of texts, as a tree; 0 is the empty one. Their scores here depend on the text alone."""

    parent: NDArray[np.int32]
    symbol: NDArray[np.int32]
    child: NDArray[np.int32]
    sibling: NDArray[np.int32]
    node: NDArray[np.int32]
    state: NDArray[np.int32]
    lm: NDArray[np.float64]
    extra: NDArray[np.float64]
    text_score: NDArray[np.float64]
    """Weighted language model, bonuses and look-ahead."""
    end_state: NDArray[np.int32]
    end_lm: NDArray[np.float64]
    end_extra: NDArray[np.float64]
    spelling: NDArray[np.int32]
    """State of the spelling model in a word that has left the lexicon."""
    slot: NDArray[np.int32]
    """Position in the beam, or -1."""


class Beam(NamedTuple):
    """Prefixes in the beam, or candidates; log-probabilities of alignments that end in blank (`blank`) or not."""

    prefix: NDArray[np.int32]
    symbol: NDArray[np.int32]
    """Symbol appended to the prefix; -1: none."""
    blank: NDArray[np.float64]
    other: NDArray[np.float64]
    rank: NDArray[np.float64]


class _Frame(NamedTuple):
    """One class distribution, and the symbols that may extend a prefix there."""

    scores: NDArray[np.float32]
    live: NDArray[np.int32]
    is_live: NDArray[np.bool_]
    taken: NDArray[np.int32]
    """For beam position and symbol the last frame in which the extended prefix was already in the beam."""
    stamp: int


def empty_prefixes(size: int) -> Prefixes:
    """Allocate prefixes; `_add_prefix` fills them."""
    floats = ("lm", "extra", "text_score", "end_lm", "end_extra")
    arrays: dict[str, NDArray[Any]] = {
        n: np.empty(size, np.float64 if n in floats else np.int32) for n in Prefixes._fields
    }
    return Prefixes(**arrays)


def empty_beam(size: int) -> Beam:
    """Allocate a beam or its candidates."""
    return Beam(np.empty(size, np.int32), np.empty(size, np.int32), *(np.empty(size) for _ in range(3)))


@jit()
@no_type_check
def search(
    model: Model, row: NDArray[np.float32], prefixes: Prefixes, now: Beam, candidates: Beam
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], bool]:
    """Search; return texts (as prefixes), acoustic scores, LM scores, bonuses, and whether they are whole words."""
    _add_prefix(model, prefixes, -1, -1, 0)
    now.prefix[0], now.blank[0], now.other[0], now.rank[0] = 0, 0.0, -np.inf, 0.0
    num, used = 1, 1
    prefixes.slot[0] = 0
    taken = np.zeros((len(now.prefix), row.shape[1]), np.int32)
    is_live, live = np.zeros(row.shape[1], np.bool_), np.zeros(row.shape[1], np.int32)
    chosen = np.zeros(len(candidates.prefix), np.int32)
    for time in range(len(row)):
        low = row[time].max() - model.symbol_threshold
        num_live = 0
        for symbol in range(1, row.shape[1]):
            is_live[symbol] = model.writable[symbol] and row[time, symbol] > max(low, -np.inf)
            if is_live[symbol] and symbol != model.bar:
                live[num_live] = symbol
                num_live += 1
        frame = _Frame(row[time], live[:num_live], is_live, taken, time + 1)
        best = _stay(model, prefixes, now, num, frame, candidates)
        total, best = _extend(model, prefixes, now, num, frame, candidates, best)
        kept = _select(model, candidates, total, best, chosen)
        for place in range(num):
            prefixes.slot[now.prefix[place]] = -1
        used = _next_beam(model, prefixes, now, candidates, chosen[:kept], used)
        num = kept
    for place in range(num):
        prefixes.slot[now.prefix[place]] = -1
    return _finish(model, prefixes, now, num)


@jit()
@no_type_check
def _add(a: float, b: float, log_add: bool) -> float:
    """Return the log of the sum of two probabilities, or of the larger one."""
    if a < b:
        a, b = b, a
    return a + math.log1p(math.exp(b - a)) if log_add and b > -np.inf else a


@jit()
@no_type_check
def _unknown_score(model: Model, node: int, below: int) -> float:
    """Return the score of leaving the lexicon: first for the word and all its symbols, then for each further symbol.

    Without that of the spelling of this symbol.
    """
    if below >= 0:
        return 0.0
    return model.unknown_symbol_score + (model.leave[node] if node >= 0 else 0.0)


@jit(inline="always")  # a call costs as much as the work
@no_type_check
def _add_prefix(model: Model, prefixes: Prefixes, parent: int, symbol: int, new: int) -> None:
    """Store a new prefix with its scores."""
    prefixes.parent[new], prefixes.symbol[new] = parent, symbol
    prefixes.child[new], prefixes.sibling[new], prefixes.slot[new] = -1, -1, -1
    prefixes.end_state[new] = _UNSET
    node, state, lm, extra, ahead = 0, model.lm_start, 0.0, 0.0, 0.0
    if parent >= 0:
        prefixes.sibling[new], prefixes.child[parent] = prefixes.child[parent], new
        lm, extra, state = prefixes.lm[parent], prefixes.extra[parent], prefixes.state[parent]
        if symbol == model.bar:
            lm, extra, state = (
                lm + prefixes.end_lm[parent],
                extra + prefixes.end_extra[parent],
                prefixes.end_state[parent],
            )
        else:
            above = prefixes.node[parent]
            node = child(model.trie, above, symbol)
            extra += _unknown_score(model, above, node)
            if node < 0 and model.spelling_weight > 0:
                spelled = model.spelling_state[above] if above >= 0 else prefixes.spelling[parent]
                log_prob, spelled = score(model.spelling, spelled, model.spelling_symbol[symbol])
                extra += model.spelling_weight * log_prob
                prefixes.spelling[new] = spelled
            ahead = model.ahead[node] if node >= 0 else model.ahead_unknown
            if model.lm_kind == SYMBOLS:
                log_prob, state = score(model.lm, state, model.symbol_lm[symbol])
                lm += log_prob
    prefixes.node[new], prefixes.state[new], prefixes.lm[new], prefixes.extra[new] = node, state, lm, extra
    prefixes.text_score[new] = model.lm_weight * lm + extra + ahead


@jit()
@no_type_check
def _end_word(model: Model, prefixes: Prefixes, prefix: int, force: bool) -> bool:
    """Compute, once, the scores of ending the last word; return whether a word may end here."""
    if prefixes.end_state[prefix] >= 0 or (prefixes.end_state[prefix] == _IMPOSSIBLE and not force):
        return prefixes.end_state[prefix] >= 0
    node, state, lm = prefixes.node[prefix], prefixes.state[prefix], 0.0
    word = model.trie.word[node] if node >= 0 else -1
    extra = model.any_word_score
    if word >= 0:
        extra = model.word_score[word]
    elif node >= 0:
        if not model.is_open and not force:
            prefixes.end_state[prefix] = _IMPOSSIBLE
            return False
        extra += model.leave[node]
    if word < 0 and model.spelling_weight > 0:
        spelled = model.spelling_state[node] if node >= 0 else prefixes.spelling[prefix]
        extra += model.spelling_weight * score(model.spelling, spelled, model.spelling_end)[0]
    if model.lm_kind == WORDS:
        lm, state = score(model.lm, state, model.word_lm[word] if word >= 0 else model.lm_unknown)
    elif model.lm_kind == SYMBOLS and model.bar >= 0:
        lm, state = score(model.lm, state, model.symbol_lm[model.bar])
    prefixes.end_state[prefix], prefixes.end_lm[prefix], prefixes.end_extra[prefix] = state, lm, extra
    return True


@jit()
@no_type_check
def _stay(model: Model, prefixes: Prefixes, now: Beam, num: int, frame: _Frame, candidates: Beam) -> float:
    """Make candidates of the prefixes in the beam, by blank or repeat and by extension of parents in the beam."""
    scores, log_add, best = frame.scores, model.log_add, -np.inf
    silence = _add(scores[0], scores[model.bar], log_add) if model.bar >= 0 else scores[0]
    for place in range(num):
        prefix = now.prefix[place]
        symbol, parent = prefixes.symbol[prefix], prefixes.parent[prefix]
        if prefix == 0 or symbol == model.bar:  # further boundaries do not change the text
            blank, other = now.rank[place] + silence, -np.inf
        else:
            blank, other = now.rank[place] + scores[0], now.other[place] + scores[symbol]
        above = prefixes.slot[parent] if parent >= 0 else -1
        if above >= 0:
            mass = now.blank[above] if symbol == prefixes.symbol[parent] else now.rank[above]
            mass += scores[symbol]
            if symbol == model.bar:
                blank = _add(blank, mass, log_add)
            else:
                other = _add(other, mass, log_add)
            frame.taken[above, symbol] = frame.stamp
        candidates.prefix[place], candidates.symbol[place] = prefix, -1
        candidates.blank[place], candidates.other[place] = blank, other
        candidates.rank[place] = _add(blank, other, log_add) + prefixes.text_score[prefix]
        best = max(best, candidates.rank[place])
    return best


@jit(inline="always")
@no_type_check
def _symbol_score(model: Model, prefixes: Prefixes, prefix: int, below: int, symbol: int) -> float:
    """Return what symbol model and spelling model add for one more symbol, never above 0."""
    total = 0.0
    if model.lm_kind == SYMBOLS:
        total += model.lm_weight * score(model.lm, prefixes.state[prefix], model.symbol_lm[symbol])[0]
    if below < 0 and model.spelling_weight > 0:
        node = prefixes.node[prefix]
        spelled = model.spelling_state[node] if node >= 0 else prefixes.spelling[prefix]
        total += model.spelling_weight * score(model.spelling, spelled, model.spelling_symbol[symbol])[0]
    return total


@jit()
@no_type_check
def _extend(
    model: Model, prefixes: Prefixes, now: Beam, num: int, frame: _Frame, candidates: Beam, best: float
) -> tuple[int, float]:
    """Make candidates that extend prefixes by a symbol; return the number of all candidates, and the best rank."""
    total, bar, trie, threshold = num, model.bar, model.trie, model.beam_threshold
    for place in range(num):  # inlined by hand: a call with this number of arrays costs more than the work
        prefix, whole = now.prefix[place], now.rank[place]
        node, last = prefixes.node[prefix], prefixes.symbol[prefix]
        base = model.lm_weight * prefixes.lm[prefix] + prefixes.extra[prefix]
        first = trie.child_start[node] if node >= 0 else 0
        for number in range(len(frame.live) if model.is_open else trie.child_start[node + 1] - first):
            below = first + number
            symbol = frame.live[number] if model.is_open else trie.child_symbol[below]
            if not frame.is_live[symbol] or frame.taken[place, symbol] == frame.stamp:
                continue
            mass = frame.scores[symbol] + (now.blank[place] if symbol == last else whole)
            if model.is_open:
                below = child(trie, node, symbol)
            rank = (
                mass
                + base
                + _unknown_score(model, node, below)
                + (model.ahead[below] if below >= 0 else model.ahead_unknown)
            )
            if rank > best - threshold:
                rank += _symbol_score(model, prefixes, prefix, below, symbol)
            if rank > best - threshold:
                candidates.prefix[total], candidates.symbol[total] = prefix, symbol
                candidates.blank[total], candidates.other[total], candidates.rank[total] = -np.inf, mass, rank
                total, best = total + 1, max(best, rank)
        if prefix == 0 or last == bar or bar < 0 or not frame.is_live[bar] or frame.taken[place, bar] == frame.stamp:
            continue
        state = prefixes.end_state[prefix]
        if state >= 0 or (state == _UNSET and _end_word(model, prefixes, prefix, False)):
            mass = whole + frame.scores[bar]
            rank = mass + base + model.lm_weight * prefixes.end_lm[prefix] + prefixes.end_extra[prefix]
            if rank > best - threshold:
                candidates.prefix[total], candidates.symbol[total] = prefix, bar
                candidates.blank[total], candidates.other[total], candidates.rank[total] = mass, -np.inf, rank
                total, best = total + 1, max(best, rank)
    return total, best


@jit()
@no_type_check
def _nth_greatest(values: NDArray[np.float64], number: int) -> float:
    """Return the n-th greatest value by quickselect (Hoare 1961), in place; np.partition takes 8 s to compile."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left, right = left + 1, right - 1
        if number <= right:
            high = right
        elif number >= left:
            low = left
        else:
            break
    return values[number]


@jit()
@no_type_check
def _select(model: Model, candidates: Beam, total: int, best: float, chosen: NDArray[np.int32]) -> int:
    """Choose the best candidates, in order; ties go to the first, which makes the search deterministic."""
    kept, low = 0, best - model.beam_threshold
    for number in range(total):
        if candidates.rank[number] >= low and candidates.rank[number] > -np.inf:
            chosen[kept] = number
            kept += 1
    if kept <= model.beam_size:
        return kept
    ranks = candidates.rank[chosen[:kept]]
    worst = _nth_greatest(ranks.copy(), model.beam_size - 1)
    spare = model.beam_size
    for place in range(kept):
        spare -= ranks[place] > worst
    size = 0
    for place in range(kept):
        if ranks[place] > worst or (ranks[place] == worst and spare > 0):
            spare -= ranks[place] == worst
            chosen[size] = chosen[place]
            size += 1
    return size


@jit()
@no_type_check
def _next_beam(
    model: Model, prefixes: Prefixes, now: Beam, candidates: Beam, chosen: NDArray[np.int32], used: int
) -> int:
    """Make the next beam, reusing the prefix of a text that was in an earlier one; return the number of prefixes."""
    for place, number in enumerate(chosen):
        prefix, symbol = candidates.prefix[number], candidates.symbol[number]
        if symbol >= 0:
            parent, prefix = prefix, prefixes.child[prefix]
            while prefix >= 0 and prefixes.symbol[prefix] != symbol:
                prefix = prefixes.sibling[prefix]
            if prefix < 0:
                prefix, used = used, used + 1
                _add_prefix(model, prefixes, parent, symbol, prefix)
        prefixes.slot[prefix] = place
        now.prefix[place], now.blank[place] = prefix, candidates.blank[number]
        now.other[place] = candidates.other[number]
        now.rank[place] = _add(now.blank[place], now.other[place], model.log_add)
    return used


@jit()
@no_type_check
def _finish(
    model: Model, prefixes: Prefixes, now: Beam, num: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], bool]:
    """End every text; a trailing boundary does not change the text."""
    keys, size = np.empty(num, np.int64), 0
    acoustic, lm, extra = np.empty(num), np.empty(num), np.empty(num)
    for force in (False, True):
        for place in range(num):
            key = now.prefix[place]
            if key > 0 and prefixes.symbol[key] == model.bar:
                key = prefixes.parent[key]
            if key > 0 and not _end_word(model, prefixes, key, force):
                continue
            if prefixes.slot[key] >= 0:
                acoustic[prefixes.slot[key]] = _add(acoustic[prefixes.slot[key]], now.rank[place], model.log_add)
                continue
            prefixes.slot[key] = size
            keys[size], acoustic[size], lm[size] = key, now.rank[place], prefixes.lm[key]
            extra[size], state = prefixes.extra[key], prefixes.state[key]
            if key > 0:
                extra[size] += prefixes.end_extra[key]
                if model.lm_kind == WORDS:
                    lm[size] += prefixes.end_lm[key]
                    state = prefixes.end_state[key]
            if model.lm_kind != NO_LM and model.lm_end >= 0:
                lm[size] += score(model.lm, state, model.lm_end)[0]
            size += 1
        if size > 0:
            break
    return keys[:size], acoustic[:size], lm[:size], extra[:size], not force
