"""Languages in balance: how often each utterance is heard, so that small languages are not drowned by large ones.

XLSR draws a language with probability p_l in proportion to (n_l / N)^alpha, n_l its hours (Conneau et al. 2020, arXiv
2006.13979, section 2). The same shares come about by copying: each utterance of the language is heard p_l / (n_l / N)
times an epoch. Where that is no whole number, an epoch has the whole copies of all and one more of some, drawn anew for
each epoch, and the audio of an epoch remains as much as it was.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Weights = NDArray[np.float64]


class Balance(NamedTuple):
    """Languages of a list of utterances, and how often each utterance is heard."""

    names: tuple[str, ...]
    """Of the languages; utterances that tell none are one language more, `untold`."""
    codes: Rows
    """Language of each utterance, as its place in `names`."""
    natural: Weights
    """Share of each language in the audio, n_l / N."""
    shares: Weights
    """Share of each language in what is heard, p_l."""

    @property
    def copies(self) -> Weights:
        """How often an epoch hears each utterance of each language, on average."""
        times: Weights = np.round(self.shares / self.natural, 9)  # so that an exponent of 1 gives exactly 1
        return times

    def sizes(self, edges: Rows) -> Rows:
        """Draws of an epoch from each bucket, the same in every epoch.

        Rounded down: then no utterance of a language that is to be heard less is ever drawn twice in an epoch.

        Args:
            edges: where each bucket begins in the list, and the end.
        """
        expected = np.add.reduceat(self.copies[self.codes], edges[:-1])
        return np.maximum(1, np.floor(expected + 1e-6)).astype(np.int64)

    def draw(self, first: int, last: int, size: int, rng: np.random.Generator) -> Rows:
        """Positions in the list of the draws of one epoch from one bucket, in random order.

        Systematic sampling (Madow 1949): the utterances, in random order language by language, lie one after the other
        on a line, each as long as its copies; the draws are where a comb of evenly spaced teeth hits them. So each
        utterance comes as often as the whole number below or above its copies, and so does each language as a whole.

        Args:
            first: where the bucket begins in the list.
            last: and where the next begins.
            size: number of draws.
            rng: for the order and the place of the comb.
        """
        order = first + np.lexsort((rng.random(last - first), self.codes[first:last]))
        ends = np.cumsum(self.copies[self.codes[order]])
        teeth = (rng.random() + np.arange(size)) * (ends[-1] / size)
        drawn: Rows = order[np.minimum(np.searchsorted(ends, teeth, side="right"), last - first - 1)]
        rng.shuffle(drawn)
        return drawn

    def __str__(self) -> str:
        """The shares, for people."""
        rows = sorted(zip(self.natural, self.shares, self.names, strict=True), reverse=True)
        return ", ".join(f"{name} {share:.1%} (of the audio {natural:.1%})" for natural, share, name in rows)


def shares(amounts: Weights, exponent: float) -> Weights:
    """p_l in proportion to (n_l / N)^alpha.

    Args:
        amounts: n_l, the audio of each language, in any unit; all above 0.
        exponent: alpha. 1: as the amounts are; 0: all alike.
    """
    powers: Weights = (amounts / amounts.sum()) ** exponent
    together: Weights = powers / powers.sum()
    return together


def balance(languages: Sequence[str | None], amounts: NDArray[np.integer], exponent: float) -> Balance:
    """How often utterances are heard for their languages' sake.

    Args:
        languages: of each utterance; None: it tells none.
        amounts: audio that is heard of each utterance, above 0.
        exponent: alpha, see `shares`.

    Raises:
        ValueError: no utterance tells its language.
    """
    if all(language is None for language in languages):
        raise ValueError(
            f"expected utterances that tell their language, for the balance between languages that "
            f"data.language_exponent {exponent:g} asks for, and none of {len(languages)} does; prepare each language "
            "with `sori prepare --language CODE` (or a `language` column in the table), or switch the balance off with "
            "`--data.language-exponent null`"
        )
    names, codes = np.unique([language or "untold" for language in languages], return_inverse=True)
    totals = np.bincount(codes, weights=amounts).astype(np.float64)
    return Balance(tuple(names.tolist()), codes.astype(np.int64), totals / totals.sum(), shares(totals, exponent))
