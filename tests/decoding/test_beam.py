import itertools
import math
import random

import pytest
import torch
from tests.lm.test_ngram import model_of, random_arpa, read_slowly, sentence_slowly
from tests.reference import kneser_ney
from tests.reference.ctc import collapse, forward_loss

from sori.core.shapes import Frames
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.greedy import greedy, words
from sori.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(symbols=("<blank>", "|", "a", "b", "<unk>"))
BAR, NUM_FRAMES = 1, 6
EXACT = {"beam_size": 3000, "beam_threshold": math.inf, "symbol_threshold": math.inf, "num_best": 10_000}
LEXICON = ["a", "ab", "ba", "bab"]


def random_logits(num=1, frames=NUM_FRAMES, *, classes=5, scale=2.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Frames(scale * torch.randn(num, frames, classes, generator=generator), torch.full((num,), frames))


def every_text(logits, *, total=True):
    """Return each text that some alignment collapses to, with the log of the summed (or greatest) probability."""
    log_probs = logits.double().log_softmax(-1).tolist()
    found = {}
    for path in itertools.product(range(4), repeat=len(log_probs)):  # <unk> is never output
        text = VOCABULARY.decode(collapse(path))
        found.setdefault(text, []).append(sum(frame[label] for frame, label in zip(log_probs, path, strict=True)))
    if not total:
        return {text: max(parts) for text, parts in found.items()}
    return {text: math.log(math.fsum(map(math.exp, parts))) for text, parts in found.items()}


def spelling_slowly(word, lexicon):
    """Log-probability of the letters of a word and its end, by an n-gram of the letters of the lexicon's words."""
    model = kneser_ney.estimate([list(one) for one in lexicon], max(2, min(5, max(map(len, lexicon)) + 2)))
    letters = [letter if (letter,) in model else "<unk>" for letter in word]
    history, total = ["<s>"], 0.0
    for letter in [*letters, "</s>"]:
        total += kneser_ney.log10_prob(model, history, letter)
        history.append(letter)
    return total * math.log(10)


def slow_search(logits, config, *, table=None, unit="word", lexicon=None, hot=()):
    """Return the score of each text by brute force: acoustic, language model, bonuses."""
    scores = {}
    for text, acoustic in every_text(logits, total=config.log_add).items():
        score = acoustic + sum(config.hot_word_score for word in text.split() if word in hot)
        unknown = [word for word in text.split() if lexicon is not None and word not in {*lexicon, *hot}]
        if unknown and config.unknown_score is None:
            continue
        score += sum(config.unknown_score + config.unknown_symbol_score * len(word) for word in unknown)
        if config.spelling_weight:
            score += config.spelling_weight * sum(spelling_slowly(word, lexicon) for word in unknown)
        if table is not None:
            units = text.split() if unit == "word" else list(text.replace(" ", "|"))
            score += config.lm_weight * math.log(10) * sentence_slowly(table, units)
        scores[text] = score + config.word_score * len(text.split())
    return scores


def assert_same(hypotheses, expected):
    found = {h.text: h.score for h in hypotheses}
    assert len(found) == len(hypotheses), "a text appears twice"
    assert found == pytest.approx(expected, abs=1e-4)
    assert [h.score for h in hypotheses] == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("log_add", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_without_lexicon_and_model(seed, log_add):
    config = BeamConfig(**EXACT, word_score=0.7, log_add=log_add)
    logits = random_logits(seed=seed)
    (found,) = BeamDecoder(VOCABULARY, config).decode(logits)
    assert_same(found, slow_search(logits.data[0], config))
    if log_add:
        for hypothesis in found[:20]:
            assert (
                hypothesis.acoustic
                >= -forward_loss(logits.data[0].log_softmax(-1).tolist(), hypothesis.path.ids) - 1e-4
            )


@pytest.mark.parametrize("log_add", [True, False])
@pytest.mark.parametrize("unknown", [None, -1.5])
@pytest.mark.parametrize("seed", range(3))
def test_lexicon(seed, unknown, log_add):
    config = BeamConfig(**EXACT, word_score=-0.3, unknown_score=unknown, unknown_symbol_score=-0.4, log_add=log_add)
    logits = random_logits(seed=seed)
    (found,) = BeamDecoder(VOCABULARY, config, lexicon=LEXICON).decode(logits)
    assert_same(found, slow_search(logits.data[0], config, lexicon=LEXICON))
    assert all(h.complete for h in found)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("unknown", [None, -0.5])
@pytest.mark.parametrize("known", [True, False])
def test_lexicon_and_word_model(order, unknown, known, tmp_path):
    text = random_arpa(["ab", "ba", "a"], order, seed=order, unknown=known)
    config = BeamConfig(**EXACT, lm_weight=0.9, word_score=0.5, unknown_score=unknown)
    logits = random_logits(seed=order)
    decoder = BeamDecoder(VOCABULARY, config, lm=model_of(text, tmp_path), lexicon=LEXICON)
    (found,) = decoder.decode(logits)
    assert_same(found, slow_search(logits.data[0], config, table=read_slowly(text), lexicon=LEXICON))
    for h in found:
        assert h.lm == pytest.approx(sentence_slowly(read_slowly(text), h.text.split()) * math.log(10), abs=1e-4)


@pytest.mark.parametrize("log_add", [True, False])
@pytest.mark.parametrize("lexicon", [LEXICON, ["a", "aa", "aba"], ["bb"]])
@pytest.mark.parametrize("symbol_score", [0.0, -0.4])
def test_unknown_words_are_scored_by_their_spelling(lexicon, symbol_score, log_add):
    config = BeamConfig(
        **EXACT, unknown_score=-0.7, unknown_symbol_score=symbol_score, spelling_weight=0.6, log_add=log_add
    )
    logits = random_logits(seed=len(lexicon))
    (found,) = BeamDecoder(VOCABULARY, config, lexicon=lexicon, spelling=True).decode(logits)
    assert_same(found, slow_search(logits.data[0], config, lexicon=lexicon))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unknown_words_cost_the_unknown_word_of_the_model_and_their_spelling(order, tmp_path):
    known, hot = ["ab", "ba", "a"], ["bb"]
    text = random_arpa(known, order, seed=order)
    config = BeamConfig(**EXACT, lm_weight=0.9, word_score=0.5, unknown_score=-1.0, spelling_weight=0.8)
    logits = random_logits(seed=30 + order)
    lm = model_of(text, tmp_path)
    decoder = BeamDecoder(VOCABULARY, config, lm=lm, lexicon=lm.words, hot_words=hot, spelling=True)
    (found,) = decoder.decode(logits)
    expected = slow_search(logits.data[0], config, table=read_slowly(text), lexicon=known, hot=hot)
    assert_same(found, expected)
    for h in found:
        assert h.lm == pytest.approx(sentence_slowly(read_slowly(text), h.text.split()) * math.log(10), abs=1e-4)


def test_the_spelling_only_matters_for_words_that_are_not_in_the_lexicon():
    logits, spelt = random_logits(3, 30), {"spelling_weight": 0.7, "num_best": 20}
    closed = BeamDecoder(VOCABULARY, BeamConfig(**spelt), lexicon=LEXICON, spelling=True)
    assert closed.decode(logits) == BeamDecoder(VOCABULARY, BeamConfig(num_best=20), lexicon=LEXICON).decode(logits)
    every = ["".join(word) for length in range(1, 7) for word in itertools.product("ab", repeat=length)]
    exact = {**EXACT, "num_best": 20}
    logits = random_logits(seed=5)
    found, expected = (
        BeamDecoder(VOCABULARY, BeamConfig(**exact, **more), lexicon=every, spelling=True).decode(logits)[0]
        for more in ({"unknown_score": -0.5, "spelling_weight": 0.7}, {})
    )
    assert [h.text for h in found] == [h.text for h in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected])


@pytest.mark.parametrize("scores", [{"unknown_score": -2.0}, {"unknown_symbol_score": -1.0}, {"spelling_weight": 2.0}])
def test_dearer_unknown_words_are_never_likelier(scores):
    logits = random_logits(4, 30)
    cheap = BeamDecoder(VOCABULARY, BeamConfig(unknown_score=0.0), lexicon=["ab", "ba"], spelling=True)
    dear = cheap.with_config(BeamConfig(**{"unknown_score": 0.0, **scores}))
    for (one,), (other,) in zip(cheap.decode(logits), dear.decode(logits), strict=True):
        assert other.score <= one.score + 1e-6
        if "unknown_score" in scores:
            assert num_unknown(other.text) <= num_unknown(one.text)


def num_unknown(text, known=("ab", "ba")):
    return sum(word not in known for word in text.split())


def test_the_default_thresholds_find_the_result_of_the_exact_search_with_unknown_words(tmp_path):
    known = ["ab", "ba", "a", "b"]
    lm = model_of(random_arpa(known, 3, seed=1), tmp_path)
    draw = random.Random(1)
    labels = [VOCABULARY.encode(" ".join(draw.choices([*known, "abba", "aab"], k=6))) for _ in range(10)]
    logits = peaky([[label for symbol in ids for label in (symbol, 0)] for ids in labels], score=9.0)
    logits = Frames(logits.data + random_logits(len(labels), logits.data.shape[1], scale=1.5).data, logits.lengths)
    settings = {"unknown_score": -2.0, "spelling_weight": 0.5}
    exact = BeamDecoder(
        VOCABULARY, BeamConfig(**{**EXACT, "num_best": 1}, **settings), lm=lm, lexicon=known, spelling=True
    )
    usual = exact.with_config(BeamConfig(**settings))
    unknown = 0
    for (best,), (found,) in zip(exact.decode(logits), usual.decode(logits), strict=True):
        assert found.text == best.text
        assert found.score == pytest.approx(best.score, abs=1e-2)
        unknown += len(set(found.text.split()) - set(known))
    assert unknown


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("unknown", [None, -2.0])
def test_word_model_without_lexicon(order, unknown, tmp_path):
    text = random_arpa(["ab", "ba", "a"], order, seed=order)
    config = BeamConfig(**EXACT, lm_weight=0.9, word_score=0.5, unknown_score=unknown)
    logits = random_logits(seed=10 + order)
    (found,) = BeamDecoder(VOCABULARY, config, lm=model_of(text, tmp_path)).decode(logits)
    as_lexicon = config.override({"unknown_score": unknown or 0.0})
    expected = slow_search(logits.data[0], as_lexicon, table=read_slowly(text), lexicon=["ab", "ba", "a"])
    assert_same(found, expected)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("lexicon", [None, LEXICON])
def test_symbol_model(order, lexicon, tmp_path):
    text = random_arpa(["a", "b", "|"], order, seed=order)
    config = BeamConfig(**EXACT, lm_weight=0.6, word_score=0.5)
    logits = random_logits(seed=20 + order)
    decoder = BeamDecoder(VOCABULARY, config, lm=model_of(text, tmp_path), lm_unit="symbol", lexicon=lexicon)
    (found,) = decoder.decode(logits)
    assert_same(found, slow_search(logits.data[0], config, table=read_slowly(text), unit="symbol", lexicon=lexicon))


@pytest.mark.parametrize("lexicon", [None, LEXICON])
@pytest.mark.parametrize("with_model", [True, False])
def test_hot_words(lexicon, with_model, tmp_path):
    text, hot = random_arpa(["ab", "ba"], 2), ["bb", "ab"]
    config = BeamConfig(**EXACT, hot_word_score=1.7)
    logits = random_logits(seed=3)
    lm = model_of(text, tmp_path) if with_model else None
    (found,) = BeamDecoder(VOCABULARY, config, lm=lm, lexicon=lexicon, hot_words=hot).decode(logits)
    table = read_slowly(text) if with_model else None
    assert_same(found, slow_search(logits.data[0], config, table=table, lexicon=lexicon, hot=hot))


def test_symbols_without_word_boundary(tmp_path):
    text = random_arpa(["x", "y"], 2)
    vocabulary = Vocabulary(symbols=("<blank>", "x", "y"))
    logits = random_logits(frames=4, classes=3)
    decoder = BeamDecoder(vocabulary, BeamConfig(**EXACT), lm=model_of(text, tmp_path), lm_unit="symbol")
    log_probs, expected = logits.data[0].double().log_softmax(-1).tolist(), {}
    for length in range(5):
        for ids in itertools.product([1, 2], repeat=length):
            lm = sentence_slowly(read_slowly(text), [vocabulary.symbols[i] for i in ids]) * math.log(10)
            if (loss := forward_loss(log_probs, ids)) < math.inf:
                expected[vocabulary.decode(ids)] = -loss + 0.8 * lm
    assert_same(decoder.decode(logits)[0], expected)


def peaky(rows, *, score=12.0):
    data = torch.zeros(len(rows), max(map(len, rows)), 5)
    for number, row in enumerate(rows):
        for frame, label in enumerate(row):
            data[number, frame, label] = score
    return Frames(data, torch.tensor([len(row) for row in rows]))


@pytest.mark.parametrize("beam_size", [1, 20])
def test_confident_scores_are_decoded_as_by_greedy(beam_size):
    logits = peaky([[0, 2, 2, 0, 3, 1, 0, 3, 0, 3, 0], [2, 1, 3, 3, 3], [0, 0], [1, 1, 0, 1, 2, 0, 1]])
    for (best,), path in zip(
        BeamDecoder(VOCABULARY, BeamConfig(beam_size=beam_size)).decode(logits), greedy(logits), strict=True
    ):
        assert best.text == VOCABULARY.decode(path.ids)
        found, expected = (words(p, VOCABULARY, hop_samples=320.0) for p in (best.path, path))
        assert found == expected  # the same times, too


def test_a_model_with_weight_zero_has_no_effect(tmp_path):
    lm = model_of(random_arpa(["ab", "ba"], 3), tmp_path)
    logits = random_logits(3, 30)
    config = BeamConfig(lm_weight=0.0, num_best=5)
    without = BeamDecoder(VOCABULARY, config, lexicon=LEXICON).decode(logits)
    for found, expected in zip(
        BeamDecoder(VOCABULARY, config, lm=lm, lexicon=LEXICON).decode(logits), without, strict=True
    ):
        assert [h.text for h in found] == [h.text for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected])


