import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lm.test_ngram import model_of, random_arpa
from tests.reference.ctc import collapse

from sori.core.shapes import Frames
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.confidence import (
    ACOUSTIC,
    Confidence,
    feature_names,
    search_settings,
    symbols_log_prob,
    word_features,
)
from sori.decoding.greedy import greedy
from sori.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(symbols=("<blank>", "|", "a", "b"))
BAR, A, B = 1, 2, 3


def log_probs(frames, *, seed=0, scale=2.0, classes=4):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(frames, classes, generator=generator)).double().log_softmax(-1)


def sum_by_enumeration(scores, ids, *, boundary, before, after):
    """Sum over every sequence of classes that collapses to these symbols with the required boundaries."""
    found = []
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        read = collapse(path)
        first = next((n for n, label in enumerate(read) if label != boundary), len(read))
        last = next((n for n, label in enumerate(reversed(read)) if label != boundary), len(read))
        if read[first : len(read) - last] == ids and first >= before and last >= after:
            found.append(sum(float(scores[frame, label]) for frame, label in enumerate(path)))
    return math.log(math.fsum(map(math.exp, found))) if found else -math.inf


@pytest.mark.parametrize("ids", [[A], [A, B], [A, A], [B, B, A]])
@pytest.mark.parametrize(("before", "after"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("frames", [1, 3, 6])
def test_log_prob_sums_over_all_alignments(ids, before, after, frames):
    scores = log_probs(frames, seed=frames)
    found = symbols_log_prob(scores, ids, boundary=BAR, before=before, after=after)
    assert found == pytest.approx(sum_by_enumeration(scores, ids, boundary=BAR, before=before, after=after), abs=1e-9)


@pytest.mark.parametrize("ids", [[A], [B, B], [A, B, BAR]])
def test_log_prob_without_a_boundary_is_the_ctc_loss(ids):
    scores = log_probs(12, seed=3)
    loss = torch.nn.functional.ctc_loss(
        scores[:, None], torch.tensor([ids]), torch.tensor([12]), torch.tensor([len(ids)]), reduction="sum"
    )
    assert symbols_log_prob(scores, ids) == pytest.approx(-float(loss), abs=1e-9)


def greedy_features(logits):
    frames = Frames(logits[None], torch.tensor([len(logits)]))
    return word_features(logits, greedy(frames)[0], VOCABULARY)


def test_features_of_a_word_match_hand_calculation():
    # a certain "a", then a boundary, then b or a at similar odds
    scores = torch.tensor([[0.0, 0, 0.9, 0.1], [0.05, 0.95, 0, 0], [0.1, 0, 0.4, 0.5]]).clamp(min=1e-12).log()
    first, second = greedy_features(scores)
    assert ACOUSTIC == ("reading", "reading_root", "symbols", "letters")
    r = math.log(0.9 * 0.95)
    assert first == pytest.approx([r, -math.sqrt(-r), math.log(0.9), 0.0], abs=1e-5)
    assert second[0] == pytest.approx(math.log(0.95 * 0.5), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 9), st.integers(0, 10_000)), min_size=1, max_size=5), st.integers(0, 9))
def test_features_of_a_word_do_not_depend_on_its_neighbours(pieces, padding):
    """Neither neighbours, nor padding, nor cutting a chunk at boundaries change them."""
    bar = torch.full((1, 4), -30.0)
    bar[0, BAR] = 30.0
    rows = [torch.cat([bar, 2 * torch.randn(n, 4, generator=torch.manual_seed(s)), bar]) for n, s in pieces]
    for row in rows:  # no boundary in the frames beside the ends
        row[1, BAR] = row[-2, BAR] = -30.0
    alone = np.concatenate([greedy_features(row) for row in rows])
    padded = torch.cat([*rows, torch.randn(padding, 4)])
    length = torch.tensor([sum(map(len, rows))])
    path = greedy(Frames(padded[None], length))[0]
    together = word_features(padded[: int(length)], path, VOCABULARY)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_confidence_rises_with_the_posterior_of_the_word():
    confidence = Confidence(
        features=ACOUSTIC, means=(0,) * 4, scales=(1,) * 4, weights=(1, 1, 1, 0.1), bias=0.5, search=None
    )
    found = []
    for top in (0.4, 0.6, 0.8, 0.99):
        rest = (1 - top) / 3
        scores = torch.tensor([[rest, rest, top, rest], [top, rest, rest, rest], [rest, rest, rest, top]]).log()
        found.append(confidence.probability(greedy_features(scores))[0])
    assert found == sorted(set(found))
    assert 0 < found[0] < found[-1] < 1


