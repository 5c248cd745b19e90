"""Word2Vec over a piece of text, compiled: what is an input, what an output, in which order.

A *job* is some inputs against some outputs (`nn/word_update.py`):

| | inputs | outputs |
|---|---|---|
| skip-gram, exact | one word of the window | the centre and noise, or the nodes of the centre |
| skip-gram, shared | all words of the window | the same, drawn once for the window |
| CBOW | the mean of the window | the same |

Skip-gram takes the words around as inputs and the centre as what is to be said, as word2vec.c does: over a text the
pairs are those of the paper. While a job is computed, the rows of the next one are on their way from memory: most of
the outputs are noise, rarely seen words that no cache holds.
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
    """What decides the draws, and the tree; all by word."""

    keep: NDArray[np.uint32]
    thresholds: NDArray[np.uint32]
    aliases: NDArray[np.int32]
    starts: NDArray[np.int64]
    nodes: NDArray[np.int32]
    bits: NDArray[np.uint8]


class Rows(NamedTuple):
    """Matrices of whole lines of the cache (`row_floats`); one without rows is not used."""

    inputs: NDArray[np.float32]
    """`word row`: what is published."""
    outputs: NDArray[np.float32]
    """`word row`: of negative sampling."""
    inner: NDArray[np.float32]
    """`node row`: of hierarchical softmax."""


class Shape(NamedTuple):
    """Settings that the compiled code looks at."""

    mode: int
    """One of `MODES`."""
    window: int
    negatives: int
    hierarchical: int
    divided: int
    """CBOW's error is divided by the number of inputs."""
    look: int
    """Measure the loss of every so many jobs, before they are learnt from; 0: of none."""


class Room(NamedTuple):
    """A thread's own memory, and the addresses that the compiled code is given."""

    words: NDArray[np.int32]
    radii: NDArray[np.int32]
    loss: NDArray[np.float64]
    """Sum and number of the losses of pairs (an input and its centre) that were looked at."""
    kept: tuple[NDArray[np.generic], ...]
    """Arrays that only their addresses speak of."""
    places: "Places"


class Places(NamedTuple):
    """Addresses."""

    inputs: int
    outputs: int
    inner: int
    thresholds: int
    aliases: int
    starts: int
    nodes: int
    bits: int
    job_inputs: int
    """Two slots: this job and the next."""
    job_outputs: int
    job_labels: int
    errors: int
    found: int
    mean: int
    num_words: int
    row_bytes: int
    most_inputs: int
    most_outputs: int


def room_for(shape: Shape, rows: Rows, tables: Tables) -> Room:
    """Memory for one thread; rows and tables must outlive it."""
    row = rows.inputs.shape[1]
    most_inputs = 2 * shape.window
    depth = int(np.diff(tables.starts).max(initial=0)) if shape.hierarchical else 0
    most_outputs = depth + (shape.negatives + 1 if shape.negatives else 0)
    job_inputs, job_outputs = np.zeros((2, most_inputs), np.int64), np.zeros((2, most_outputs), np.int64)
    labels = np.zeros((2, most_outputs), np.float32)
    errors, found = zero_rows(most_inputs + 1, row), np.zeros(most_inputs * most_outputs, np.float32)
    kept = (*rows, *tables, job_inputs, job_outputs, labels, errors, found)
    addresses = [int(array.ctypes.data) for array in (*rows, *tables[1:], *kept[-5:])]
    mean = errors.ctypes.data + most_inputs * row * 4
    return Room(
        np.empty(MAX_SENTENCE, np.int32),
        np.empty(MAX_SENTENCE, np.int32),
        np.zeros(2, np.float64),
        kept,
        Places._make([*addresses, mean, len(rows.inputs), row * 4, most_inputs, most_outputs]),
    )


def zero_rows(num: int, row: int) -> NDArray[np.float32]:
    """Rows of zeros that begin with a line of the cache."""
    room = np.zeros(num * row + LANES, dtype=np.float32)
    skip = -room.ctypes.data % LANE_BYTES // 4
    return room[skip : skip + num * row].reshape(num, row)


def train_piece(tokens: NDArray[np.int32], seed: int, alpha: float, tables: Tables, shape: Shape, room: Room) -> None:
    """Learn from a piece of text; the matrices that `room` was made for are changed in place.

    Args:
        tokens: words, 0 ending a sentence.
        seed: where this piece's stream of draws begins.
        alpha: learning rate.
        tables: of the draws.
        shape: settings.
        room: of this thread.
    """
    drawn = (tables.keep, room.words, room.radii)
    _piece(tokens, np.uint64(seed), np.float32(alpha), drawn, shape, room.places, room.loss)


