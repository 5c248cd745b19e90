"""Modified Kneser-Ney smoothing from its definitions, with dictionaries in float64, and a simple ARPA reader."""

import math
from collections import Counter
from functools import cache

FALLBACK = (0.5, 1.0, 1.5)


def estimate(sentences, order, thresholds=()):
    """Estimate a model: every n-gram to (log10 p, log10 back-off weight or None), as in an ARPA file.

    Args:
        sentences: lists of words; <unk> may be one of them.
        order: order of the model.
        thresholds: for each order, the largest count of n-grams that are dropped. As many as orders, or none.
    """
    thresholds = thresholds or [0] * order
    true = true_counts(sentences, order)
    adjusted = adjusted_counts(true, order)
    discounts = {n: closed_form([a for gram, a in adjusted.items() if len(gram) == n]) for n in range(1, order + 1)}
    kept = {gram for gram, times in true.items() if times > thresholds[len(gram) - 1]}
    kept |= {("<s>",), ("</s>",), ("<unk>",)}
    continuations = {}
    for gram, times in adjusted.items():
        continuations.setdefault(gram[:-1], {})[gram[-1]] = times
    uniform = 1 / (len([gram for gram in kept if len(gram) == 1]) - 1)

    def discounted(context, word):
        """Return the discounted probability of a kept word after a context, without back-off."""
        after = continuations.get(context, {})
        times = after.get(word, 0)
        if not times or (*context, word) not in kept:
            return 0.0
        return (times - discounts[len(context) + 1][min(times, 3) - 1]) / sum(after.values())

    @cache
    def left(context):
        """Return the probability mass of a context that is left for back-off."""
        return 1 - math.fsum(discounted(context, word) for word in continuations.get(context, {}))

    @cache
    def prob(context, word):
        lower = prob(context[1:], word) if context else uniform
        return discounted(context, word) + left(context) * lower

    model = {}
    for gram in kept:
        value = -99.0 if gram == ("<s>",) else math.log10(prob(gram[:-1], gram[-1]))
        has_weight = len(gram) < order and gram[-1] != "</s>"
        model[gram] = (value, math.log10(left(gram)) if has_weight else None)
    return model


def true_counts(sentences, order):
    """Count all n-grams up to an order within `<s> ... </s>`."""
    true = Counter()
    for words in sentences:
        tokens = ("<s>", *words, "</s>")
        true.update(
            tokens[start:end]
            for start in range(len(tokens))
            for end in range(start + 1, min(len(tokens), start + order) + 1)
        )
    return true


def adjusted_counts(true, order):
    """Replace counts below the highest order and not after <s> by the number of different preceding words."""
    before = {}
    for gram in true:
        before.setdefault(gram[1:], set()).add(gram[0])
    return {
        gram: times if len(gram) == order or gram[0] == "<s>" else len(before[gram])
        for gram, times in true.items()
        if gram != ("<s>",)
    }


def closed_form(counts):
    """Return D1, D2, D3+ by Chen and Goodman's equation 26, or the fallback."""
    n = Counter(counts)
    if not (n[1] and n[2] and n[3]):
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    return found if all(0 < d <= k for k, d in enumerate(found, 1)) else FALLBACK


def read_arpa(text):
    """Read the n-gram numbers of the header, and every n-gram to (log10 p, log10 back-off weight or None)."""
    stated, model, order = {}, {}, 0
    lines = iter(text.split("\n"))
    assert next(lines) == "\\data\\"
    for line in lines:
        if line == "\\end\\":
            break
        if line.startswith("ngram "):
            number, _, count = line.removeprefix("ngram ").partition("=")
            stated[int(number)] = int(count)
        elif line.startswith("\\"):
            order = int(line[1:].removesuffix("-grams:"))
        elif line:
            cells = line.split("\t")
            gram = tuple(cells[1].split(" "))
            assert len(gram) == order
            assert gram not in model
            model[gram] = (float(cells[0]), float(cells[2]) if len(cells) == 3 else None)
    assert list(lines) == [""]
    return stated, model


def log10_prob(model, context, word):
    """Return log10 of the probability of a word after a context of any length, with back-off."""
    context = tuple(context)
    if (*context, word) in model:
        return model[*context, word][0]
    if not context:
        return model["<unk>",][0]
    weight = model[context][1] if context in model else None
    return (weight or 0.0) + log10_prob(model, context[1:], word)
