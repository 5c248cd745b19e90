"""Slow CTC references in plain Python numbers: enumeration of all alignments, and the forward recursion."""

import itertools
import math


def collapse(path, blank=0):
    """Merge repeats, then drop blanks."""
    return [label for label, _ in itertools.groupby(path) if label != blank]


def enumerated_loss(log_probs, labels):
    """Return minus the log of the summed probability of all paths that collapse to the labels."""
    num_frames, num_classes = len(log_probs), len(log_probs[0])
    total = 0.0
    for path in itertools.product(range(num_classes), repeat=num_frames):
        if collapse(path) == list(labels):
            total += math.exp(sum(log_probs[t][label] for t, label in enumerate(path)))
    return -math.log(total) if total else math.inf


def forward_loss(log_probs, labels, blank=0):
    """Return the loss by the forward recursion over labels and blanks (Graves et al. 2006, eq. 5 to 8), in float64."""
    states = [blank]
    for label in labels:
        states += [label, blank]
    alpha = [log_probs[0][states[0]], *([log_probs[0][states[1]]] if len(states) > 1 else [])]
    alpha += [-math.inf] * (len(states) - len(alpha))
    for frame in log_probs[1:]:
        new = []
        for s, label in enumerate(states):
            before = [alpha[s]]
            if s >= 1:
                before.append(alpha[s - 1])
            if s >= 2 and label not in (blank, states[s - 2]):
                before.append(alpha[s - 2])
            new.append(_log_sum(before) + frame[label])
        alpha = new
    return -_log_sum(alpha[-2:])


def _log_sum(values):
    top = max(values)
    return top if top == -math.inf else top + math.log(sum(math.exp(value - top) for value in values))