def test_padding_batch_and_threads_do_not_change_the_result(tmp_path):
    lm = model_of(random_arpa(["ab", "ba"], 3), tmp_path)
    decoder = BeamDecoder(VOCABULARY, BeamConfig(num_best=3), lm=lm, lexicon=LEXICON)
    logits = random_logits(5, 40)
    lengths = torch.tensor([40, 7, 0, 23, 1])
    whole = decoder.decode(Frames(logits.data, lengths), num_threads=3)
    reversed_batch = decoder.decode(Frames(logits.data.flip(0), lengths.flip(0)), num_threads=1)[::-1]
    alone = [
        decoder.decode(Frames(logits.data[i : i + 1, :length], lengths[i : i + 1]))[0]
        for i, length in enumerate(lengths.tolist())
    ]
    assert whole == reversed_batch == alone


def test_the_default_thresholds_find_the_result_of_the_exact_search(tmp_path):
    lm = model_of(random_arpa(["ab", "ba", "a", "b"], 3), tmp_path)
    draw = random.Random(0)
    labels = [VOCABULARY.encode(" ".join(draw.choices(LEXICON, k=8))) for _ in range(10)]
    logits = peaky([[label for symbol in ids for label in (symbol, 0)] for ids in labels], score=9.0)
    noise = random_logits(len(labels), logits.data.shape[1], scale=1.5).data
    logits = Frames(logits.data + noise, logits.lengths)
    exact = BeamDecoder(VOCABULARY, BeamConfig(**{**EXACT, "num_best": 1}), lm=lm, lexicon=LEXICON)
    usual = exact.with_config(BeamConfig())
    for (best,), (found,) in zip(exact.decode(logits), usual.decode(logits), strict=True):
        assert found.text == best.text
        assert found.score == pytest.approx(best.score, abs=1e-3)


