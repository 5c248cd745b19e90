"""The words of anything that has vectors of words: a file, a run, a model of spoken words."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sori.checkpoints import store
from sori.core.counts import require_count
from sori.data.batches.segment_pairs import SegmentConfig
from sori.embeddings import spoken_words as spoken
from sori.embeddings import vector_files
from sori.embeddings.space import WordSpace
from sori.evaluation.analogies import RESTRICT, Analogies, Method, analogies, read_questions
from sori.evaluation.similarity import Similarity, by_folded, read_rated_pairs, similarity
from sori.models.speech2vec import Speech2VecConfig
from sori.models.word2vec import Word2Vec, Word2VecConfig


def load(
    source: str | Path,
    *,
    data: Sequence[Path] = (),
    segments: SegmentConfig | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> WordSpace:
    """Words and their vectors, the most frequent first.

    Args:
        source: file of word vectors, run folder, model folder or name.
        data: of a model of spoken words, prepared folders to take the words from; none: those it was trained on.
        segments: likewise, where the words are.
        split: likewise, only this split.
        limit: only so many of the most frequent words.

    Raises:
        FileNotFoundError: there is no such file or model.
        ValueError: the file is damaged, the model has no vectors of words, or recordings are named for vectors of text.
    """
    if limit is not None:
        require_count("limit", limit)
    if written(source):
        needs_no_recordings(str(source), data)
    if vector_files.is_word_file(source):
        return vector_files.read(Path(source), limit=limit)
    match store.read(source).model.system:
        case Speech2VecConfig():
            heard = spoken.hear(source, data=data, segments=segments, split=split)
            space = spoken.WordVectors(heard).space()
        case Word2VecConfig():
            system = store.load(source)
            assert isinstance(system, Word2Vec)  # noqa: S101 - by its settings
            space = WordSpace(system.words, system.vectors.numpy(), system.counts)
        case other:
            raise ValueError(
                f"expected vectors of words, got {source} ({other.kind}), which makes vectors of other things; a file "
                f"of word vectors ends in {', '.join(vector_files.TEXT + vector_files.BINARY)}, and `sori train "
                "word2vec_skipgram` learns vectors from text"
            )
    return space if limit is None else space.most_frequent(limit)


def written(source: str | Path) -> bool:
    """Whether the words of a source are written ones, which have no sound."""
    return vector_files.is_word_file(source) or isinstance(store.read(source).model.system, Word2VecConfig)


def needs_no_recordings(source: str, data: Sequence[Path]) -> None:
    """Refuse recordings where words are text.

    Raises:
        ValueError: there are some.
    """
    if data:
        raise ValueError(f"{source} holds vectors already; recordings (--data) are for models of spoken words")


def hears(source: str | Path) -> bool:
    """Whether the words of a source are spoken ones.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or it cannot be read.
    """
    return not written(source) and isinstance(store.read(source).model.system, Speech2VecConfig)


class Judgement(NamedTuple):
    """How far vectors agree with people."""

    similar: list[tuple[str, Similarity]]
    """By the name of the list."""
    analogies: Analogies | None

    def table(self) -> str:
        """As text."""
        lines = [f"{name}: {one}" for name, one in self.similar]
        return "\n".join([*([self.analogies.table()] if self.analogies else []), *lines])


def judge(
    space: WordSpace,
    *,
    questions: Path | None = None,
    similar: Sequence[Path] = (),
    restrict: int = RESTRICT,
    fold: bool = True,
    method: Method = "add",
) -> Judgement:
    """Ask word vectors for analogies, and compare their cosines with what people say.

    Args:
        space: of words.
        questions: analogies, as questions-words.txt.
        similar: lists of two words and a score a line.
        restrict: so many of the most frequent words take part in analogies.
        fold: there, upper and lower case are one.
        method: there, how the answer is found.

    Raises:
        FileNotFoundError, ValueError: a list cannot be read, or `restrict` leaves fewer than four words.
    """
    if restrict < 4:
        raise ValueError(f"expected 4 words or more to answer analogies with, got {restrict}")
    rows = space.by_frequency
    found = None
    if questions is not None:
        few = rows[:restrict]
        named = [space.words[row] for row in few.tolist()]
        found = analogies(named, space.unit[few], read_questions(questions), fold=fold, method=method)
    if not similar:
        return Judgement([], found)
    folded = by_folded([space.words[row] for row in rows.tolist()], space.vectors[rows])
    return Judgement([(path.name, similarity(folded, read_rated_pairs(path))) for path in similar], found)
