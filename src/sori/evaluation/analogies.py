"""Analogies, a is to b as c is to what? The protocol of Mikolov et al. 2013 (arXiv 1301.3781, section 4).

The answer is the word whose vector has the greatest cosine with b - a + c, all brought to length 1, the words of the
question left out; only the very word that is asked for counts. Questions with a word that has no vector are left out,
and how many were not is always told beside the score. As in the program that comes with the questions
(`compute-accuracy`), upper and lower case are one, and only the most frequent words take part.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.user_files import read_text
from sori.evaluation.bootstrap import draws, interval

RESTRICT = 30_000
"""Most frequent words that take part, as in the published scores."""
_NUMBERS_AT_ONCE = 1 << 24
"""Cosines computed at a time: 64 MB."""
_SYNTACTIC = "gram"
"""How the names of sections about grammar begin."""
_EPSILON = 1e-6

Method = Literal["add", "multiply"]


class Question(NamedTuple):
    """a is to b as c is to d."""

    a: str
    b: str
    c: str
    d: str


class Section(NamedTuple):
    """Questions of one kind."""

    name: str
    questions: list[Question]


class Score(NamedTuple):
    """How many questions were answered rightly."""

    name: str
    right: int
    known: int
    """Questions of which all words have a vector: only these count."""
    asked: int
    low: float
    """Ends of the 95 % interval of the accuracy; pairs a : b are drawn, whose questions share their luck."""
    high: float

    @property
    def accuracy(self) -> float:
        """Share of the known questions that was answered rightly; NaN without any."""
        return self.right / self.known if self.known else float("nan")


class Analogies(NamedTuple):
    """Scores of a list of questions."""

    sections: list[Score]
    totals: list[Score]
    """Semantic and syntactic, where the list has both, and all."""
    num_words: int
    """That took part."""

    def table(self) -> str:
        """As text."""
        rows = [*self.sections, *self.totals]
        width = max(len(row.name) for row in rows)
        lines = [f"analogies among the {self.num_words:,} most frequent words"]
        lines.append(
            f"{'':{width}}  {'right':>6}  {'of known':>8}  {'accuracy':>8}  {'95 % interval':>16}  known of asked"
        )
        for row in rows:
            share, limits = ("-", "-") if not row.known else (f"{row.accuracy:.1%}", _limits(row))
            known = f"{row.known / row.asked:.0%} of {row.asked:,}" if row.asked else "none asked"
            lines.append(f"{row.name:{width}}  {row.right:6,}  {row.known:8,}  {share:>8}  {limits:>16}  {known}")
        return "\n".join(lines)


def _limits(row: Score) -> str:
    return f"{100 * row.low:.1f} to {100 * row.high:.1f} %" if np.isfinite(row.low) else "-"


def read_questions(path: Path) -> list[Section]:
    """A list of questions: four words a line, and a line `: name` before each section.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is of another kind, or there are no questions.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected analogies, four words in each line")
    found = list[Section]()
    try:
        lines = read_text(path, encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); expected analogies, four words in each line") from None
    for number, line in enumerate(lines, 1):
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
        raise ValueError(f"{path} holds no questions; expected four words in each line")
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
    """Answer questions, and count what is right.

    Args:
        words: that take part, the most frequent first.
        unit: `word dim`, their vectors, each of length 1.
        sections: of questions.
        fold: upper and lower case are one: words that differ in case alone stand for the first of them, and none of
            them is an answer where one is in the question.
        method: `add`: cosine with b - a + c. `multiply`: cos(x, b) cos(x, c) / cos(x, a), cosines moved to between 0
            and 1 (3CosMul; Levy and Goldberg 2014).
        seed: of the intervals.
    """
    named = [word.upper() for word in words] if fold else list(words)
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(named):
        rows.setdefault(word, []).append(row)
    scores, groups, right = list[Score](), list[NDArray[np.int64]](), list[NDArray[np.float64]]()
    for section in sections:
        asked = [Question(*(word.upper() for word in one)) if fold else one for one in section.questions]
        known = [one for one in asked if all(word in rows for word in one)]
        answers = _answers(unit, known, rows, method)
        correct = np.array([named[row] == one.d for row, one in zip(answers, known, strict=True)], dtype=np.float64)
        pairs = {pair: number for number, pair in enumerate(dict.fromkeys((one.a, one.b) for one in known))}
        groups.append(np.array([pairs[one.a, one.b] for one in known], dtype=np.int64))
        right.append(correct)
        scores.append(_score(section.name, correct, groups[-1], len(asked), seed))
    totals = []
    syntactic = [section.name.startswith(_SYNTACTIC) for section in sections]
    kinds = {"semantic": [not one for one in syntactic], "syntactic": syntactic} if len({*syntactic}) > 1 else {}
    for name, chosen in (kinds | {"all": [True] * len(sections)}).items():
        places = np.flatnonzero(chosen).tolist()
        asked_of = sum(scores[place].asked for place in places)
        owners = _one_after_the_other([groups[place] for place in places])
        totals.append(_score(name, np.concatenate([right[place] for place in places]), owners, asked_of, seed))
    return Analogies(scores, totals, len(words))


def _answers(
    unit: NDArray[np.float32], questions: Sequence[Question], rows: dict[str, list[int]], method: Method
) -> list[int]:
    """The row of the answer to each question."""
    asked = np.array([[rows[word][0] for word in one[:3]] for one in questions], dtype=np.int64).reshape(-1, 3)
    at_once = max(1, _NUMBERS_AT_ONCE // len(unit))
    found = list[int]()
    for first in range(0, len(asked), at_once):
        a, b, c = (unit[column] for column in asked[first : first + at_once].T)
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


def _one_after_the_other(groups: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Numbers of groups that do not meet those of other sections."""
    made, first = [np.zeros(0, dtype=np.int64)], 0
    for one in groups:
        made.append(one + first)
        first += int(one.max()) + 1 if len(one) else 0
    return np.concatenate(made)


def _score(name: str, correct: NDArray[np.float64], groups: NDArray[np.int64], asked: int, seed: int) -> Score:
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    low = high = float("nan")
    if num_groups > 1:
        sums = np.stack([np.bincount(groups, correct), np.bincount(groups)])
        weights = draws(num_groups, num_draws=1000, seed=seed, name="analogies")
        low, high = interval((weights @ sums[0]) / (weights @ sums[1]))
    return Score(name, int(correct.sum()), len(correct), asked, low, high)