def test_spans_are_an_alignment():
    logits = random_logits(8, 25, scale=3.0)
    for (best,), length in zip(BeamDecoder(VOCABULARY).decode(logits), logits.lengths.tolist(), strict=True):
        assert len(best.path.spans) == len(best.path.ids)
        ends = [0, *itertools.chain(*best.path.spans), length]
        assert ends == sorted(ends)
        assert all(start < end for start, end in best.path.spans)
        found = words(best.path, VOCABULARY, hop_samples=320.0)
        assert " ".join(word.text for word in found) == best.text
        for (first, (_, end)), (second, (start, _)) in itertools.pairwise(
            zip(best.path.ids, best.path.spans, strict=True)
        ):
            assert first != second or start > end  # a blank keeps equal neighbours apart


def test_an_incomplete_word_is_reported():
    (best,) = BeamDecoder(VOCABULARY, lexicon=["abab"]).decode(peaky([[2, 0, 3]], score=40.0))[0]
    assert (best.text, best.complete) == ("ab", False)


def test_other_spellings_of_the_model(tmp_path):
    lm = model_of(random_arpa(["AB", "BA"], 2), tmp_path)
    decoder = BeamDecoder(VOCABULARY, BeamConfig(**EXACT), lm=lm, lexicon=["Ab", "ba", "cb", "a b", "?"])
    assert decoder.unspelled == ["cb", "a b", "?"]
    for h in decoder.decode(random_logits())[0]:
        assert h.lm == pytest.approx(lm.log_prob(h.text.upper()), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lexicon": ["xyz"]}, "can spell, got none among 1, for example 'xyz'"),
        ({"hot_words": ["a b"]}, "single words .* got 'a b'"),
        ({"hot_words": ["q"]}, "single words .* got 'q'"),
    ],
)
def test_words_that_cannot_be_spelled_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BeamDecoder(VOCABULARY, **arguments)


