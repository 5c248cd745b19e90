"""Arithmetic of one Word2Vec update: logistic regression gradients of input vectors against output vectors.

With input vectors x_i, output vectors w_j, labels t_j (1: true word, 0: noise) and learning rate a,

    g_ij = a * (t_j - sigma(x_i . w_j)),    x_i += sum_j g_ij w_j,    w_j += sum_i g_ij x_i,

which lowers -sum_ij [t_j log sigma(x_i . w_j) + (1 - t_j) log sigma(-x_i . w_j)] (Mikolov et al. 2013b, section 2.2,
equation 4; a node of the tree in section 2.1 is an output whose label is 1 - its bit).

`update_block` computes all of them at the values before the update (Ji et al. 2016, arXiv 1604.04661: the products are
small matrix products); `update_row` updates one input against each output in turn, as word2vec.c does.

Cost: each pair of i and j takes 3 * 2 * dim operations; with 100 dimensions, six inputs and six outputs, 21,600 for a
word. Rows are padded with zeros to whole cache lines (`row_floats`); the padding stays zero.
"""

import math
from typing import no_type_check

import numpy as np

from sori.core.compiled import jit
from sori.nn.lanes import LANE_BYTES, LANES, float_at, int64_at, load, mul_add, put_float, splat, store, total, zeros

_compiled = jit(error_model="numpy")
_fast = jit(error_model="numpy", fastmath=True)

MAX_LOGIT = 6.0
"""word2vec.c's MAX_EXP: beyond it, sigma is taken as 0 or 1, and a node of the tree is not updated."""