def test_extreme_features_give_no_overflow():
    one = Confidence(features=("x",), means=(0.0,), scales=(1.0,), weights=(1.0,), bias=0.0, search=None)
    assert one.probability(np.array([[-1e4], [0.0], [1e4]])).tolist() == [0.0, 0.5, 1.0]


def decode(logits, decoder, **changes):
    decoder = decoder.with_config(decoder.config.model_copy(update=changes))
    return decoder.decode(Frames(logits[None], torch.tensor([len(logits)])))[0]


def test_the_vote_is_weighted_by_the_scores_of_the_texts():
    logits = torch.tensor([[0, 0, 8, 7.0], [0, 8, 0, 0], [0, 0, 8, 0]]).float()
    decoder = BeamDecoder(VOCABULARY, BeamConfig(num_best=2))
    best = decode(logits, decoder)
    assert [h.text for h in best[:2]] == ["a a", "b a"]
    votes = word_features(logits, best[0].path, VOCABULARY, hypotheses=best)[:, -1]
    weights = np.exp([h.score for h in best])
    weights /= weights.sum()
    for number, (word, vote) in enumerate(zip(best[0].text.split(), votes, strict=True)):
        weight = sum(w for w, h in zip(weights, best, strict=True) if [*h.text.split(), "", ""][number] == word)
        assert vote == pytest.approx(math.log(weight / max(1 - weight, 1e-4)), abs=1e-4)
    assert votes[0] < votes[1]


@pytest.mark.slow
def test_the_context_is_the_models_score_of_each_word(tmp_path):
    lm = model_of(random_arpa(["a", "b", "ab"], 3), tmp_path)
    decoder = BeamDecoder(VOCABULARY, BeamConfig(num_best=3), lm=lm)
    logits = log_probs(30, seed=5).float()
    best = decode(logits, decoder)
    measured = word_features(logits, best[0].path, VOCABULARY, hypotheses=best, lm=lm)
    texts, state = best[0].text.split(), lm.start
    assert len(texts) > 1
    assert measured.shape == (len(texts), len(feature_names(decoder)))
    for word in texts:
        state = lm.score(state, lm.word_id(word))[1]
    assert measured[:, -1].sum() + lm.score(state, lm.end)[0] == pytest.approx(best[0].lm, abs=1e-4)


def test_search_settings_differ_between_searches(tmp_path):
    models = [model_of(random_arpa(["a", "b"], 2, seed=seed), tmp_path) for seed in (0, 1)]
    plain = BeamDecoder(VOCABULARY)
    same = BeamDecoder(VOCABULARY, BeamConfig(num_best=7))
    others = [
        BeamDecoder(VOCABULARY, BeamConfig(word_score=1.0)),
        BeamDecoder(VOCABULARY, hot_words=["ab"]),
        BeamDecoder(VOCABULARY, lexicon=["ab"]),
        *(BeamDecoder(VOCABULARY, lm=lm) for lm in models),
    ]
    assert search_settings(plain) == search_settings(same)
    found = [search_settings(one) for one in (plain, *others)]
    assert all(first != second for first, second in itertools.combinations(found, 2))


def test_a_damaged_fit_is_refused():
    with pytest.raises(ValueError, match="for each feature"):
        Confidence(features=("x",), means=(0.0,), scales=(0.0,), weights=(1.0,), bias=0.0, search=None)
    with pytest.raises(ValueError, match="for each feature"):
        Confidence(features=("x", "y"), means=(0.0,), scales=(1.0,), weights=(1.0,), bias=0.0, search=None)
