import gzip
import itertools
import lzma
import math
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.reference.kneser_ney import FALLBACK, estimate, log10_prob, read_arpa

from sori.lm import kneser_ney
from sori.lm.kneser_ney import MAX_ORDER, build
from sori.lm.ngram_counts import SPECIAL_WORDS, Ngrams, count, read
from sori.text.vocabulary import BLANK, Vocabulary

RULES = Vocabulary(symbols=(BLANK,))


def corpus(seed, *, num_sentences=400, num_words=300):
    """Sentences over few words, some of which are often adjacent, so that all orders have counts of every size."""
    rng = random.Random(seed)
    words = [f"{chr(97 + n // 18)}{chr(97 + n % 18)}" for n in range(num_words)]
    weights = [1 / (n + 1) for n in range(num_words)]
    sentences = []
    for _ in range(num_sentences):
        sentence = rng.choices(words, weights)
        while rng.random() < 0.85:
            follows = words[(words.index(sentence[-1]) * 3 + 1) % num_words]
            sentence += [follows] if rng.random() < 0.35 else rng.choices(words, weights)
        sentences.append(sentence)
    return sentences


def write(folder, sentences, name="text.txt"):
    path = folder / name
    path.write_text("".join(" ".join(words) + "\n" for words in sentences), encoding="utf-8")
    return path


def built(folder, sentences, **settings):
    """The report, and the model read back from the file by the plain reader."""
    into = folder / "model.arpa"
    report = build([write(folder, sentences)], into=into, **settings)
    stated, model = read_arpa(into.read_text(encoding="utf-8"))
    assert tuple(stated.values()) == report.ngrams
    assert [sum(len(gram) == n for gram in model) for n in stated] == list(report.ngrams)
    return report, model


def assert_same(model, expected, tolerance=2e-7):
    assert model.keys() == expected.keys()
    for gram, (prob, weight) in expected.items():
        assert model[gram][0] == pytest.approx(prob, abs=tolerance), gram
        assert (model[gram][1] is None) == (weight is None), gram
        assert model[gram][1] == pytest.approx(weight, abs=tolerance), gram


def assert_proper(model, order):
    """Contexts sum to one: up to 500 of the model, and some it has never seen."""
    words = [gram[0] for gram in model if len(gram) == 1 and gram != ("<s>",)]
    contexts = [gram for gram in model if len(gram) < order and gram[-1] != "</s>"]
    contexts = random.Random(0).sample(contexts, min(500, len(contexts)))
    contexts += [(), ("<s>",)[: order - 1], ("never",), ("never", words[-1])]
    for context in contexts:
        total = math.fsum(10 ** log10_prob(model, context, word) for word in words)
        assert total == pytest.approx(1, abs=1e-6), context


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_the_definitions_and_sums_to_one(tmp_path, order, seed):
    sentences = corpus(seed)
    report, model = built(tmp_path, sentences, order=order)
    assert FALLBACK not in report.discounts  # the closed form is what is compared here
    assert_same(model, estimate(sentences, order))
    assert_proper(model, order)


@pytest.mark.parametrize("prune", [[0, 0, 1, 1], [0, 1, 1, 3], [1, 2, 2, 2], [0, 1], [4, 4, 4, 4]])
def test_pruned_equals_the_definitions_and_sums_to_one(tmp_path, prune):
    sentences = corpus(7)
    thresholds = prune + [prune[-1]] * (4 - len(prune))
    report, model = built(tmp_path, sentences, order=4, prune=prune)
    assert all((dropped > 0) == (limit > 0) for dropped, limit in zip(report.pruned, thresholds, strict=True))
    assert_same(model, estimate(sentences, 4, thresholds))
    assert_proper(model, 4)
    for gram in model:
        assert len(gram) == 1 or (gram[:-1] in model and gram[1:] in model)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=12),
    st.integers(1, 5),
    st.lists(st.integers(0, 3), max_size=3),
)
def test_any_small_text(tmp_path_factory, sentences, order, prune):
    prune = sorted(prune)[:order]
    folder = tmp_path_factory.mktemp("small")
    report, model = built(folder, sentences, order=order, prune=prune)
    expected = estimate(sentences, order, prune + [prune[-1] if prune else 0] * (order - len(prune)))
    highest = max(map(len, expected))
    assert len(report.ngrams) == highest
    assert (highest < order) == any("the model has order" in message for message in report.messages)
    if highest < order:  # the highest order that is left has no weights in the file
        expected = {gram: (p, None if len(gram) == highest else w) for gram, (p, w) in expected.items()}
    assert_same(model, expected)
    assert_proper(model, highest)


