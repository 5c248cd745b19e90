import itertools
import math
import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.ctc import collapse
from torch.nn import functional

from sori.decoding.forced_alignment import align, align_words
from sori.decoding.greedy import words
from sori.text.vocabulary import Vocabulary

BAR = 1


def scores_of(num_frames, num_classes, seed):
    return torch.randn(num_frames, num_classes, generator=torch.Generator().manual_seed(seed)) * 3


def path_score(logits, classes):
    """Return the log-probability of one class per frame, summed in the order of the frames."""
    table = logits.float().log_softmax(-1).tolist()
    return sum((row[c] for row, c in zip(table, classes, strict=True)), 0.0)


def best_by_enumeration(logits, ids):
    """Return the best score over every sequence of classes that collapses to the ids; -inf if there is none."""
    num_frames, num_classes = logits.shape
    fitting = (c for c in itertools.product(range(num_classes), repeat=num_frames) if collapse(c) == ids)
    return max((path_score(logits, c) for c in fitting), default=-math.inf)


def frames_of(path, num_frames):
    classes = [0] * num_frames
    for label, (start, end) in zip(path.ids, path.spans, strict=True):
        classes[start:end] = [label] * (end - start)
    return classes


def join(parts):
    return [label for number, part in enumerate(parts) for label in ([BAR] if number else []) + part]


def full_table(logits, ids):
    """Run plain Viterbi over frames x states, in float64."""
    table = logits.float().log_softmax(-1).double()
    states = [0, *(x for label in ids for x in (label, 0))]
    old = torch.full((len(states),), -math.inf, dtype=torch.float64)
    old[:2] = table[0, states[:2]]
    jump = torch.tensor([s >= 2 and label != 0 and label != states[s - 2] for s, label in enumerate(states)])
    for frame in range(1, len(table)):
        one = torch.cat([torch.tensor([-math.inf]), old[:-1]])
        two = torch.where(jump, torch.cat([torch.tensor([-math.inf] * 2), old[:-2]])[: len(old)], -math.inf)
        old = torch.stack([old, one, two]).amax(0) + table[frame, states]
    return float(old[-2:].max())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), max_size=4), st.integers(0, 10_000))
def test_equals_enumeration_of_paths(num_frames, ids, seed):
    logits = scores_of(num_frames, 4, seed)
    best = best_by_enumeration(logits, ids)
    if best == -math.inf:
        with pytest.raises(ValueError, match=f"got {num_frames}"):
            align(logits, ids)
        return
    found = align(logits, ids)
    assert found.score == best
    assert found.path.ids == ids
    assert path_score(logits, frames_of(found.path, num_frames)) == best
    assert found.positions == list(range(len(ids)))
    table = logits.log_softmax(-1)
    for label, (start, end), score in zip(ids, found.path.spans, found.scores, strict=True):
        assert score == pytest.approx(float(table[start:end, label].mean()), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.lists(st.integers(2, 3), min_size=1, max_size=2), max_size=4),
    st.sampled_from([0.0, 0.5, 2.0, 7.0]),
    st.integers(0, 10_000),
)
def test_skipping_equals_enumeration_of_word_subsets_and_paths(num_frames, text, penalty, seed):
    logits = scores_of(num_frames, 4, seed)
    paths = [(path_score(logits, c), collapse(c)) for c in itertools.product(range(4), repeat=num_frames)]
    best = -math.inf
    for kept in itertools.product([True, False], repeat=len(text)):
        ids = join(list(itertools.compress(text, kept)))
        left_out = kept.count(False)
        best = max([best, *(score - penalty * left_out for score, written in paths if written == ids)])
    found = align(logits, join(text), boundary=BAR, skip_penalty=penalty)
    assert found.score == pytest.approx(best, rel=1e-12)
    assert found.path.ids == join([word for number, word in enumerate(text) if number not in found.skipped])
    own = path_score(logits, frames_of(found.path, num_frames)) - penalty * len(found.skipped)
    assert own == pytest.approx(best, rel=1e-12)
    assert found.positions == sorted(set(found.positions))
    assert [join(text)[position] for position in found.positions] == found.path.ids


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.lists(st.integers(1, 4), min_size=1, max_size=25), st.integers(0, 10_000))
def test_the_best_path_is_not_likelier_than_the_sum_of_all(num_frames, ids, seed):
    logits = scores_of(num_frames, 5, seed)
    table = logits.log_softmax(-1)[:, None]
    loss = functional.ctc_loss(
        table, torch.tensor([ids]), torch.tensor([num_frames]), torch.tensor([len(ids)]), reduction="sum"
    )
    if math.isinf(float(loss)):
        with pytest.raises(ValueError, match="frames"):
            align(logits, ids)
    else:
        assert align(logits, ids).score <= -float(loss) + 1e-3


