"""Language balancing: use the utterances of small languages more often than those of large ones.

XLSR draws a language with probability p_l in proportion to (n_l / N)^alpha, where n_l are its hours (Conneau et al.
2020, arXiv 2006.13979, section 2). Here, each utterance of the language is used p_l / (n_l / N) times an epoch, which
gives the same fractions. If that is not an integer, the number is rounded down for all utterances and up for some,
which are drawn for each epoch. The duration of an epoch stays the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.data.table_file import Categories
from sori.data.utterance_columns import categories

Rows = NDArray[np.int64]
Weights = NDArray[np.float64]


class Balance(NamedTuple):
    """Languages of a list of utterances, and how often each utterance is used."""

    names: tuple[str, ...]
    """Names of the languages; utterances without a language form another one, `unspecified`."""
    language_ids: NDArray[np.integer[Any]]
    """Language of each utterance, as an index into `names`."""
    natural: Weights
    """Fraction of each language in the audio, n_l / N."""
    balanced: Weights
    """Fraction of each language after balancing, p_l."""

    @property
    def copies(self) -> Weights:
        """Average number of times that an epoch uses each utterance of each language."""
        times: Weights = np.round(self.balanced / self.natural, 9)  # so that an exponent of 1 gives exactly 1
        return times

    def sizes(self, edges: Rows) -> Rows:
        """Return the number of draws from each bucket, the same in every epoch.

        It is rounded down, so that utterances of languages that are reduced are never drawn twice in an epoch.

        Args:
            edges: start of each bucket in the list, and the end of the last one.
        """
        expected = np.add.reduceat(self.copies[self.language_ids], edges[:-1])
        return np.maximum(1, np.floor(expected + 1e-6)).astype(np.int64)

    def draw(self, first: int, last: int, size: int, rng: np.random.Generator) -> Rows:
        """Draw utterances of one bucket for one epoch; return their positions in the list, in random order.

        Systematic sampling (Madow 1949): the utterances, in random order within each language, are placed on a line,
        each as long as its number of copies, and drawn at evenly spaced points with a random offset. The number of
        draws of each utterance, and of each language, is thus its number of copies rounded down or up.

        Args:
            first: start of the bucket in the list.
            last: end of the bucket, the start of the next one.
            size: number of draws.
            rng: random generator for the order and the offset.
        """
        order = first + np.lexsort((rng.random(last - first), self.language_ids[first:last]))
        ends = np.cumsum(self.copies[self.language_ids[order]])
        points = (rng.random() + np.arange(size)) * (ends[-1] / size)
        drawn: Rows = order[np.minimum(np.searchsorted(ends, points, side="right"), last - first - 1)]
        rng.shuffle(drawn)
        return drawn

    def __str__(self) -> str:
        """Return the fractions for people."""
        rows = sorted(zip(self.natural, self.balanced, self.names, strict=True), reverse=True)
        return ", ".join(f"{name} {used:.1%} (of the audio {natural:.1%})" for natural, used, name in rows)


def balanced_fractions(amounts: Weights, exponent: float) -> Weights:
    """Return p_l, in proportion to (n_l / N)^alpha.

    Args:
        amounts: n_l, the amount of audio of each language, in any unit; all above 0.
        exponent: alpha. 1: in proportion to the amounts; 0: all equal.
    """
    powers: Weights = (amounts / amounts.sum()) ** exponent
    fractions: Weights = powers / powers.sum()
    return fractions


def balance(languages: Sequence[str | None] | Categories, amounts: NDArray[np.integer], exponent: float) -> Balance:
    """Compute how often utterances are used, depending on their languages.

    Args:
        languages: language of each utterance; None: not specified.
        amounts: amount of audio of each utterance, above 0.
        exponent: alpha, see `balanced_fractions`.

    Raises:
        ValueError: no utterance has a language.
    """
    found = languages if isinstance(languages, Categories) else categories(languages)
    present = np.bincount(found.codes, minlength=len(found.names)) > 0
    if all(name is None for name, is_used in zip(found.names, present, strict=True) if is_used):
        raise ValueError(
            f"expected utterances with a language, which data.language_exponent {exponent:g} needs, but none of "
            f"{len(found.codes)} has one; prepare each language with `sori prepare --language CODE` (or a `language` "
            "column in the table), or switch language balancing off with `--data.language-exponent null`"
        )
    named = [name or "unspecified" for name, is_used in zip(found.names, present, strict=True) if is_used]
    names, numbers = np.unique(named, return_inverse=True)
    of_code = np.zeros(len(found.names), dtype=np.int32)
    of_code[present] = numbers
    language_ids = of_code[found.codes]
    totals = np.bincount(language_ids, weights=amounts).astype(np.float64)
    return Balance(tuple(names.tolist()), language_ids, totals / totals.sum(), balanced_fractions(totals, exponent))
