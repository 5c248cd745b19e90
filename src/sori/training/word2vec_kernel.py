"""Train Word2Vec on a piece of text, compiled: select inputs and outputs, in order.

A *job* is a group of inputs with a group of outputs (`nn/word_update.py`):

| | inputs | outputs |
|---|---|---|
| skip-gram, exact | one word of the window | the centre word and noise words, or the tree nodes of the centre word |
| skip-gram, shared | all words of the window | the same, noise drawn once per window |
| CBOW | the mean of the window | the same |

As in word2vec.c, skip-gram uses the context words as inputs and the centre word as output: over a whole text the pairs
are those of the paper. The rows of the next job are prefetched while a job is computed: most outputs are noise words,
whose rows are rarely in the cache.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit
from sori.nn.lanes import LANE_BYTES, LANES, float_at, int32_at, int64_at, prefetch, put_float, put_int64, uint8_at
from sori.nn.word_draws import STEP, draw, draw_sentence, noise_word
from sori.nn.word_update import add, clear, dot, log_loss, update_block, update_row

_compiled = jit(error_model="numpy")
_inlined = jit(error_model="numpy", inline="always")

MAX_SENTENCE = 1000
"""Words of a sentence after sub-sampling; a longer one is cut (word2vec.c's MAX_SENTENCE_LENGTH)."""
_CBOW, _SHARED, _EXACT = 0, 1, 2
MODES = {"cbow": _CBOW, "shared": _SHARED, "exact": _EXACT}


class Tables(NamedTuple):
    """Tables for random draws, and the Huffman tree; indexed by word."""

    keep: NDArray[np.uint32]
    thresholds: NDArray[np.uint32]
    aliases: NDArray[np.int32]
    starts: NDArray[np.int64]
    nodes: NDArray[np.int32]
    bits: NDArray[np.uint8]


class Rows(NamedTuple):
    """Matrices whose rows fill whole cache lines (`row_floats`); an unused matrix has no rows."""

    inputs: NDArray[np.float32]
    """`word row`: the word vectors."""
    outputs: NDArray[np.float32]
    """`word row`: for negative sampling."""
    inner: NDArray[np.float32]
    """`node row`: for hierarchical softmax."""


class Shape(NamedTuple):
    """Settings of the compiled code."""

    mode: int
    """One of `MODES`."""
    window: int
    negatives: int
    hierarchical: int
    divided: int
    """1: divide CBOW's error by the number of inputs."""
    loss_every: int
    """Measure the loss of every N-th job, before its update; 0: never."""


class Workspace(NamedTuple):
    """Memory of one thread, and the addresses passed to the compiled code."""

    words: NDArray[np.int32]
    radii: NDArray[np.int32]
    loss: NDArray[np.float64]
    """Sum and number of the measured losses of pairs (an input and its centre)."""
    arrays: tuple[NDArray[np.generic], ...]
    """Arrays that the addresses point into; kept here so that they are not freed."""
    addresses: "Addresses"


class Addresses(NamedTuple):
    """Memory addresses in bytes, and sizes."""

    inputs: int
    outputs: int
    inner: int
    thresholds: int
    aliases: int
    starts: int
    nodes: int
    bits: int
    job_inputs: int
    """Two slots: the current job and the next."""
    job_outputs: int
    job_labels: int
    errors: int
    found: int
    mean: int
    num_words: int
    row_bytes: int
    most_inputs: int
    most_outputs: int


def workspace_for(shape: Shape, rows: Rows, tables: Tables) -> Workspace:
    """Allocate the memory of one thread; rows and tables must outlive it."""
    row = rows.inputs.shape[1]
    most_inputs = 2 * shape.window
    depth = int(np.diff(tables.starts).max(initial=0)) if shape.hierarchical else 0
    most_outputs = depth + (shape.negatives + 1 if shape.negatives else 0)
    job_inputs, job_outputs = np.zeros((2, most_inputs), np.int64), np.zeros((2, most_outputs), np.int64)
    labels = np.zeros((2, most_outputs), np.float32)
    errors, found = zero_rows(most_inputs + 1, row), np.zeros(most_inputs * most_outputs, np.float32)
    arrays = (*rows, *tables, job_inputs, job_outputs, labels, errors, found)
    pointers = [int(array.ctypes.data) for array in (*rows, *tables[1:], *arrays[-5:])]
    mean = errors.ctypes.data + most_inputs * row * 4
    return Workspace(
        np.empty(MAX_SENTENCE, np.int32),
        np.empty(MAX_SENTENCE, np.int32),
        np.zeros(2, np.float64),
        arrays,
        Addresses._make([*pointers, mean, len(rows.inputs), row * 4, most_inputs, most_outputs]),
    )


def zero_rows(num: int, row: int) -> NDArray[np.float32]:
    """Return rows of zeros aligned to cache lines."""
    memory = np.zeros(num * row + LANES, dtype=np.float32)
    skip = -memory.ctypes.data % LANE_BYTES // 4
    return memory[skip : skip + num * row].reshape(num, row)


def train_piece(
    tokens: NDArray[np.int32], seed: int, alpha: float, tables: Tables, shape: Shape, workspace: Workspace
) -> None:
    """Train on a piece of text; updates in place the matrices that `workspace` was made for.

    Args:
        tokens: Word ids; 0 ends a sentence.
        seed: Seed of the random draws of this piece.
        alpha: Learning rate.
        tables: Tables for random draws, and the tree.
        shape: Settings.
        workspace: Memory of this thread.
    """
    drawn = (tables.keep, workspace.words, workspace.radii)
    _piece(tokens, np.uint64(seed), np.float32(alpha), drawn, shape, workspace.addresses, workspace.loss)


@no_type_check
@_compiled
def _piece(
    tokens: NDArray[np.int32],
    counter: int,
    alpha: float,
    drawn: tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.int32]],
    shape: Shape,
    addresses: Addresses,
    loss: NDArray[np.float64],
) -> None:
    keep, words, radii = drawn
    here = jobs = 0
    while here < len(tokens):
        here, length, counter = draw_sentence(tokens, here, keep, shape.window, counter, words, radii)
        slot, job = 0, (0, 0, 0)
        for centre in range(length):
            first, last = max(0, centre - radii[centre]), min(length - 1, centre + radii[centre])
            _fetch(
                addresses.inputs + words[min(centre + shape.window + 2, length - 1)] * addresses.row_bytes,
                addresses.row_bytes,
            )
            each = first
            while each <= last:
                stop = each if shape.mode == _EXACT else last
                if each < stop or each != centre:
                    before = job
                    num = _list_inputs(slot, words, centre, each, stop, addresses)
                    job, counter = _list_outputs(slot, words[centre], num, counter, shape, addresses)
                    slot = 1 - slot
                    jobs += 1
                    if before[0]:
                        measure = shape.loss_every > 0 and jobs % shape.loss_every == 0
                        _run(slot, before, alpha, shape, addresses, loss, measure)
                each = stop + 1
        if job[0]:
            _run(1 - slot, job, alpha, shape, addresses, loss, False)


