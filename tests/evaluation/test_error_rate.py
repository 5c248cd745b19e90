import json
import math

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.edits import edit_distance

from sori.evaluation.error_rate import Edits, compare, error_rates

TEXTS = st.lists(st.sampled_from(["a", "bb", "ca", "각", "é"]), max_size=6).map(" ".join)


def noisy(num=200, num_speakers=10, *, wrong=0.3, seed=0):
    """Return utterances of ten words; the error probability differs by speaker."""
    random = np.random.default_rng(seed)
    speakers = [f"s{n % num_speakers}" for n in range(num)]
    ease = np.linspace(0.5, 1.5, num_speakers)
    references = ["a b c d e f g h i j"] * num
    hypotheses = [
        " ".join("x" if random.random() < wrong * ease[n % num_speakers] else w for w in references[n].split())
        for n in range(num)
    ]
    return references, hypotheses, speakers


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_counts_equal_the_textbook_table(pairs):
    references, hypotheses = zip(*pairs, strict=True)
    if not any(references):
        return
    report = error_rates(references, hypotheses, num_draws=5)
    for one in report.utterances:
        assert one.words.errors == edit_distance(one.reference.split(), one.hypothesis.split())
        assert one.words.total == len(one.reference.split())
        assert one.characters.errors == edit_distance(one.reference, one.hypothesis)
        assert one.characters.total == len(one.reference)
    assert report.wer.edits.errors == sum(one.words.errors for one in report.utterances)
    if all(references):
        assert report.wer.rate == pytest.approx(jiwer.wer(list(references), list(hypotheses)))
        assert report.cer.rate == pytest.approx(jiwer.cer(list(references), list(hypotheses)))


def test_published_scores_of_a_real_recogniser(data_dir):
    def read(name):
        lines = (data_dir / "wer-reference" / name).read_text(encoding="utf-8").splitlines()
        return dict([*line.split("\t"), ""][:2] for line in lines)

    references = read("test-clean.ref.tsv")
    hypotheses = read("test-clean.b1.rnnt_baseline.hyp.tsv")
    keys = sorted(references)
    report = error_rates([references[k] for k in keys], [hypotheses[k] for k in keys], [k.split("-")[0] for k in keys])
    assert (report.wer.edits.errors, report.wer.edits.total) == (1921, 52576)
    assert 100 * report.wer.rate == pytest.approx(3.6537583688374924)
    assert report.wer.low < report.wer.rate < report.wer.high
    assert len(report.speakers) == 40


def test_characters_are_grapheme_clusters():
    report = error_rates(["क्षि e\u0301x"], ["क्ष e\u0301x"])
    assert report.cer.edits == Edits(1, 0, 0, 4)
    assert error_rates(["ab cd"], ["abcd"]).cer.edits == Edits(0, 0, 1, 5)


def test_white_space_is_normalised():
    report = error_rates(["  a  b "], ["a b"])
    assert report.wer.edits.errors == report.cer.edits.errors == 0


def test_empty_references_count_insertions_and_are_reported():
    report = error_rates(["a b", ""], ["a b", "c d e"])
    assert report.wer.edits == Edits(0, 3, 0, 2)
    assert report.num_empty_references == 1
    assert "1 empty references" in report.table()
    assert report.utterances[1].words.rate == math.inf
    assert report.worst(1)[0].hypothesis == "c d e"
    json.dumps(report.to_data(), allow_nan=False)


def test_empty_hypotheses_are_all_deletions():
    assert error_rates(["a b", "c"], ["", ""]).wer.edits == Edits(0, 0, 3, 3)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="got 1 and 2 for 2"):
        error_rates(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="got 2 empty ones"):
        error_rates(["", " "], ["a", ""])


def test_intervals_have_the_expected_width_and_speakers_widen_them():
    """Expected: the standard error of the mean over ten speakers, or over all utterances."""
    references, hypotheses, speakers = noisy()
    by_speaker = error_rates(references, hypotheses, speakers)
    by_utterance = error_rates(references, hypotheses)
    assert (by_speaker.unit, by_utterance.unit) == ("speakers", "utterances")
    assert by_speaker.wer.edits == by_utterance.wer.edits
    for report, groups in ((by_speaker, speakers), (by_utterance, range(len(references)))):
        rates = {}
        for one, group in zip(report.utterances, groups, strict=True):
            rates.setdefault(group, []).append(one.words.rate)
        means = np.array([np.mean(values) for values in rates.values()])
        expected = 2 * 1.96 * means.std() / math.sqrt(len(means))
        assert report.wer.high - report.wer.low == pytest.approx(expected, rel=0.12)
    assert by_speaker.wer.high - by_speaker.wer.low > 1.5 * (by_utterance.wer.high - by_utterance.wer.low)


