import gzip
import itertools
import math
import random

import numpy as np
import pytest

from sori.lm import arpa
from sori.lm.ngram import UNKNOWN_LOG10, NgramModel

ARPA = r"""
made by hand

\data\
ngram 1=6
ngram 2=5
ngram 3=2

\1-grams:
-1.0	<unk>
-99	<s>	-0.3
-0.7	</s>
-0.6	ab	-0.4
-0.8	ba	-0.2
-0.9	b	-0.1

\2-grams:
-0.3	<s> ab	-0.2
-0.5	ab ba	-0.15
-0.4	ba </s>
-0.6	ba b	-1.5e-1
-.75	b <unk>

\3-grams:
-0.2	<s> ab ba
-0.1	ab ba b

\end\
""".lstrip()


def read_slowly(text):
    """Words of an n-gram to (log10 probability, log10 back-off weight), as the format defines it."""
    table = {}
    for line in text.splitlines():
        if line.startswith("\\") and line.endswith("-grams:"):
            order = int(line[1 : line.index("-")])
        elif line.startswith("-") and table is not None:
            prob, *rest = line.split()
            table[tuple(rest[:order])] = (float(prob), float(rest[order]) if len(rest) > order else 0.0)
    return table


def score_slowly(table, context, word):
    """Log10 probability of a word after any number of words (Katz 1987)."""
    order = max(map(len, table))
    context = tuple(context)[-(order - 1) :] if order > 1 else ()
    if (word,) not in table:
        word = "<unk>"
    while (*context, word) not in table:
        if not context:
            return UNKNOWN_LOG10
        penalty = table.get(context, (0, 0))[1]
        return penalty + score_slowly(table, context[1:], word) if context[1:] else penalty + _unigram(table, word)
    return table[(*context, word)][0]


def _unigram(table, word):
    return table.get((word,), (UNKNOWN_LOG10, 0))[0]


def sentence_slowly(table, words, *, start="<s>", end="</s>"):
    """Log10 probability of a sentence with its end, if the model has both."""
    known = [word if (word,) in table else "<unk>" for word in words]
    history, total = [start] if (start,) in table else [], 0.0
    for word in [*known, *([end] if (end,) in table else [])]:
        total += score_slowly(table, history, word)
        history.append(word)
    return total


def random_arpa(words, order, *, seed=0, fraction=0.4, unknown=True, ends=False):
    """An ARPA file with random numbers whose n-grams all have their beginnings, and not all of them their ends."""
    rng = random.Random(seed)
    unigrams = [*(["<unk>"] if unknown else []), "<s>", "</s>", *words]
    levels = [[(word,) for word in unigrams]]
    for _ in range(1, order):
        begun = [gram for gram in levels[-1] if gram[-1] not in ("</s>", "<unk>")]
        every = [(*gram, word) for gram in begun for word in unigrams if word != "<s>"]
        if ends:  # as KenLM wants it
            every = [gram for gram in every if gram[1:] in levels[-1]]
        levels.append([gram for gram in every if rng.random() < fraction] or every[:1])
    text = "\\data\\\n" + "".join(f"ngram {n}={len(level)}\n" for n, level in enumerate(levels, 1))
    for number, level in enumerate(levels, 1):
        rng.shuffle(level)
        text += f"\n\\{number}-grams:\n"
        for gram in level:
            prob = -99 if gram == ("<s>",) else -rng.uniform(0.05, 2.5)
            weight = f"\t{rng.uniform(-1, 0.2):.6f}" if number < order and rng.random() < 0.8 else ""
            text += f"{prob:.6f}\t{' '.join(gram)}{weight}\n"
    return text + "\n\\end\\\n"


