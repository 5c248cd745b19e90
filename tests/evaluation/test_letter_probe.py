"""Letter probe on vectors with and without information about the letters."""

import numpy as np
import pytest
import torch

from sori.evaluation.letter_probe import (
    Head,
    LetterProbeConfig,
    Transcripts,
    _batches,
    _factor,
    predict_text,
    probe_letters,
    train_head,
)
from sori.text.vocabulary import Vocabulary

TEXTS = ["abba", "cab", "ab cab", "bac", "a cab", "baba", "cc ab", "bab"] * 6
QUICK = LetterProbeConfig(num_updates=150, batch_seconds=4.0, width=32)
VOCABULARY = Vocabulary.fit(TEXTS)


def spoken(text, *, noise, seed, per_letter=4, dim=8):
    """Return frames with a vector for each letter, and silence between letters."""
    random = np.random.default_rng(seed)
    units = np.random.default_rng(99).standard_normal((len(VOCABULARY), dim))
    frames = [units[0]]
    for label in VOCABULARY.encode(text):
        frames += [units[label]] * per_letter + [units[0]]
    return torch.tensor(np.array(frames) + noise * random.standard_normal((len(frames), dim)), dtype=torch.float32)


def parts(num_train=32):
    def transcripts(rows):
        return Transcripts(list(rows), [TEXTS[row] for row in rows], [f"s{row % 3}" for row in rows])

    return transcripts(range(num_train)), transcripts(range(32, 40)), transcripts(range(40, 48))


def probed(noise=0.3, *, config=QUICK, seed=0, **options):
    def vectors(row):
        return spoken(TEXTS[row], noise=noise, seed=row, **options)

    return probe_letters(vectors, parts(), frame_seconds=0.04, config=config, seed=seed)


def test_letters_are_found_only_in_clear_vectors():
    clear, noisy = probed(0.2), probed(30.0)
    assert clear.error.value < 0.05
    assert clear.dev_error < 0.1
    assert noisy.error.value > 0.5
    assert clear.error.low <= clear.error.value <= clear.error.high
    assert (clear.num_train, clear.num_infeasible) == (32, 0)


def test_shift_and_scale_of_the_vectors_change_nothing():
    def moved(row):
        return 100 * spoken(TEXTS[row], noise=0.3, seed=row) + 7

    found = probe_letters(moved, parts(), frame_seconds=0.04, config=QUICK)
    assert abs(found.error.value - probed(0.3).error.value) < 0.03


def test_equal_seeds_give_equal_results_whatever_the_global_state():
    one = probed(1.0)
    torch.rand(7)
    before = torch.random.get_rng_state()
    assert probed(1.0) == one
    assert torch.equal(torch.random.get_rng_state(), before)
    assert probed(1.0, seed=1) != one


def test_texts_with_more_letters_than_frames_are_left_out():
    def vectors(row):
        return spoken(TEXTS[row], noise=0.2, seed=row)[: 2 if row < 2 else None]

    assert probe_letters(vectors, parts(), frame_seconds=0.04, config=QUICK).num_infeasible == 2
    with pytest.raises(ValueError, match="as many frames as letters"):
        probe_letters(lambda _: torch.zeros(2, 8), parts(), frame_seconds=0.04, config=QUICK)
    with pytest.raises(ValueError, match="0 in train, 8 in dev and 8"):
        probe_letters(vectors, parts(0), frame_seconds=0.04, config=QUICK)


def test_padding_and_batching_change_no_logits():
    torch.manual_seed(0)
    head = Head(8, 5, kernel_size=5, config=QUICK).eval()
    short, long = torch.randn(7, 8), torch.randn(20, 8)
    both = torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True)
    together = head(both, torch.tensor([7, 20]))
    assert torch.allclose(together[0, :7], head(short[None], torch.tensor([7]))[0], atol=1e-6)
    both[0, 7:] = 9.0
    assert torch.allclose(head(both, torch.tensor([7, 20]))[0, :7], together[0, :7])


def test_repeats_are_one_letter_and_blanks_none():
    class Given(Head):
        def forward(self, x, lengths):
            assert lengths.tolist() == [x.shape[1]]
            return x

    a, b = (VOCABULARY.encode(letter)[0] for letter in "ab")
    path = torch.nn.functional.one_hot(torch.tensor([0, a, a, 0, a, b, b, 0]), len(VOCABULARY)).float()
    assert predict_text(Given(5, 5, kernel_size=1, config=QUICK), path, VOCABULARY) == "aab"


def test_the_rate_rises_holds_and_falls():
    factors = [_factor(update, 1000) for update in range(1000)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[100:500] == [1.0] * 400
    assert factors[-1] == pytest.approx(0.05, rel=0.01)
    assert factors[500:] == sorted(factors[500:], reverse=True)


def test_batches_contain_every_example_once_and_respect_the_limit():
    examples = [(torch.zeros(n, 2), torch.tensor([n])) for n in sorted([3, 9, 4, 4, 8, 30, 5])]
    batches = _batches(examples, 16)
    assert [int(y) for batch in batches for _, y in batch] == [int(y) for _, y in examples]
    assert all(len(batch) * max(len(x) for x, _ in batch) <= 16 or len(batch) == 1 for batch in batches)


def test_the_head_is_trained_in_place_and_left_in_evaluation_mode():
    torch.manual_seed(0)
    head = Head(8, len(VOCABULARY), kernel_size=5, config=QUICK)
    before = head.out.weight.detach().clone()
    example = (spoken("cab", noise=0.1, seed=0), torch.tensor(VOCABULARY.encode("cab")))
    train_head(head, [example] * 3, batch_frames=40, config=QUICK, seed=0)
    assert not head.training
    assert not torch.equal(head.out.weight, before)
    assert predict_text(head, example[0], VOCABULARY) == "cab"