def test_worked_by_hand(tmp_path):
    # adjusted: a 1 (after <s>), b 1 (after a), </s> 2 (after a and b), all 4; none 3, hence the discounts 0.5, 1, 1.5
    # gamma = (0.5 + 0.5 + 1) / 4 = 1/2, four words with <unk>: each has 1/8 of it
    _, model = built(tmp_path, [["a", "b"], ["a"]], order=2)
    expected = {
        ("<unk>",): (1 / 8, 1),
        ("<s>",): (1e-99, 1 / 2),
        ("</s>",): (1 / 4 + 1 / 8, None),
        ("a",): (1 / 8 + 1 / 8, 1 / 2),
        ("b",): (1 / 8 + 1 / 8, 1 / 2),
        ("<s>", "a"): ((2 - 1) / 2 + 1 / 2 * 1 / 4, None),
        ("a", "b"): ((1 - 0.5) / 2 + 1 / 2 * 1 / 4, None),
        ("a", "</s>"): ((1 - 0.5) / 2 + 1 / 2 * 3 / 8, None),
        ("b", "</s>"): ((1 - 0.5) / 1 + 1 / 2 * 3 / 8, None),
    }
    assert_same(model, {gram: (math.log10(p), w and math.log10(w)) for gram, (p, w) in expected.items()})


@pytest.mark.parametrize(
    ("prune", "wanted"),
    [
        ([], [(272, -713.0873, -44.2393), (1582, -2479.3122, -84.728), (2238, -2128.6303, 0)]),
        ([0, 0, 1], [(272, -713.0873, -44.2393), (1582, -2479.3122, -18.1863), (193, -134.64, 0)]),
    ],
)
def test_equals_lmplz(tmp_path, prune, wanted):
    # recorded from lmplz -o 3 of kpu/kenlm on the same text: n-grams, sum of log10 p without <s>, sum of weights
    _, model = built(tmp_path, corpus(1), order=3, prune=prune)
    for order, (number, prob, weight) in enumerate(wanted, 1):
        grams = [gram for gram in model if len(gram) == order]
        assert len(grams) == number
        assert sum(model[gram][0] for gram in grams if gram != ("<s>",)) == pytest.approx(prob, abs=1e-3)
        assert sum(model[gram][1] or 0 for gram in grams) == pytest.approx(weight, abs=1e-3)


def test_discounts_by_hand(tmp_path):
    # four words once, two twice, one three times, one four times, and five sentences: Y = 4 / (4 + 2 * 2) = 1/2
    sentences = [["p", "q", "r", "s"], ["t", "t", "u", "u"], ["v", "v", "v"], ["w", "w"], ["w", "w"]]
    report, model = built(tmp_path, sentences, order=1)
    assert report.discounts == ((1 - 2 / 2 * 2 / 4, 2 - 3 / 2 * 1 / 2, 3 - 4 / 2 * 1 / 1),)
    assert not report.messages
    # gamma = (4 * 0.5 + 2 * 1.25 + 3 * 1) / 20 = 0.375 over ten words
    expected = {"<unk>": 0.0375, "p": 0.0625, "t": 0.075, "v": 0.1375, "w": 0.1875, "</s>": 0.2375}
    assert {word: 10 ** model[word,][0] for word in expected} == pytest.approx(expected, abs=1e-7)


def test_file_format(tmp_path):
    build([write(tmp_path, [["a", "b"], ["a"]])], order=2, into=tmp_path / "model.arpa")
    assert (tmp_path / "model.arpa").read_text(encoding="utf-8") == (
        "\\data\\\nngram 1=5\nngram 2=4\n\n\\1-grams:\n-0.9030900\t<unk>\t0\n-99.0000000\t<s>\t-0.3010300\n"
        "-0.4259687\t</s>\n-0.6020600\ta\t-0.3010300\n-0.6020600\tb\t-0.3010300\n\n\\2-grams:\n-0.2041200\t<s> a\n"
        "-0.3590219\ta </s>\n-0.4259687\ta b\n-0.1627273\tb </s>\n\n\\end\\\n"
    )


