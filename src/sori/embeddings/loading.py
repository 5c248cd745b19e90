"""Load word vectors from a file, a run, or a model of spoken words, and evaluate them."""

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
    """Load words and their vectors, the most frequent first.

    Args:
        source: file of word vectors, run folder, model folder or name.
        data: for a model of spoken words: prepared folders with the words; empty: those it was trained on.
        segments: for a model of spoken words: where the segments are stored.
        split: for a model of spoken words: use only this split.
        limit: maximum number of words, the most frequent ones.

    Raises:
        FileNotFoundError: there is no such file or model.
        ValueError: the file is damaged, the model has no word vectors, or recordings are given for vectors of text.
    """
    if limit is not None:
        require_count("limit", limit)
    if is_text_source(source):
        refuse_recordings(str(source), data)
    if vector_files.is_word_file(source):
        return vector_files.read(Path(source), limit=limit)
    match store.read(source).model.system:
        case Speech2VecConfig():
            embedded = spoken.embed_segments(source, data=data, segments=segments, split=split)
            space = spoken.WordVectors(embedded).space()
        case Word2VecConfig():
            system = store.load(source)
            assert isinstance(system, Word2Vec)  # noqa: S101 - the configuration is of this class
            space = WordSpace(system.words, system.vectors.numpy(), system.counts)
        case other:
            raise ValueError(
                f"expected word vectors, got {source} ({other.kind}), which has none; the name of a file of word "
                f"vectors ends in {', '.join(vector_files.TEXT + vector_files.BINARY)}, and `sori train "
                "word2vec_skipgram` trains vectors on text"
            )
    return space if limit is None else space.most_frequent(limit)


def is_text_source(source: str | Path) -> bool:
    """Return whether the word vectors of a source were trained on text, not on speech."""
    return vector_files.is_word_file(source) or isinstance(store.read(source).model.system, Word2VecConfig)


def refuse_recordings(source: str, data: Sequence[Path]) -> None:
    """Refuse recordings for word vectors of text.

    Raises:
        ValueError: there are recordings.
    """
    if data:
        raise ValueError(
            f"{source} contains word vectors of text; recordings (--data) are only for models of spoken words"
        )


def is_spoken_source(source: str | Path) -> bool:
    """Return whether a source is a model of spoken words.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or it cannot be read.
    """
    return not is_text_source(source) and isinstance(store.read(source).model.system, Speech2VecConfig)


class VectorScores(NamedTuple):
    """Scores of word vectors on similarity lists and analogies."""

    similar: list[tuple[str, Similarity]]
    """Name and result of each similarity list."""
    analogies: Analogies | None

    def table(self) -> str:
        """Format the scores as text."""
        lines = [f"{name}: {one}" for name, one in self.similar]
        return "\n".join([*([self.analogies.table()] if self.analogies else []), *lines])


def evaluate(
    space: WordSpace,
    *,
    questions: Path | None = None,
    similar: Sequence[Path] = (),
    restrict: int = RESTRICT,
    fold: bool = True,
    method: Method = "add",
) -> VectorScores:
    """Evaluate word vectors on analogies and on word similarities rated by people.

    Args:
        space: word vectors.
        questions: file of analogies in the format of questions-words.txt.
        similar: similarity lists, with two words and a score per line.
        restrict: number of most frequent words that analogies are evaluated on.
        fold: whether analogies ignore upper and lower case.
        method: how analogies are solved.

    Raises:
        FileNotFoundError, ValueError: a list cannot be read, or `restrict` is smaller than four.
    """
    if restrict < 4:
        raise ValueError(f"expected 4 words or more to solve analogies, got {restrict}")
    rows = space.by_frequency
    found = None
    if questions is not None:
        few = rows[:restrict]
        named = [space.words[row] for row in few.tolist()]
        found = analogies(named, space.unit[few], read_questions(questions), fold=fold, method=method)
    if not similar:
        return VectorScores([], found)
    folded = by_folded([space.words[row] for row in rows.tolist()], space.vectors[rows])
    return VectorScores([(path.name, similarity(folded, read_rated_pairs(path))) for path in similar], found)