def test_intervals_are_repeatable():
    data = noisy(num=40)
    assert error_rates(*data) == error_rates(*data)
    assert error_rates(*data, seed=1).wer.low != error_rates(*data).wer.low


def test_one_known_speaker_or_a_gap_means_utterances_are_drawn():
    assert error_rates(["a", "b"], ["a", "c"], ["s", "s"]).unit == "utterances"
    assert error_rates(["a", "b"], ["a", "c"], ["s", None]).unit == "utterances"


def test_report_names_speakers_best_and_worst():
    report = error_rates(["a b c", "d e", "f g", "h"], ["a b c", "d e", "f x", "y"], ["good", "good", "mixed", "mixed"])
    assert list(report.speakers) == ["good", "mixed"]
    assert report.speakers["mixed"][0] == Edits(2, 0, 0, 3)
    assert [one.reference for one in report.best(2)] == ["a b c", "d e"]
    assert [one.reference for one in report.worst(2)] == ["h", "f g"]
    table = report.table()
    assert "WER   25.00%" in table
    assert "hypothesis  f x" in table
    data = report.to_data()
    assert data["wer"]["rate"] == 0.25
    assert data["speakers"]["mixed"]["words"]["errors"] == 2
    assert json.loads(json.dumps(data))["utterances"][2]["hypothesis"] == "f x"


def test_a_table_of_many_speakers_shows_both_ends():
    num = 50
    references = ["a b c d e f g h i j"] * num
    hypotheses = [" ".join(text.split()[: 10 - n // 5]) for n, text in enumerate(references)]
    table = error_rates(references, hypotheses, [f"v{n:02}" for n in range(num)]).table()
    assert "... 30 more between" in table
    assert all(f"v{n:02}" in table for n in (0, 9, 40, 49))
    assert "v25" not in table


def test_paired_comparison_is_more_sensitive_than_separate_intervals():
    references, hypotheses, speakers = noisy()
    better = [references[n] if n % 7 == 0 else text for n, text in enumerate(hypotheses)]
    first, second = error_rates(references, better, speakers), error_rates(references, hypotheses, speakers)
    assert first.wer.high > second.wer.low  # the separate intervals overlap
    wer = compare([first], [second])["wer"]
    assert wer.first == first.wer.rate
    assert wer.absolute[0] == pytest.approx(first.wer.rate - second.wer.rate)
    assert wer.relative[0] == pytest.approx(first.wer.rate / second.wer.rate - 1)
    assert wer.is_clear
    assert wer.share_better > 0.99
    mirrored = compare([second], [first])["wer"]
    assert mirrored.absolute == pytest.approx((-wer.absolute[0], -wer.absolute[2], -wer.absolute[1]))
    same = compare([first], [first])["cer"]
    assert same.absolute == (0, 0, 0)
    assert not same.is_clear


def test_seeds_are_averaged_and_drawn():
    runs = [error_rates(*noisy(wrong=wrong, seed=n)) for n, wrong in enumerate((0.2, 0.3, 0.4))]
    other = [error_rates(*noisy(wrong=0.35, seed=n + 9)) for n in range(3)]
    wer = compare(runs, other)["wer"]
    assert wer.first == pytest.approx(np.mean([run.wer.rate for run in runs]))
    alone = compare(runs[1:2], other)["wer"]
    assert wer.absolute[2] - wer.absolute[1] > 1.5 * (alone.absolute[2] - alone.absolute[1])


def test_comparison_of_different_tests_is_refused():
    one, other = error_rates(["a"], ["a"]), error_rates(["b"], ["a"])
    with pytest.raises(ValueError, match="same utterances"):
        compare([one], [other])
    with pytest.raises(ValueError, match="at least one"):
        compare([one], [])


def test_relative_difference_is_nan_against_a_perfect_system():
    wrong, perfect = error_rates(["a b"], ["a"]), error_rates(["a b"], ["a b"])
    wer = compare([wrong], [perfect])["wer"]
    assert all(math.isnan(value) for value in wer.relative)
    assert wer.absolute[0] == 0.5