def test_numbers_are_written_as_python_would():
    values = np.array([-12.3456789, -99.0, -4e-8, -9.99999999, -0.5, -1e-7, -98.76543212, -10.0, -9.9999999, 0.0])
    words = tuple("äbcdefghij")
    nothing = np.zeros(10, dtype=np.int32)
    level = Ngrams(nothing, np.arange(10, dtype=np.int32), nothing, np.zeros(10, np.int64), np.zeros(10, np.int64))
    given = kneser_ney._Estimate(values, values[::-1].copy(), np.ones(10, dtype=np.bool_))
    written = kneser_ney._Lines(words, [level], given, backoffs=True).of(np.arange(10)).decode()

    def plain(value):
        return "0" if f"{abs(value):.7f}" == "0.0000000" else f"{value:.7f}"

    for number, line in enumerate(written.split("\n")[:-1]):
        cells = [plain(values[number]), words[number], plain(values[9 - number])]
        assert line.split("\t") == (cells[:2] if words[number] == words[2] else cells)  # word 2 is </s>


def test_lines_do_not_depend_on_chunks(tmp_path, monkeypatch):
    text = write(tmp_path, corpus(1))
    build([text], order=3, into=tmp_path / "whole.arpa")
    monkeypatch.setattr(kneser_ney, "_CHUNK", 7)
    build([text], order=3, into=tmp_path / "pieces.arpa")
    assert (tmp_path / "whole.arpa").read_bytes() == (tmp_path / "pieces.arpa").read_bytes()


def test_order_of_files_compression_and_cache_size_do_not_matter(tmp_path, monkeypatch):
    sentences = corpus(2)
    parts = [write(tmp_path, sentences[start::3], f"part{start}.txt") for start in range(3)]
    build(parts, order=3, into=tmp_path / "forwards.arpa")
    wanted = (tmp_path / "forwards.arpa").read_bytes()
    packed = [tmp_path / "part1.txt.gz", tmp_path / "part2.txt.xz"]
    packed[0].write_bytes(gzip.compress(parts[1].read_bytes()))
    packed[1].write_bytes(lzma.compress(parts[2].read_bytes()))
    monkeypatch.setattr("sori.lm.ngram_counts._MAX_CACHED", 3)
    for texts in ([parts[2], parts[0], parts[1]], [packed[1], packed[0], parts[0]]):
        build(texts, order=3, into=tmp_path / "again.arpa.gz")
        assert gzip.decompress((tmp_path / "again.arpa.gz").read_bytes()) == wanted
    build(parts, order=3, into=tmp_path / "other.arpa.gz")
    assert (tmp_path / "again.arpa.gz").read_bytes() == (tmp_path / "other.arpa.gz").read_bytes()
    assert (tmp_path / "other.arpa.gz").read_bytes()[4:8] == bytes(4)  # no time of writing
    assert not list(tmp_path.glob("*.partial"))


NASTY = st.text(
    st.sampled_from("aBσΣéΙ1'’-‐.,|<>\\ \t\r\u00a0\u200b\u200c\u200d\u0301\u0308\u0d4e\u0600\u2028\x1c\x85각ᄀ각ß`")  # noqa: RUF001
    | st.characters(exclude_categories=["Cs"], exclude_characters="\n"),
    max_size=25,
)


@settings(max_examples=400, deadline=None)
@example(["\u0d4e 'a"], "lower", "drop")  # joins whatever follows: the apostrophe is inside a word
@example(["a \u0e33"], "lower", "drop")  # Thai sara am joins the space before
@given(
    st.lists(NASTY, min_size=1, max_size=4),
    st.sampled_from(["upper", "lower", "keep"]),
    st.sampled_from(["drop", "keep"]),
)
def test_lines_are_normalised_as_the_recogniser_does(tmp_path_factory, lines, case, punctuation):
    rules = Vocabulary(symbols=(BLANK,), case=case, punctuation=punctuation)
    path = tmp_path_factory.mktemp("nasty") / "text.txt"
    path.write_bytes("\n".join(["first", *lines]).encode())

    def said(unit):
        tokens = read([path], rules=rules, unit=unit)
        text = [tokens.words[number] for number in tokens.numbers]
        assert tokens.counts.tolist() == [text.count(word) for word in tokens.words]
        assert list(tokens.words[3:]) == sorted(tokens.words[3:])
        return text

    def framed(sentences):
        named = [["<unk>" if word.lower() in SPECIAL_WORDS else word for word in words] for words in sentences]
        return [token for words in named if words for token in ("<s>", *words, "</s>")]

    assert said("word") == framed(rules.normalise(line).split() for line in ["first", *lines])
    assert said("character") == framed(rules.split(line) for line in ["first", *lines])


def test_ngrams_have_prefix_and_suffix(tmp_path):
    tokens = read([write(tmp_path, corpus(3, num_sentences=30))], rules=RULES, unit="word")
    levels = count(tokens, order=3)
    texts = [[(tokens.words[word],) for word in levels[0].word]]
    for below, level in itertools.pairwise(levels):
        del below
        last = texts[-1]
        texts.append([(*last[p], tokens.words[w]) for p, w in zip(level.prefix, level.word, strict=True)])
        assert [last[row] for row in level.suffix] == [gram[1:] for gram in texts[-1]]
        assert np.all(np.diff(level.prefix) >= 0)