@pytest.mark.parametrize(("num_frames", "num_labels"), [(600, 1), (600, 150), (600, 480), (1500, 400)])
def test_checkpoints_do_not_change_the_result(num_frames, num_labels):
    # more than ten checkpoints; a silence at the start moves the path far off the diagonal
    generator = torch.Generator().manual_seed(num_frames + num_labels)
    logits = scores_of(num_frames, 29, num_labels)
    logits[: num_frames // 5, 0] += 20
    ids = torch.randint(1, 29, (num_labels,), generator=generator).tolist()
    ids = [label for number, label in enumerate(ids) if number == 0 or label != ids[number - 1]]
    found = align(logits, ids)
    assert found.score == pytest.approx(full_table(logits, ids), rel=1e-12)
    assert path_score(logits, frames_of(found.path, num_frames)) == pytest.approx(found.score, rel=1e-12)
    assert found.path.ids == ids


@pytest.mark.parametrize("num_words", [2, 60])
def test_skipping_over_checkpoints(num_words):
    # a jump over almost the whole text, and over many checkpoints; the best choice is known by construction
    rng = torch.Generator().manual_seed(num_words)
    text = [torch.randint(2, 29, (5,), generator=rng).unique_consecutive().tolist() for _ in range(num_words)]
    spoken = join([text[0], text[-1]])
    logits = torch.zeros(900, 29)
    logits[:, 0] = 15
    for number, label in enumerate(spoken):
        logits[50 + 60 * number, 0] = 0
        logits[50 + 60 * number, label] = 15
    found = align(logits, join(text), boundary=BAR, skip_penalty=1.0)
    assert found.skipped == list(range(1, num_words - 1))
    assert found.path.ids == spoken
    assert [start for start, _ in found.path.spans] == [50 + 60 * number for number in range(len(spoken))]
    assert found.score == pytest.approx(align(logits, spoken).score - (num_words - 2), rel=1e-12)


def test_other_blank():
    logits = torch.tensor([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 9.0, 0.0]])
    assert align(logits, [0, 1], blank=2).path == ([0, 1], [(1, 2), (3, 4)])


def test_nothing_to_align():
    assert align(torch.zeros(3, 4), []).path == ([], [])
    assert align(torch.zeros(3, 4), [], boundary=BAR, skip_penalty=1.0).score == pytest.approx(-3 * math.log(4))
    assert align(torch.zeros(0, 4), []) == (([], []), [], [], 0.0, [])
    assert align(torch.zeros(0, 4), [2, BAR, 3], boundary=BAR, skip_penalty=1.0).skipped == [0, 1]


def test_half_precision_is_converted_to_float32():
    logits = scores_of(30, 5, 0)
    assert align(logits.bfloat16(), [1, 2, 3]) == align(logits.bfloat16().float(), [1, 2, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": [2, 2, 2, 2]}, "at least 7 frames for 4 symbols.*got 5"),
        ({"ids": [2, 0, 3]}, r"without the blank 0, got \[0\]"),
        ({"ids": [2, 4, -1]}, r"from 0 to 3 .*got \[-1, 4\]"),
        ({"logits": torch.full((5, 4), math.nan)}, "NaN or infinity in 5 frames"),
        ({"logits": torch.tensor([[0.0, 0.0, -math.inf, 0.0]] * 5)}, "probability of zero"),
        ({"skip_penalty": 3.0}, "class of the word boundary, got none"),
        ({"skip_penalty": -1.0, "boundary": BAR}, "0 or more, got -1"),
        ({"skip_penalty": math.nan, "boundary": BAR}, "0 or more, got nan"),
        ({"ids": [2, BAR, BAR, 3], "skip_penalty": 1.0, "boundary": BAR}, "single boundaries"),
        ({"ids": [2, BAR], "skip_penalty": 1.0, "boundary": BAR}, "single boundaries"),
    ],
)
def test_errors_say_what_to_do(change, message):
    with pytest.raises(ValueError, match=message):
        align(**({"logits": torch.zeros(5, 4), "ids": [2, 3]} | change))


def spoken_as(vocabulary, symbols, *, every=4, score=12.0):
    """Return scores in which each symbol peaks for two frames, `every` frames apart; None: only blank."""
    logits = torch.zeros(every * len(symbols) + every, len(vocabulary))
    logits[:, 0] = score
    for number, symbol in enumerate(symbols):
        if symbol is not None:
            frames = slice(every * number + 2, every * number + 4)
            logits[frames, 0] = 0
            logits[frames, vocabulary.symbols.index(symbol)] = score
    return logits


