"""The best alignment of a decoded text (Viterbi), for its times."""

from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from sori.core.compiled import jit


@jit()
@no_type_check
def align(row: NDArray[np.float32], ids: NDArray[np.int32], bar: int) -> NDArray[np.int64]:
    """Return the best alignment of symbols: for each its first frame and the one after its last.

    Args:
        row: log-probabilities, `frame class`.
        ids: classes of the symbols.
        bar: class of the word boundary, -1: none; at the ends and beside boundaries it is treated like blank.
    """
    num = 2 * len(ids) + 1
    cost, origin = np.full(num, -np.inf), np.zeros((len(row), num), np.int8)
    cost[0] = 0.0
    for time in range(len(row)):
        silence = max(row[time, 0], row[time, bar]) if bar >= 0 else row[time, 0]
        for state in range(num - 1, -1, -1):
            label = state // 2
            step = 0
            if state > 0 and cost[state - 1] > cost[state]:
                step = 1
            if state > 2 and state % 2 and ids[label] != ids[label - 1] and cost[state - 2] > cost[state - step]:
                step = 2
            if state % 2:
                here = row[time, ids[label]]
            else:
                free = state in (0, num - 1) or ids[label - 1] == bar
                here = silence if free else row[time, 0]
            origin[time, state] = step
            cost[state] = cost[state - step] + here
    state = num - 1 if num < 2 or cost[num - 1] >= cost[num - 2] else num - 2
    spans = np.zeros((len(ids), 2), np.int64)
    for time in range(len(row) - 1, -1, -1):
        if state % 2:
            spans[state // 2, 0] = time
            spans[state // 2, 1] = max(spans[state // 2, 1], time + 1)
        state -= origin[time, state]
    return spans