@no_type_check
@_inlined
def _fetch(row: int, row_bytes: int) -> None:
    for line in range(0, row_bytes, LANE_BYTES):
        prefetch(row + line)


@no_type_check
@_inlined
def _list_inputs(slot: int, words: NDArray[np.int32], centre: int, first: int, last: int, addresses: Addresses) -> int:
    """Store the addresses of a job's inputs; return their number."""
    into = addresses.job_inputs + 8 * slot * addresses.most_inputs
    count = 0
    for place in range(first, last + 1):
        if place != centre:
            put_int64(into + 8 * count, addresses.inputs + words[place] * addresses.row_bytes)
            count += 1
    return count


@no_type_check
@_inlined
def _list_outputs(
    slot: int, word: int, num_inputs: int, counter: int, shape: Shape, addresses: Addresses
) -> tuple[tuple[int, int, int], int]:
    """Store a job's outputs, draw its noise words and prefetch the rows.

    Returns:
        Numbers of inputs, outputs and nodes, and the counter of the random draws.
    """
    into = addresses.job_outputs + 8 * slot * addresses.most_outputs
    labels = addresses.job_labels + 4 * slot * addresses.most_outputs
    count = 0
    if shape.hierarchical:
        for step in range(int64_at(addresses.starts + 8 * word), int64_at(addresses.starts + 8 * word + 8)):
            put_int64(into + 8 * count, addresses.inner + int32_at(addresses.nodes + 4 * step) * addresses.row_bytes)
            put_float(labels + 4 * count, np.float32(1 - uint8_at(addresses.bits + step)))
            count += 1
    num_nodes = count
    for number in range(shape.negatives + 1 if shape.negatives else 0):
        other = np.int64(word)
        if number:
            counter += STEP
            other = noise_word(addresses.thresholds, addresses.aliases, addresses.num_words, draw(counter))
            if other == word:
                continue
        put_int64(into + 8 * count, addresses.outputs + other * addresses.row_bytes)
        put_float(labels + 4 * count, np.float32(number == 0))
        count += 1
    for number in range(count):
        _fetch(int64_at(into + 8 * number), addresses.row_bytes)
    return (num_inputs, count, num_nodes), counter


@no_type_check
@_inlined
def _run(
    slot: int,
    job: tuple[int, int, int],
    alpha: float,
    shape: Shape,
    addresses: Addresses,
    loss: NDArray[np.float64],
    measure: bool,
) -> None:
    """Update the rows of a job."""
    num_inputs, num_outputs, num_nodes = job
    inputs = addresses.job_inputs + 8 * slot * addresses.most_inputs
    outputs = addresses.job_outputs + 8 * slot * addresses.most_outputs
    labels = addresses.job_labels + 4 * slot * addresses.most_outputs
    lanes = addresses.row_bytes // LANE_BYTES
    weight = np.float32(1) / np.float32(num_inputs)
    x = int64_at(inputs)
    if shape.mode == _CBOW:
        x = addresses.mean
        clear(x, lanes)
        for i in range(num_inputs):
            add(x, int64_at(inputs + 8 * i), weight, lanes)
    if measure:
        loss[1] += 1
        for j in range(num_outputs):
            loss[0] += log_loss(dot(x, int64_at(outputs + 8 * j), lanes), float_at(labels + 4 * j))
    if shape.mode == _SHARED:
        update_block(
            inputs, num_inputs, outputs, labels, num_outputs, num_nodes, alpha, addresses.errors, addresses.found, lanes
        )
    else:
        update_row(x, addresses.errors, outputs, labels, num_outputs, num_nodes, alpha, lanes)
        factor = weight if shape.divided else np.float32(1)
        for i in range(num_inputs):
            add(int64_at(inputs + 8 * i), addresses.errors, factor, lanes)
