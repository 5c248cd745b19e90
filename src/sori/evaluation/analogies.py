"""Word analogies, a is to b as c is to d: the protocol of Mikolov et al. 2013 (arXiv 1301.3781, section 4).

The answer is the word whose vector has the highest cosine with b - a + c (all vectors of unit length), excluding the
words of the question; only an exact match counts as correct. Questions with a word that has no vector are left out, and
the coverage is reported with the score. As in the program that comes with the questions (`compute-accuracy`), case is
ignored, and only the most frequent words are candidates.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.user_files import read_text
from sori.evaluation.bootstrap import draws, interval

RESTRICT = 30_000
"""Number of most frequent words used, as in the published scores."""
_NUMBERS_AT_ONCE = 1 << 24
"""Cosines computed at a time: 64 MB."""
_SYNTACTIC = "gram"
"""Prefix of the names of syntactic sections."""
_EPSILON = 1e-6

Method = Literal["add", "multiply"]


class Question(NamedTuple):
    """Analogy question: a is to b as c is to d."""

    a: str
    b: str
    c: str
    d: str


class Section(NamedTuple):
    """Questions of one category."""

    name: str
    questions: list[Question]


class Score(NamedTuple):
    """Number of correct answers in a section."""

    name: str
    right: int
    known: int
    """Number of questions whose words all have a vector; only these count."""
    total: int
    """Number of questions."""
    low: float
    """Ends of the 95 % interval of the accuracy; pairs a : b are drawn, because their questions are correlated."""
    high: float

    @property
    def accuracy(self) -> float:
        """Return the fraction of known questions answered correctly; NaN if there are none."""
        return self.right / self.known if self.known else float("nan")


class Analogies(NamedTuple):
    """Scores on a list of questions."""

    sections: list[Score]
    totals: list[Score]
    """Totals: semantic and syntactic if the list has both, and all."""
    num_words: int
    """Number of words used."""

    def table(self) -> str:
        """Return the scores as text."""
        rows = [*self.sections, *self.totals]
        width = max(len(row.name) for row in rows)
        lines = [f"analogies among the {self.num_words:,} most frequent words"]
        lines.append(f"{'':{width}}  {'right':>6}  {'of known':>8}  {'accuracy':>8}  {'95 % interval':>16}  coverage")
        for row in rows:
            accuracy, limits = ("-", "-") if not row.known else (f"{row.accuracy:.1%}", _limits(row))
            known = f"{row.known / row.total:.0%} of {row.total:,}" if row.total else "no questions"
            lines.append(f"{row.name:{width}}  {row.right:6,}  {row.known:8,}  {accuracy:>8}  {limits:>16}  {known}")
        return "\n".join(lines)


def _limits(row: Score) -> str:
    return f"{100 * row.low:.1f} to {100 * row.high:.1f} %" if np.isfinite(row.low) else "-"


def read_questions(path: Path) -> list[Section]:
    """Read a list of questions: four words in each line, and a line `: name` before each section.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line has another format, or there are no questions.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected analogies, four words in each line")
    found = list[Section]()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        if line.startswith(":"):
            found.append(Section(line[1:].strip(), []))
        elif len(words) == 4:
            if not found:
                found.append(Section("questions", []))
            found[-1].questions.append(Question(*words))
        elif words:
            raise ValueError(f"{path}, line {number}: expected four words, or `: name` of a section, got {line[:80]!r}")
    if not any(one.questions for one in found):
        raise ValueError(f"{path} contains no questions; expected four words in each line")
    return found


def analogies(
    words: Sequence[str],
    unit: NDArray[np.float32],
    sections: Sequence[Section],
    *,
    fold: bool = True,
    method: Method = "add",
    seed: int = 0,
) -> Analogies:
    """Answer analogy questions with word vectors and score the answers.

    Args:
        words: candidate words, the most frequent first.
        unit: `word dim`, vectors of unit length.
        sections: questions by section.
        fold: ignore case: words that differ only in case are represented by the first of them, and all of them are
            excluded as answers if one is in the question.
        method: `add`: cosine with b - a + c. `multiply`: cos(x, b) cos(x, c) / cos(x, a), with cosines rescaled to
            [0, 1] (3CosMul; Levy and Goldberg 2014).
        seed: seed of the bootstrap intervals.
    """
    named = [word.upper() for word in words] if fold else list(words)
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(named):
        rows.setdefault(word, []).append(row)
    scores, groups, right = list[Score](), list[NDArray[np.int64]](), list[NDArray[np.float64]]()
    for section in sections:
        every = [Question(*(word.upper() for word in one)) if fold else one for one in section.questions]
        known = [one for one in every if all(word in rows for word in one)]
        answers = _answers(unit, known, rows, method)
        correct = np.array([named[row] == one.d for row, one in zip(answers, known, strict=True)], dtype=np.float64)
        pairs = {pair: number for number, pair in enumerate(dict.fromkeys((one.a, one.b) for one in known))}
        groups.append(np.array([pairs[one.a, one.b] for one in known], dtype=np.int64))
        right.append(correct)
        scores.append(_score(section.name, correct, groups[-1], len(every), seed))
    totals = []
    syntactic = [section.name.startswith(_SYNTACTIC) for section in sections]
    kinds = {"semantic": [not one for one in syntactic], "syntactic": syntactic} if len({*syntactic}) > 1 else {}
    for name, chosen in (kinds | {"all": [True] * len(sections)}).items():
        places = np.flatnonzero(chosen).tolist()
        num_questions = sum(scores[place].total for place in places)
        owners = _concatenated([groups[place] for place in places])
        totals.append(_score(name, np.concatenate([right[place] for place in places]), owners, num_questions, seed))
    return Analogies(scores, totals, len(words))


def _answers(
    unit: NDArray[np.float32], questions: Sequence[Question], rows: dict[str, list[int]], method: Method
) -> list[int]:
    """Return the row of the answer to each question."""
    given = np.array([[rows[word][0] for word in one[:3]] for one in questions], dtype=np.int64).reshape(-1, 3)
    at_once = max(1, _NUMBERS_AT_ONCE // len(unit))
    found = list[int]()
    for first in range(0, len(given), at_once):
        a, b, c = (unit[column] for column in given[first : first + at_once].T)
        if method == "add":
            scores = (b - a + c) @ unit.T
        else:
            to_a, to_b, to_c = ((1 + one @ unit.T) / 2 for one in (a, b, c))
            scores = to_b * to_c / (to_a + _EPSILON)
        for place, one in enumerate(questions[first : first + at_once]):
            for word in one[:3]:
                scores[place, rows[word]] = -np.inf
        found += scores.argmax(1).tolist()
    return found


def _concatenated(groups: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Concatenate group numbers, offset so that groups of different sections stay distinct."""
    made, first = [np.zeros(0, dtype=np.int64)], 0
    for one in groups:
        made.append(one + first)
        first += int(one.max()) + 1 if len(one) else 0
    return np.concatenate(made)


def _score(name: str, correct: NDArray[np.float64], groups: NDArray[np.int64], total: int, seed: int) -> Score:
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    low = high = float("nan")
    if num_groups > 1:
        sums = np.stack([np.bincount(groups, correct), np.bincount(groups)])
        weights = draws(num_groups, num_draws=1000, seed=seed, name="analogies")
        low, high = interval((weights @ sums[0]) / (weights @ sums[1]))
    return Score(name, int(correct.sum()), len(correct), total, low, high)