@no_type_check
@_compiled
def _piece(
    tokens: NDArray[np.int32],
    counter: int,
    alpha: float,
    drawn: tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.int32]],
    shape: Shape,
    places: Places,
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
                places.inputs + words[min(centre + shape.window + 2, length - 1)] * places.row_bytes, places.row_bytes
            )
            each = first
            while each <= last:
                stop = each if shape.mode == _EXACT else last
                if each < stop or each != centre:
                    before = job
                    num = _name_inputs(slot, words, centre, each, stop, places)
                    job, counter = _name_outputs(slot, words[centre], num, counter, shape, places)
                    slot = 1 - slot
                    jobs += 1
                    if before[0]:
                        _run(slot, before, alpha, shape, places, loss, shape.look > 0 and jobs % shape.look == 0)
                each = stop + 1
        if job[0]:
            _run(1 - slot, job, alpha, shape, places, loss, False)


@no_type_check
@_inlined
def _fetch(row: int, row_bytes: int) -> None:
    for line in range(0, row_bytes, LANE_BYTES):
        prefetch(row + line)


@no_type_check
@_inlined
def _name_inputs(slot: int, words: NDArray[np.int32], centre: int, first: int, last: int, places: Places) -> int:
    """Write down the addresses of a job's inputs; how many they are."""
    into = places.job_inputs + 8 * slot * places.most_inputs
    count = 0
    for place in range(first, last + 1):
        if place != centre:
            put_int64(into + 8 * count, places.inputs + words[place] * places.row_bytes)
            count += 1
    return count


@no_type_check
@_inlined
def _name_outputs(
    slot: int, word: int, num_inputs: int, counter: int, shape: Shape, places: Places
) -> tuple[tuple[int, int, int], int]:
    """Write down a job's outputs, draw its noise, and have the rows fetched: inputs, outputs, nodes; the counter."""
    into = places.job_outputs + 8 * slot * places.most_outputs
    labels = places.job_labels + 4 * slot * places.most_outputs
    count = 0
    if shape.hierarchical:
        for step in range(int64_at(places.starts + 8 * word), int64_at(places.starts + 8 * word + 8)):
            put_int64(into + 8 * count, places.inner + int32_at(places.nodes + 4 * step) * places.row_bytes)
            put_float(labels + 4 * count, np.float32(1 - uint8_at(places.bits + step)))
            count += 1
    num_nodes = count
    for number in range(shape.negatives + 1 if shape.negatives else 0):
        other = np.int64(word)
        if number:
            counter += STEP
            other = noise_word(places.thresholds, places.aliases, places.num_words, draw(counter))
            if other == word:
                continue
        put_int64(into + 8 * count, places.outputs + other * places.row_bytes)
        put_float(labels + 4 * count, np.float32(number == 0))
        count += 1
    for number in range(count):
        _fetch(int64_at(into + 8 * number), places.row_bytes)
    return (num_inputs, count, num_nodes), counter


@no_type_check
@_inlined
def _run(
    slot: int,
    job: tuple[int, int, int],
    alpha: float,
    shape: Shape,
    places: Places,
    loss: NDArray[np.float64],
    look: bool,
) -> None:
    """Compute a job."""
    num_inputs, num_outputs, num_nodes = job
    inputs = places.job_inputs + 8 * slot * places.most_inputs
    outputs = places.job_outputs + 8 * slot * places.most_outputs
    labels = places.job_labels + 4 * slot * places.most_outputs
    lanes = places.row_bytes // LANE_BYTES
    share = np.float32(1) / np.float32(num_inputs)
    x = int64_at(inputs)
    if shape.mode == _CBOW:
        x = places.mean
        clear(x, lanes)
        for i in range(num_inputs):
            add(x, int64_at(inputs + 8 * i), share, lanes)
    if look:
        loss[1] += 1
        for j in range(num_outputs):
            loss[0] += log_loss(dot(x, int64_at(outputs + 8 * j), lanes), float_at(labels + 4 * j))
    if shape.mode == _SHARED:
        update_block(
            inputs, num_inputs, outputs, labels, num_outputs, num_nodes, alpha, places.errors, places.found, lanes
        )
    else:
        update_row(x, places.errors, outputs, labels, num_outputs, num_nodes, alpha, lanes)
        factor = share if shape.divided else np.float32(1)
        for i in range(num_inputs):
            add(int64_at(inputs + 8 * i), places.errors, factor, lanes)
