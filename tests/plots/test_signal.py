import io

import pytest
import torch
from matplotlib.colors import to_hex

from sori.plots.signal import TimedWord, align_words, transcript, waveform
from sori.plots.style import GREEN, INK, RED


def kinds(reference: str, hypothesis: str) -> str:
    return " ".join(word.kind for word in align_words(reference, hypothesis))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", "right right right"),
        ("a b c", "a x c", "right wrong right"),
        ("a b c", "a c", "right missing right"),
        ("a c", "a b c", "right extra right"),
        ("a b", "", "missing missing"),
        ("a", "b c d", "wrong extra extra"),
    ],
)
def test_words_are_aligned(reference, hypothesis, expected):
    assert sorted(kinds(reference, hypothesis).split()) == sorted(expected.split())


def test_the_alignment_contains_both_sides():
    reference, hypothesis = "the cat sat on the mat today", "a cat sat sat on mat to day"
    aligned = align_words(reference, hypothesis)
    assert " ".join(j.reference for j in aligned if j.reference) == reference
    assert " ".join(j.hypothesis for j in aligned if j.hypothesis) == hypothesis
    assert [j.position for j in aligned if j.hypothesis] == list(range(8))


def test_an_empty_reference_is_refused():
    with pytest.raises(ValueError, match="at least one word"):
        align_words(" ", "hello")


def test_a_waveform_shows_the_extremes_of_every_column():
    samples = torch.zeros(32_000)
    samples[16_000], samples[20_000] = 0.9, -0.7
    (axes,) = waveform(samples).axes
    outline = axes.collections[0].get_paths()[0].vertices
    assert outline[:, 1].max() == pytest.approx(0.9)
    assert outline[:, 1].min() == pytest.approx(-0.7)
    assert outline[outline[:, 1].argmax(), 0] == pytest.approx(1.0, abs=0.01)
    assert axes.get_xlim() == (0, 2)


@pytest.mark.parametrize("num_samples", [1, 400, 16_000])
def test_short_and_silent_waveforms_are_drawn(num_samples):
    file = io.BytesIO()
    waveform(torch.zeros(num_samples)).savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_a_missing_word_is_between_its_neighbours():
    words = [TimedWord("a", 0.1, 0.3), TimedWord("c", 0.7, 0.9)]
    _, below = transcript(torch.randn(16_000), reference="a b c", rows=[("model", words)]).axes
    assert [text.get_position()[0] for text in below.texts if text.get_text() == "(b)"] == [pytest.approx(0.5)]


def test_transcripts_mark_errors_by_colour_and_sign():
    words = [TimedWord("the", 0.1, 0.3), TimedWord("bat", 0.4, 0.6), TimedWord("uh", 0.8, 0.9)]
    drawn = transcript(torch.randn(16_000), reference="the big cat", rows=[("model", words), ("empty", [])])
    _, below = drawn.axes
    seen = {text.get_text(): to_hex(text.get_color()) for text in below.texts}
    assert {"the", "bat\N{MULTIPLICATION SIGN}", "uh\N{MULTIPLICATION SIGN}", "(3 words)"} == set(seen)
    assert seen["the"] == INK
    assert seen["(3 words)"] == RED
    lines = [(to_hex(c.get_color()[0]), c.get_segments()[0][0][0]) for c in below.collections]
    assert lines == [(GREEN, 0.1), (RED, 0.4), (RED, 0.8)]
    drawn.savefig(io.BytesIO())