def model_of(text, tmp_path, name="lm.arpa"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return NgramModel.read(path)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("unknown", [True, False])
def test_equals_the_slow_scorer(order, unknown, tmp_path):
    text = random_arpa(["a", "b", "ç"], order, seed=order, unknown=unknown)
    model, table = model_of(text, tmp_path), read_slowly(text)
    assert model.order == order
    for length in range(5):
        for words in itertools.product(["a", "b", "ç", "new"], repeat=length):
            expected = sentence_slowly(table, words) * math.log(10)
            assert model.log_prob(words) == pytest.approx(expected, abs=1e-4)
            assert model.log_prob(" ".join(words)) == model.log_prob(words)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_by_hand(name, tmp_path):
    model = model_of(ARPA, tmp_path, name)
    assert model.counts == (6, 5, 2)
    assert model.log_prob("ab ba b") / math.log(10) == pytest.approx(-0.3 - 0.2 - 0.1 - 0.15 - 0.1 - 0.7, abs=1e-6)
    assert model.log_prob("b new") / math.log(10) == pytest.approx(-0.3 - 0.9 - 0.75 - 0.7, abs=1e-6)
    assert "ab" in model
    assert "new" not in model


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\t", " "),
        lambda text: text.replace("\n\\2-grams", "\\2-grams").replace("ngram 2=5", "ngram  2 = 5"),
        lambda text: text.replace("-99", "-inf"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("<unk>", "<UNK>"),
    ],
    ids=["windows", "blanks", "irstlm", "srilm", "no-last-newline", "kenlm-unknown"],
)
def test_files_of_other_programs(change, tmp_path):
    usual, other = model_of(ARPA, tmp_path), model_of(change(ARPA), tmp_path, "other.arpa")
    for sentence in ("", "ab ba b", "b new b", "ba ba"):
        assert other.log_prob(sentence) == pytest.approx(usual.log_prob(sentence), abs=1e-6)