def test_mismatched_parts_are_refused(tmp_path):
    lm = model_of(random_arpa(["x", "y"], 2), tmp_path)
    with pytest.raises(ValueError, match="can spell, got none"):
        BeamDecoder(VOCABULARY, lm=lm)
    with pytest.raises(ValueError, match=r"model over the words .* contains none"):
        BeamDecoder(VOCABULARY, lm=lm, lexicon=LEXICON)
    with pytest.raises(ValueError, match=r"model over the symbols .* contains none"):
        BeamDecoder(VOCABULARY, lm=lm, lm_unit="symbol")
    with pytest.raises(ValueError, match=r"expected the word boundary \|"):
        BeamDecoder(Vocabulary(symbols=("<blank>", "a")), lexicon=["a"])
    with pytest.raises(ValueError, match="expected 5 classes as in the vocabulary, got 4"):
        BeamDecoder(VOCABULARY).decode(random_logits(classes=4))
    logits = random_logits()
    logits.data[0, 2, 1] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        BeamDecoder(VOCABULARY).decode(logits)


def flashlight(name):
    reason = "flashlight-text is not installed; there is none for Python 3.13 and later"
    return pytest.importorskip(f"flashlight.lib.text.{name}", reason=reason)


def flashlight_search(logits, config, path, lexicon):
    """Return the best words and their score from flashlight-text, with the model in `path` or none."""
    text, known, kenlm = (flashlight(name) for name in ("decoder", "dictionary", "decoder.kenlm"))
    numbers = known.Dictionary([*lexicon, "<unk>"])
    numbers.set_default_index(numbers.get_index("<unk>"))
    lm = kenlm.KenLM(str(path), numbers) if path else text.ZeroLM()
    trie, start = text.Trie(len(VOCABULARY), BAR), lm.start(False)
    for word in lexicon:
        number = numbers.get_index(word)
        trie.insert([*VOCABULARY.encode(word), BAR], number, lm.score(start, number)[1])
    trie.smear(text.SmearingMode.MAX)
    options = text.LexiconDecoderOptions(
        beam_size=config.beam_size,
        beam_size_token=len(VOCABULARY),
        beam_threshold=1e4,
        lm_weight=config.lm_weight * math.log(10) if path else 0.0,
        word_score=config.word_score,
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=False,
        criterion_type=text.CriterionType.CTC,
    )
    decoder = text.LexiconDecoder(options, trie, lm, BAR, 0, numbers.get_index("<unk>"), [], False)
    emissions = logits.log_softmax(-1).contiguous()
    best = decoder.decode(emissions.data_ptr(), *emissions.shape)[0]
    return " ".join(numbers.get_entry(number) for number in best.words if number >= 0), best.score