def test_words_with_unsupported_symbols_become_unk(tmp_path):
    vocabulary = Vocabulary.fit(["the cat sat on a mat here"])
    text = [*["The cat sat on 7 mats, café!"] * 3, "the cat жук sat on mats"]
    report, model = built(tmp_path, [line.split() for line in text], order=3, vocabulary=vocabulary)
    known = [["the", "cat", "sat", "on", "<unk>", "mats", "<unk>"]] * 3
    assert_same(model, estimate([*known, ["the", "cat", "<unk>", "sat", "on", "mats"]], 3))
    assert ("on", "<unk>", "mats") in model
    assert_proper(model, 3)
    assert (report.words, report.distinct_words, report.replaced) == (27, 5, 7)
    assert [(one.text, one.count) for one in report.unsupported_words] == [("7", 3), ("café", 3), ("жук", 1)]
    repairs = {one.text[0]: (one.count, one.repair) for one in report.unsupported_symbols}
    assert repairs["7"] == (3, "digit: write numbers as they are spoken")
    assert repairs["f"][1].startswith("Latin letter")
    assert repairs["к"][1].startswith("Cyrillic letter")
    assert repairs["é"] == (3, "write e instead, if it is spelled like this in the transcripts")
    assert "25.9% of the text is <unk>" in " ".join(report.messages)
    table = report.table()
    assert "7 words (25.93%) were counted as <unk>" in table
    assert "café" in table


def test_symbols_of_a_recogniser(tmp_path):
    vocabulary = Vocabulary.fit(["값 ab", "a'b"])
    lines = ["값이 ab", "ab ab", "b 값 a'b"]
    report, model = built(tmp_path, [line.split() for line in lines], order=3, vocabulary=vocabulary, unit="character")
    sentences = [[s if s in vocabulary.symbols else "<unk>" for s in vocabulary.split(line)] for line in lines]
    assert "|" in sentences[1]
    assert_same(model, estimate(sentences, 3))
    assert (report.replaced, report.unsupported_words) == (2, ())  # the two letters of one syllable
    assert [one.count for one in report.unsupported_symbols] == [1, 1]
    assert "symbols" in report.table()


def test_few_characters_do_not_need_more_text(tmp_path):
    report, _ = built(tmp_path, [["ab"]], order=1, unit="character")
    assert [m for m in report.messages if m.startswith("order 1") and "of which there are few, and harmless" in m]


def test_special_words_in_a_text_become_unk(tmp_path):
    vocabulary = Vocabulary.fit(["ab <s> UNK/"], punctuation="keep", case="keep")
    report, model = built(tmp_path, [["a", "<s>", "b", "<UNK>"]], order=2, vocabulary=vocabulary)
    assert_same(model, estimate([["a", "<unk>", "b", "<unk>"]], 2))
    assert (report.unsupported_words[0].text, report.unsupported_words[0].count) == (" ".join(SPECIAL_WORDS), 2)


def test_orders_may_be_pruned_away(tmp_path):
    report, model = built(tmp_path, [["a", "b"], ["a", "b"], ["a", "c"]], order=4, prune=[0, 1, 9])
    assert len(report.ngrams) == 2
    assert report.messages[-1] == "order 3 was removed by pruning: the model has order 2"
    assert model["<s>", "a"][1] is None


def test_small_texts_are_reported(tmp_path):
    report, _ = built(tmp_path, [["a"]], order=4)
    assert len(report.ngrams) == 3
    assert "order 4 has no n-grams, as all sentences are shorter: the model has order 3" in report.messages[-1]
    assert [m for m in report.messages if m.startswith("order 2: discounts (0.5, 1.0, 1.5)") and "more text" in m]
    assert "note: order 1" in report.table()


def test_discounts_out_of_range_are_not_used(tmp_path):
    # 3 words once, one twice, one thrice, seven four times: D3+ = 3 - 4 * 3/5 * 7 is far below 0
    words = ["a", "b", "c", *["d"] * 2, *["e"] * 3, *(list("fghijkl") * 4)]
    report, model = built(tmp_path, [words[:9], words[9:18], words[18:27], words[27:34], words[34:]], order=1)
    assert report.discounts == (FALLBACK,)
    assert "the estimate for the count 3 is -13.80, not above 0" in report.messages[0]
    assert_proper(model, 1)