def row_floats(dim: int) -> int:
    """Return the length of a stored row: `dim`, rounded up to whole cache lines."""
    return -(-dim // LANES) * LANES


@no_type_check
@_fast
def coefficient(logit: float, label: float, alpha: float, node: bool) -> float:
    """Return `alpha * (label - sigma(logit))`; beyond `MAX_LOGIT`, sigma is 0 or 1, and the result is 0 for a node.

    sigma(x) = 1/2 + tanh(x/2)/2 with seven terms of Lambert's continued fraction of tanh: the error is at most 7e-7
    within the limit (word2vec.c's table of 1,000 entries: 1.5e-3).
    """
    y = np.float32(0.5) * min(max(logit, np.float32(-MAX_LOGIT)), np.float32(MAX_LOGIT))
    z = y * y
    above = y * (np.float32(135135) + z * (np.float32(17325) + z * (np.float32(378) + z)))
    below = np.float32(135135) + z * (np.float32(62370) + z * (np.float32(3150) + z * np.float32(28)))
    sigma = np.float32(0.5) + np.float32(0.5) * (above / below)
    if logit >= np.float32(MAX_LOGIT):
        sigma = label if node else np.float32(1)
    if logit <= np.float32(-MAX_LOGIT):
        sigma = label if node else np.float32(0)
    return alpha * (label - sigma)


@no_type_check
@_compiled
def log_loss(logit: float, label: float) -> float:
    """Return -log sigma(logit) for label 1 and -log sigma(-logit) for label 0."""
    x = logit if label > 0 else -logit
    return math.log1p(math.exp(-abs(x))) + max(-x, 0.0)


@no_type_check
@_compiled
def dot(a: int, b: int, lanes: int) -> float:
    """Return the dot product of two rows, given by address."""
    even, odd = zeros(), zeros()
    for d in range(0, (lanes & ~1) * LANE_BYTES, 2 * LANE_BYTES):
        even = mul_add(load(a + d), load(b + d), even)
        odd = mul_add(load(a + d + LANE_BYTES), load(b + d + LANE_BYTES), odd)
    if lanes & 1:
        d = (lanes - 1) * LANE_BYTES
        even = mul_add(load(a + d), load(b + d), even)
    return total(mul_add(even, splat(np.float32(1)), odd))


@no_type_check
@_compiled
def add(row: int, other: int, factor: float, lanes: int) -> None:
    """Compute `row += factor * other`."""
    many = splat(factor)
    for d in range(0, lanes * LANE_BYTES, LANE_BYTES):
        store(row + d, mul_add(many, load(other + d), load(row + d)))


@no_type_check
@_compiled
def clear(row: int, lanes: int) -> None:
    """Set a row to 0."""
    for d in range(0, lanes * LANE_BYTES, LANE_BYTES):
        store(row + d, zeros())


@no_type_check
@_compiled
def update_row(
    x: int, error: int, outputs: int, labels: int, count: int, num_nodes: int, alpha: float, lanes: int
) -> None:
    """Update `count` outputs in turn against one input, and store the change of the input in `error`.

    Args:
        x: address of the input, which is not changed.
        error: address of a row that is overwritten.
        outputs: address of the addresses of the outputs.
        labels: address of the labels of the outputs.
        count: number of outputs.
        num_nodes: number of outputs, the first ones, that are nodes of the tree.
        alpha: learning rate.
        lanes: number of vectors of `LANES` numbers in a row.
    """
    clear(error, lanes)
    for j in range(count):
        w = int64_at(outputs + 8 * j)
        g = coefficient(dot(x, w, lanes), float_at(labels + 4 * j), alpha, j < num_nodes)
        many = splat(g)
        for d in range(0, lanes * LANE_BYTES, LANE_BYTES):
            old = load(w + d)
            store(error + d, mul_add(many, old, load(error + d)))
            store(w + d, mul_add(many, load(x + d), old))


@no_type_check
@_compiled
def products(inputs: int, num_inputs: int, outputs: int, num_outputs: int, found: int, lanes: int) -> None:
    """Compute `found[j, i] = x_i . w_j` in blocks of 2 x 3 in registers; incomplete blocks repeat their last rows."""
    for j in range(0, num_outputs, 3):
        jj, jjj = min(j + 1, num_outputs - 1), min(j + 2, num_outputs - 1)
        a, b, c = int64_at(outputs + 8 * j), int64_at(outputs + 8 * jj), int64_at(outputs + 8 * jjj)
        for i in range(0, num_inputs, 2):
            ii = min(i + 1, num_inputs - 1)
            p, q = int64_at(inputs + 8 * i), int64_at(inputs + 8 * ii)
            pa, pb, pc, qa, qb, qc = zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
            for d in range(0, lanes * LANE_BYTES, LANE_BYTES):
                x, y = load(p + d), load(q + d)
                w = load(a + d)
                pa, qa = mul_add(x, w, pa), mul_add(y, w, qa)
                w = load(b + d)
                pb, qb = mul_add(x, w, pb), mul_add(y, w, qb)
                w = load(c + d)
                pc, qc = mul_add(x, w, pc), mul_add(y, w, qc)
            first, second, third = found + 4 * num_inputs * j, found + 4 * num_inputs * jj, found + 4 * num_inputs * jjj
            put_float(first + 4 * i, total(pa))
            put_float(first + 4 * ii, total(qa))
            put_float(second + 4 * i, total(pb))
            put_float(second + 4 * ii, total(qb))
            put_float(third + 4 * i, total(pc))
            put_float(third + 4 * ii, total(qc))


@no_type_check
@_compiled
def _coefficients(found: int, num_inputs: int, labels: int, num_outputs: int, num_nodes: int, alpha: float) -> None:
    """Replace logits by their gradient coefficients, in place."""
    for j in range(num_outputs):
        label, node = float_at(labels + 4 * j), j < num_nodes
        for place in range(found + 4 * num_inputs * j, found + 4 * num_inputs * (j + 1), 4):
            put_float(place, coefficient(float_at(place), label, alpha, node))


@no_type_check
@_compiled
def update_block(
    inputs: int,
    num_inputs: int,
    outputs: int,
    labels: int,
    num_outputs: int,
    num_nodes: int,
    alpha: float,
    errors: int,
    found: int,
    lanes: int,
) -> None:
    """Update every input against every output, all at the values before the update.

    Args:
        inputs: address of the addresses of the inputs; changed at the end; a row that occurs twice gets both changes.
        num_inputs: number of inputs.
        outputs: address of the addresses of the outputs; likewise.
        labels: address of the labels of the outputs.
        num_outputs: number of outputs.
        num_nodes: number of outputs, the first ones, that are nodes of the tree.
        alpha: learning rate.
        errors: address of working memory, one row for every input.
        found: address of working memory, `output input` numbers.
        lanes: number of vectors of `LANES` numbers in a row.
    """
    products(inputs, num_inputs, outputs, num_outputs, found, lanes)
    _coefficients(found, num_inputs, labels, num_outputs, num_nodes, alpha)
    stride, one, column = lanes * LANE_BYTES, splat(np.float32(1)), 4 * num_inputs
    for i in range(0, num_inputs, 2):
        ii = min(i + 1, num_inputs - 1)
        for d in range(0, stride, LANE_BYTES):
            e, f = zeros(), zeros()
            for j in range(num_outputs):
                w, g = load(int64_at(outputs + 8 * j) + d), found + column * j
                e, f = mul_add(splat(float_at(g + 4 * i)), w, e), mul_add(splat(float_at(g + 4 * ii)), w, f)
            store(errors + ii * stride + d, f)
            store(errors + i * stride + d, e)
    for j in range(0, num_outputs, 2):
        jj = min(j + 1, num_outputs - 1)
        a, b, g, h = int64_at(outputs + 8 * j), int64_at(outputs + 8 * jj), found + column * j, found + column * jj
        for d in range(0, stride, LANE_BYTES):
            e, f = zeros(), zeros()
            for i in range(num_inputs):
                x = load(int64_at(inputs + 8 * i) + d)
                e, f = mul_add(splat(float_at(g + 4 * i)), x, e), mul_add(splat(float_at(h + 4 * i)), x, f)
            store(a + d, mul_add(one, load(a + d), e))
            if jj != j:  # the second may be the same row
                store(b + d, mul_add(one, load(b + d), f))
    for i in range(num_inputs):
        add(int64_at(inputs + 8 * i), errors + i * stride, np.float32(1), lanes)