@pytest.mark.parametrize("name", ["out.arpa", "out.arpa.gz"])
@pytest.mark.parametrize("unknown", [True, False])
def test_written_and_read_again(name, unknown, tmp_path):
    model = model_of(random_arpa(["a", "b", "c"], 3, unknown=unknown), tmp_path)
    model.write(tmp_path / name)
    again = NgramModel.read(tmp_path / name)
    assert again.words == model.words
    assert again.counts == model.counts
    assert again.own_unknown == unknown
    for mine, theirs in zip(again.ngrams, model.ngrams, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_perplexity(tmp_path):
    model = model_of(ARPA, tmp_path)
    total = model.log_prob("ab ba") + model.log_prob("b")
    assert model.perplexity(["ab ba", ["b"]]) == pytest.approx(math.exp(-total / 5))
    with pytest.raises(ValueError, match="got none"):
        model.perplexity([])


def test_states_drop_words_that_do_not_affect_the_next(tmp_path):
    model = model_of(ARPA, tmp_path)
    _, after = model.score(model.score(model.start, model.word_id("b"))[1], model.unknown)
    assert after == 0  # nothing follows <unk>, which costs nothing to leave


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "just text\n", "expected an ARPA file"),
        (lambda _: "", "expected an ARPA file"),
        (lambda text: text.replace("ngram 2=5", "ngram 3=5"), r"line 5: expected `ngram 2=COUNT`"),
        (
            lambda text: text.replace("-0.6\tab\t-0.4", "-0.6\tab ba bb\t-0.4"),
            r"line 12: expected 1-gram number 4 of 6",
        ),
        (lambda text: text.replace("-0.6\tab\t-0.4", "x\tab\t-0.4"), r"line 12: expected numbers"),
        (lambda text: text.replace("-0.6\tab\t-0.4", "0.6\tab\t-0.4"), r"line 12: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba", "0.5\tab ba"), r"line 18: .*not above 0.*2-gram number 2 of 5"),
        (lambda text: text.replace("-0.5\tab ba", "-0.5.1\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba\t-0.15", "-0.5\tab"), r"line 18: expected as many words"),
        (lambda text: text.replace("-0.5\tab ba", "-0.5\tab bx"), r"line 18: expected only words that are listed"),
        (lambda text: text.replace("ab ba\t-0.15", "ab ba\tmuch"), r"line 18: expected at most one number"),
        (lambda text: text.replace("ngram 2=5", "ngram 2=4"), r"line 21: expected `\\3-grams:`"),
        (
            lambda text: text.replace("ngram 2=5", "ngram 2=6"),
            r"line 22: .* 2-gram number 6 of 6, as the header counts",
        ),
        (
            lambda text: text.replace("ngram 1=6", "ngram 1=7"),
            r"line 15: .* 1-gram number 7 of 7, as the header counts",
        ),
        (lambda text: text.replace("ngram 3=2", f"ngram 3={10**9}"), r"line 26: .* 3-gram number 3 of 1000000000"),
        (lambda text: text.replace("ngram 1=6", f"ngram 1={10**9}"), r"line 15: .* 1-gram number 7 of 1000000000"),
        (
            lambda text: text.replace("ngram 3=2", f"ngram 3={10**12}"),
            r"line 6: expected at most 2,147,483,646 n-grams",
        ),
        (lambda text: text.replace("ngram 3=2", f"ngram 3={'9' * 5000}"), r"line 6: expected `ngram 1=COUNT`"),
        (lambda text: text.replace("-0.6\tab\t-0.4", "nan\tab\t-0.4"), r"line 12: .*not above 0"),
        (lambda text: text.replace("-0.6\tab\t-0.4", "-0.6\tab\tinf"), r"line 12: .*back-off weight"),
        (lambda text: text.replace("-0.6\tab\t-0.4", "-0.6\tab\tnan"), r"line 12: .*back-off weight"),
        (lambda text: text.replace("ab ba\t-0.15", "ab ba\tinf"), r"line 18: expected at most one number"),
        (lambda text: text.replace("ab ba\t-0.15", "ab ba\tnan"), r"line 18: expected at most one number"),
        (lambda text: text.replace("-0.5\tab ba", "nan\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba", "-inX\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba", "-1e\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba", "-1e1e1\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.5\tab ba", "-1e1000\tab ba"), r"line 18: .*not above 0"),
        (lambda text: text.replace("-0.1\tab ba b", "-0.1\tab ba b\t-0.5"), r"line 25: .*highest order"),
        (lambda text: text[: text.index("-0.1\tab ba b")], r"line 25: .*the end of the file"),
        (lambda text: text.replace("\\end\\", ""), r"expected \\end\\ after the 2 3-grams"),
        (lambda text: text.replace("-0.4\tba </s>", "-0.4\tab ba"), r'expected each n-gram once, got "ab ba" twice'),
        (lambda text: text.replace("\tba\t", "\tab\t"), r"expected each word once"),
        (lambda text: text.replace("ab ba b", "b ab ba"), r'expected "b ab" among the 2-grams'),
    ],
)
def test_broken_files(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        model_of(change(ARPA), tmp_path)


def test_files_of_another_kind(tmp_path):
    (tmp_path / "lm.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    with pytest.raises(ValueError, match="KenLM binary"):
        NgramModel.read(tmp_path / "lm.bin")
    (tmp_path / "lm.gz").write_bytes(gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(ValueError, match="truncated while copying or downloading"):
        NgramModel.read(tmp_path / "lm.gz")


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 24])
def test_blocks_of_any_size_give_the_same_model(block, tmp_path, monkeypatch):
    text = random_arpa(["a", "b", "ç"], 3, seed=1)
    whole = model_of(text, tmp_path)
    monkeypatch.setattr(arpa, "_BLOCK_BYTES", block)
    monkeypatch.setattr(arpa, "_ROWS", 2)
    for name in ("lm.arpa", "lm.arpa.gz"):
        for mine, theirs in zip(model_of(text, tmp_path, name).ngrams, whole.ngrams, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(ValueError, match=r"line 26: .* 3-gram number 3 of 3"):
        model_of(ARPA.replace("ngram 3=2", "ngram 3=3"), tmp_path)


def test_numbers_with_many_exponents_and_lines_without_end_are_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"line 18: .*not above 0"):
        model_of(ARPA.replace("-0.5\tab ba", f"-1{'e1' * 5_000_000}\tab ba"), tmp_path)
    monkeypatch.setattr(arpa, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(arpa, "_LONGEST_LINE", 100)
    with pytest.raises(ValueError, match=r"line 18: expected at most 100 bytes in a line, got '-0.5"):
        model_of(ARPA.replace("-0.5\tab ba", f"-0.5\tab {'ba' * 100}"), tmp_path)


def test_a_byte_order_mark_is_ignored(tmp_path):
    plain, marked = tmp_path / "plain.arpa", tmp_path / "marked.arpa"
    text = ARPA[ARPA.index("\\data") :]
    plain.write_text(text, encoding="utf-8")
    marked.write_text(text, encoding="utf-8-sig")
    assert NgramModel.read(marked).words == NgramModel.read(plain).words
