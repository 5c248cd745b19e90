"""Analogies against a slow reference in double precision, gensim, and the published list."""

import math

import numpy as np
import pytest

from sori.embeddings.space import unit
from sori.evaluation import analogies as tested
from sori.evaluation.analogies import Question, Section, analogies, read_questions


def made(num=60, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    words = [f"w{n}" for n in range(num - 6)] + ["W1", "W2", "w0X", "Zed", "zed", "ZED"]
    vectors = unit(rng.normal(size=(num, dim)).astype(np.float32))
    chosen = rng.integers(0, num + 4, (80, 4)).tolist()
    named = [*words, "un", "known", "to", "all"]
    sections = [
        Section("family", [Question(*(named[n] for n in four)) for four in chosen[:50]]),
        Section("gram1", [Question(*(named[n] for n in four)) for four in chosen[50:]]),
    ]
    return words, vectors, sections


def slow(words, vectors, question, *, fold, multiply=False):
    """Return the answer by a loop over cosines; None if a word is unknown."""
    name = str.upper if fold else str
    first = {}
    for row, word in enumerate(words):
        first.setdefault(name(word), row)
    given = [name(word) for word in question]
    if any(word not in first for word in given):
        return None
    rows = vectors.astype(np.float64)
    a, b, c = (rows[first[word]] for word in given[:3])
    best, found = -math.inf, None
    for row, word in enumerate(words):
        if name(word) in given[:3]:
            continue
        if multiply:
            shifted = [(1 + rows[row] @ one) / 2 for one in (a, b, c)]
            score = shifted[1] * shifted[2] / (shifted[0] + 1e-6)
        else:
            score = rows[row] @ (b - a + c)
        if score > best:
            best, found = score, name(word)
    return found


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("method", ["add", "multiply"])
@pytest.mark.parametrize("at_once", [1 << 24, 200])
def test_answers_are_those_of_a_slow_reference(monkeypatch, fold, method, at_once):
    monkeypatch.setattr(tested, "_NUMBERS_AT_ONCE", at_once)
    words, vectors, sections = made()
    # Some questions get the slow answer as their solution, so that correct answers are tested too.
    for section in sections:
        for number, one in enumerate(section.questions):
            answer = slow(words, vectors, one, fold=fold, multiply=method == "multiply")
            if number % 3 == 0 and answer is not None:
                section.questions[number] = one._replace(d=answer)
    found = analogies(words, vectors, sections, fold=fold, method=method)
    name = str.upper if fold else str
    for score, section in zip(found.sections, sections, strict=True):
        answers = [slow(words, vectors, one, fold=fold, multiply=method == "multiply") for one in section.questions]
        assert score.total == len(answers)
        assert score.known == sum(answer is not None for answer in answers)
        right = sum(answer == name(one.d) for answer, one in zip(answers, section.questions, strict=True))
        assert score.right == right > 5
        assert score.low <= score.accuracy <= score.high
    assert [one.name for one in found.totals] == ["semantic", "syntactic", "all"]
    assert found.totals[2].right == found.sections[0].right + found.sections[1].right


def test_a_word_of_the_question_is_no_answer_in_any_case():
    """ROME has the highest cosine, then Italy; but the question contains Rome."""
    vectors = unit(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0.3, 1]], dtype=np.float32))
    words = ["Paris", "France", "Rome", "ROME", "Italy"]
    question = [Section("x", [Question("Paris", "France", "Rome", "Italy")])]
    assert analogies(words, vectors, question).totals[0].right == 1
    assert analogies(words, vectors, question, fold=False).totals[0].right == 0


@pytest.mark.foreign
def test_scores_are_those_of_gensim(tmp_path):
    """Vectors with a constructed relation."""
    keyed = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors(vector_size=20)
    rng = np.random.default_rng(0)
    places, offset = rng.normal(size=(40, 20)), rng.normal(size=20) * 2
    words = [f"land{n}" for n in range(40)] + [f"City{n}" for n in range(40)]
    vectors = np.concatenate([places, places + offset + rng.normal(size=(40, 20)) * 0.6]).astype(np.float32)
    keyed.add_vectors(words, vectors)
    lines = [": capitals"]
    lines += [f"LAND{a} city{a} land{b} city{b}" for a in range(20) for b in range(40) if a != b]
    lines += [": gram1", "land0 unknown land1 city1"]
    lines += [f"city{a} land{a} city{b} land{b}" for a in range(20) for b in range(20) if a != b]
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(lines))
    for restrict in (80, 60):
        total, sections = keyed.evaluate_word_analogies(str(path), restrict_vocab=restrict)
        found = analogies(words[:restrict], unit(vectors[:restrict]), read_questions(path))
        assert [one.right for one in found.sections] == [len(one["correct"]) for one in sections[:2]]
        assert [one.known for one in found.sections] == [
            len(one["correct"]) + len(one["incorrect"]) for one in sections[:2]
        ]
        assert found.totals[-1].accuracy == pytest.approx(total)
        assert 0.1 < total < 1


@pytest.mark.foreign
@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")  # gensim calls itself so
def test_products_are_those_of_gensim():
    """gensim scores sums only, so single questions are compared."""
    keyed = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors(vector_size=4)
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    words = [f"w{n}" for n in range(30)]
    keyed.add_vectors(words, vectors)
    questions = []
    for n in range(27):
        ((best, _),) = keyed.most_similar_cosmul([words[n + 1], words[n + 2]], [words[n]], topn=1)
        questions.append(Question(words[n], words[n + 1], words[n + 2], best))
    score = analogies(words, unit(vectors), [Section("all", questions)], method="multiply").sections[0]
    assert (score.right, score.known) == (27, 27)


def test_the_interval_is_wide_if_questions_of_a_pair_are_correlated():
    """Two pairs with ten questions each, all correct or all wrong: there are effectively two samples."""
    vectors = unit(np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32))
    words = [f"w{n}" for n in range(30)]
    alike = [
        Question("w0", "w1", f"w{n}", slow(words, vectors, ("w0", "w1", f"w{n}", "w0"), fold=True))
        for n in range(4, 14)
    ]
    wrong = [Question("w2", "w3", f"w{n}", "w2") for n in range(4, 14)]
    score = analogies(words, vectors, [Section("all", [*alike, *wrong])]).sections[0]
    assert (score.right, score.known) == (10, 20)
    assert (score.low, score.high) == (0.0, 1.0)


def test_unknown_words_give_no_score():
    found = analogies(["a", "b"], np.eye(2, dtype=np.float32), [Section("x", [Question("p", "q", "r", "s")])])
    assert (found.totals[0].known, found.totals[0].total) == (0, 1)
    assert math.isnan(found.totals[0].accuracy)
    assert "0% of 1" in found.table()


def test_the_published_list_has_its_published_sizes(data_dir):
    sections = read_questions(data_dir / "word-similarity" / "questions-words.txt")
    sizes = [len(one.questions) for one in sections]
    assert (len(sections), sum(sizes), sum(sizes[:5]), sum(sizes[5:])) == (14, 19_544, 8_869, 10_675)
    assert [one.name.startswith("gram") for one in sections] == [False] * 5 + [True] * 9


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "questions.txt"
    for text, complaint in (("a b c\n", "line 1: expected four words"), (": only a name\n", "contains no questions")):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_questions(path)
    path.write_bytes(b"caf\xe9 a b c\n")
    with pytest.raises(ValueError, match="expected UTF-8"):
        read_questions(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_questions(tmp_path / "none.txt")