@pytest.mark.slow
def test_very_long_lines_are_reported(tmp_path):
    report, _ = built(tmp_path, [["a", "b"] * 600], order=2)
    assert "1,200 words on average" in " ".join(report.messages)


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("né\n".encode() * 3 + b"caf\xe9 au\n", "a.txt", r"byte 0xe9 at position 15 \(counted from 0\).*WINDOWS-1252"),
        ("né\n".encode("utf-16"), "a.txt", "byte 0xff at position 0.*UTF-16"),
        (gzip.compress(b"a\xe9\n", mtime=0), "a.txt.gz", "position 1 .*decompressed"),
        (
            gzip.compress(b"a b\n" * 999, mtime=0)[:-12],
            "a.txt.gz",
            "damaged data after [0-9]+ decompressed bytes.*copy it",
        ),
        (b"plain text\n", "a.txt.gz", "damaged data after 0 .*correct the suffix"),
        (lzma.compress(b"a b\n" * 999)[:-12], "a.txt.xz", "damaged data after"),
        (b"", "a.txt", "expected text files with words"),
        (b"... !\n\n \n", "a.txt", "only punctuation"),
    ],
    ids=["latin", "utf16", "latin gz", "cut gz", "no gz", "cut xz", "empty", "wordless"],
)
def test_bad_texts(tmp_path, data, name, message):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "model.arpa").write_text("the old one")
    with pytest.raises(ValueError, match=message):
        build([tmp_path / name], into=tmp_path / "model.arpa")
    assert (tmp_path / "model.arpa").read_text() == "the old one"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": 0}, "from 1 to 6, got 0"),
        ({"order": MAX_ORDER + 1}, "got 7"),
        ({"prune": [0, 2, 1]}, r"not decreasing, got \[0, 2, 1\]"),
        ({"prune": [-1]}, "from 0"),
        ({"prune": [0, 0, 0, 0, 1]}, "at most 4 counts.*0 0 1 1"),
        ({"into": "model.bin"}, "ends in .arpa or .arpa.gz"),
        ({"vocabulary": Vocabulary.fit(["каша"])}, "LATIN SMALL LETTER.*different languages"),
    ],
)
def test_bad_requests(tmp_path, wrong, message):
    text = write(tmp_path, [["good", "words"]])
    into = tmp_path / wrong.pop("into", "model.arpa") if "into" in wrong else tmp_path / "model.arpa"
    with pytest.raises(ValueError, match=message):
        build([text], **{"into": into, **wrong})
    assert list(tmp_path.iterdir()) == [text]


def test_same_file_twice(tmp_path):
    text = write(tmp_path, [["a"]])
    with pytest.raises(ValueError, match="more than once"):
        build([text, tmp_path / "." / "text.txt"], into=tmp_path / "model.arpa")


def test_an_interrupted_write_leaves_the_old_model(tmp_path, monkeypatch):
    text = write(tmp_path, corpus(0))
    build([text], into=tmp_path / "model.arpa", order=2)
    before = (tmp_path / "model.arpa").read_bytes()

    def fails(words, levels, estimates):
        yield b"\\data\\\n"
        raise OSError("disk full")

    monkeypatch.setattr(kneser_ney, "_arpa", fails)
    with pytest.raises(OSError, match="disk full"):
        build([text], into=tmp_path / "model.arpa", order=3)
    assert (tmp_path / "model.arpa").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_higher_orders_predict_real_text_better(tmp_path, data_dir):
    with lzma.open(data_dir / "text-english" / "brown.txt.xz", "rt", encoding="utf-8") as file:
        lines = [line for line in itertools.islice(file, 9_000) if not line.startswith("#DOC")]
    held_out = [RULES.normalise(line).split() for line in lines[::50]]
    text = tmp_path / "brown.txt"
    text.write_text("".join(line for number, line in enumerate(lines) if number % 50), encoding="utf-8")
    perplexities = []
    for order in (1, 2, 3):
        into = tmp_path / f"{order}.arpa"
        report = build([text], order=order, into=into)
        assert not report.messages
        _, model = read_arpa(into.read_text(encoding="utf-8"))
        total = count = 0
        for words in held_out:
            tokens = ["<s>", *words, "</s>"]
            for place in range(1, len(tokens)):
                if (tokens[place],) in model:
                    total += log10_prob(model, tokens[max(0, place - order + 1) : place], tokens[place])
                    count += 1
        perplexities.append(10 ** (-total / count))
    unigram, bigram, trigram = perplexities
    assert bigram < 0.5 * unigram
    assert trigram < 0.98 * bigram