@pytest.mark.parametrize("text", ["값이 ab", "ab 값이 ba"])
def test_words_have_the_same_times_as_in_decoding(text):
    vocabulary = Vocabulary.fit([text])
    logits = spoken_as(vocabulary, vocabulary.split(text))
    found = align_words(logits, text, vocabulary, hop_samples=320.0)
    path = align(logits, vocabulary.encode(text)).path
    assert found.words == words(path, vocabulary, hop_samples=320.0)
    assert found.words[0].start == pytest.approx(2 * 0.02)
    assert found.skipped == found.unwritable == []
    assert all(0.99 < confidence <= 1 for confidence in found.confidence)


def test_a_word_that_is_not_spoken_is_skipped():
    vocabulary = Vocabulary.fit(["the old house near water"])
    logits = spoken_as(vocabulary, vocabulary.split("the house near"))
    text = "water the old house near water"
    forced = align_words(logits, text, vocabulary, hop_samples=320.0)
    assert [word.text for word in forced.words] == text.split()
    assert min(forced.confidence) < 0.1
    free = align_words(logits, text, vocabulary, hop_samples=320.0, skip_penalty=20.0)
    assert [word.text for word in free.words] == ["the", "house", "near"]
    assert free.skipped == ["water", "old", "water"]
    assert min(free.confidence) > 0.99


def test_words_are_returned_as_written():
    vocabulary = Vocabulary.fit(["bonjour monde dit il"])
    text = "« Bonjour, le-monde ! » 1984 dit/il"
    logits = spoken_as(vocabulary, vocabulary.split("bonjour lemonde dit il"))
    found = align_words(logits, text, vocabulary, hop_samples=320.0)
    assert [word.text for word in found.words] == ["« Bonjour,", "le-monde ! »", "dit/il"]
    assert found.skipped == ["1984"]
    assert found.unwritable == ["-", "1", "9", "8", "4"]
    assert all(a.start < a.end <= b.start for a, b in itertools.pairwise(found.words))


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs", "Cc"]), max_size=30))
def test_every_word_is_reported_once(text):
    vocabulary = Vocabulary.fit(["abc de"])
    logits = torch.zeros(200, len(vocabulary))
    try:
        found = align_words(logits, text, vocabulary, hop_samples=320.0)
    except ValueError as error:
        assert "none of whose symbols" in str(error)  # noqa: PT017 - both outcomes are right, depending on the text
        assert set(vocabulary.split(text)) & set(vocabulary.symbols[2:]) == set()
        return
    everything = " ".join([*(word.text for word in found.words), *found.skipped]).split()
    assert sorted(everything) == (sorted(text.split()) if vocabulary.split(text) else [])


def test_a_text_in_another_alphabet_is_refused():
    vocabulary = Vocabulary.fit(["abc"])
    with pytest.raises(ValueError, match=r"CYRILLIC SMALL LETTER DE.*another language"):
        align_words(torch.zeros(9, len(vocabulary)), "да", vocabulary, hop_samples=320.0)


def test_text_without_symbols_has_no_words():
    vocabulary = Vocabulary.fit(["abc"])
    assert align_words(torch.zeros(9, len(vocabulary)), " - ", vocabulary, hop_samples=320.0) == ([], [], [], [])


def test_a_vocabulary_without_boundary():
    vocabulary = Vocabulary(symbols=("<blank>", "a", "b"))
    logits = spoken_as(vocabulary, ["a", "b", "a"])
    found = align_words(logits, "ab a", vocabulary, hop_samples=320.0)
    assert [(w.text, round(w.start, 2), round(w.end, 2)) for w in found.words] == [("ab", 0.04, 0.16), ("a", 0.2, 0.24)]
    assert found.unwritable == []
    with pytest.raises(ValueError, match="without a skip penalty"):
        align_words(logits, "ab a", vocabulary, hop_samples=320.0, skip_penalty=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("skip_penalty", [None, 20.0])
def test_an_hour_at_once(skip_penalty):
    # in a separate process, whose peak memory is that of this work (and of importing torch)
    program = f"""
        import resource, time, torch
        from sori.decoding.forced_alignment import align
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(2, 29, (54_000,), generator=generator)
        ids[6:-1:7] = 1
        frames = (torch.rand(90_000, generator=generator).argsort()[:54_000]).sort().values
        logits = torch.randn(90_000, 29, generator=generator)
        logits[frames, ids] += 12
        align(logits[:9], [2, 1, 3], boundary=1, skip_penalty={skip_penalty})  # compile
        begin = time.perf_counter()
        found = align(logits, ids.tolist(), boundary=1, skip_penalty={skip_penalty})
        seconds = time.perf_counter() - begin
        near = [start - 1 <= f < end + 1 for f, (start, end) in zip(frames.tolist(), found.path.spans)]
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, sum(near) / len(near))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    seconds, gibibytes, near = map(float, result.stdout.split())
    print(f"{seconds:.1f} s, {gibibytes:.2f} GiB, {near:.4f} within a frame")
    assert seconds < 300
    assert gibibytes < 1.5
    if skip_penalty is None:
        assert near > 0.9