@pytest.mark.foreign
@pytest.mark.parametrize("order", [0, 2, 3])
def test_finds_what_flashlight_finds(order, tmp_path):
    flashlight("decoder")
    lexicon = ["a", "ab", "ba", "bab", "abba", "baa"]
    lm, path = None, None
    if order:
        lm = model_of(random_arpa(lexicon, order, seed=order, ends=True), tmp_path)
        path = tmp_path / "lm.arpa"
    config = BeamConfig(**{**EXACT, "num_best": 1}, lm_weight=0.7, word_score=-0.2, log_add=False)
    decoder = BeamDecoder(VOCABULARY, config, lm=lm, lexicon=lexicon)
    logits = random_logits(20, 30, scale=3.0)
    logits.data[:, :, 4] = -100.0  # flashlight uses this class, but it is never output
    logits.data[:, -1] = torch.tensor([-100.0, 100.0, -100.0, -100.0, -100.0])  # flashlight needs a final boundary
    for row, (best,) in zip(logits.data, decoder.decode(logits), strict=True):
        text, score = flashlight_search(row, config, path, lexicon)
        assert best.text == text
        assert best.score == pytest.approx(score, abs=1e-3)


def test_words_are_spelled_with_the_code_points_of_a_recogniser():
    hindi = "हिन्दी"
    vocabulary = Vocabulary(symbols=("<blank>", "|", *sorted(set(hindi))), unit="grapheme")
    decoder = BeamDecoder(vocabulary, lexicon=[hindi, "हद"], hot_words=[hindi])
    assert decoder.unspelled == []
    logits = random_logits(frames=12, classes=len(vocabulary), seed=3)
    (best,) = decoder.decode(logits)[0]
    assert best.text
    assert set(best.text.split()) <= {hindi, "हद"}


def test_turkish_words_are_spelled_in_their_own_case():
    vocabulary = Vocabulary.fit(["ışık iki"], casing="turkic")  # noqa: RUF001 - Turkish
    assert BeamDecoder(vocabulary, lexicon=["IŞIK", "İKİ"]).unspelled == []


@pytest.mark.parametrize(
    "name",
    ["lm_weight", "word_score", "unknown_score", "unknown_symbol_score", "spelling_weight", "hot_word_score"],
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_scores_that_are_no_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        BeamConfig(**{name: value})
