"""Reference implementation of Word2Vec in float64, pair by pair; shares only the random draws with the package."""

import numpy as np

from sori.nn.word_draws import STEP, draw, draw_sentence, noise_word
from sori.training.word2vec_kernel import MAX_SENTENCE


def learn(tokens, seed, alpha, tables, config, matrices):  # noqa: C901 - the whole algorithm in one place
    """Update `matrices` (inputs, outputs, inner) in place."""
    counter, here = np.uint64(seed), 0
    words, radii = np.empty(MAX_SENTENCE, np.int32), np.empty(MAX_SENTENCE, np.int32)

    def targets(word):
        nonlocal counter
        found = []
        if config.hierarchical:
            steps = range(tables.starts[word], tables.starts[word + 1])
            found += [("inner", tables.nodes[step], 1 - int(tables.bits[step])) for step in steps]
        if config.negatives:
            found.append(("outputs", word, 1))
            for _ in range(config.negatives):
                with np.errstate(over="ignore"):
                    counter = counter + STEP
                other = noise_word(
                    tables.thresholds.ctypes.data,
                    tables.aliases.ctypes.data,
                    len(tables.keep),
                    np.uint64(draw(counter)),
                )
                if other != word:
                    found.append(("outputs", other, 0))
        return found

    while here < len(tokens):
        here, length, counter = draw_sentence(tokens, here, tables.keep, config.window, counter, words, radii)
        counter = np.uint64(counter)
        for centre in range(length):
            near = [
                int(words[place])
                for place in range(centre - radii[centre], centre + radii[centre] + 1)
                if 0 <= place < length and place != centre
            ]
            if not near:
                continue
            if config.architecture == "cbow":
                _cbow(near, targets(words[centre]), alpha, config, matrices)
            elif config.updates == "shared":
                _block(near, targets(words[centre]), alpha, matrices)
            else:
                for word in near:
                    x = matrices["inputs"][word]
                    x += _one_by_one(x.copy(), targets(words[centre]), alpha, matrices)


def _gradient(x, w, label, kind):
    logit = float(x @ w)
    sigma = 1 / (1 + np.exp(-logit))
    if abs(logit) >= 6:
        sigma = label if kind == "inner" else float(logit > 0)
    return label - sigma


def _one_by_one(x, found, alpha, matrices):
    error = np.zeros_like(x)
    for kind, row, label in found:
        w = matrices[kind][row]
        g = alpha * _gradient(x, w, label, kind)
        error += g * w
        w += g * x
    return error


def _cbow(near, found, alpha, config, matrices):
    error = _one_by_one(np.mean([matrices["inputs"][word] for word in near], axis=0), found, alpha, matrices)
    for word in near:
        matrices["inputs"][word] += error / len(near) if config.divide_error else error


def _block(near, found, alpha, matrices):
    before = {kind: matrix.copy() for kind, matrix in matrices.items()}
    for word in near:
        for kind, row, label in found:
            x, w = before["inputs"][word], before[kind][row]
            g = alpha * _gradient(x, w, label, kind)
            matrices["inputs"][word] += g * w
            matrices[kind][row] += g * x
