"""Comparison of several seeds on synthetic reports with known results."""

import json
import statistics
from pathlib import Path

import pytest

from sori.evaluation.error_rate import error_rates
from sori.evaluation.seed_spread import SeedScores

SPEAKERS = [f"s{n % 8}" for n in range(40)]


def synthetic(*wrong):
    """Return a report on ten one-letter words per utterance; `wrong[n]` (cyclic) are wrong in utterance n."""
    words = list("abcdefghij")
    counts = [wrong[n % len(wrong)] for n in range(40)]
    return error_rates([" ".join(words)] * 40, [" ".join(["x"] * c + words[c:]) for c in counts], SPEAKERS)


EVEN = synthetic(2)
"""A fifth of the words of every speaker."""
WAVY = synthetic(0, 4, 0, 5)
"""A few more in all, but only by every other speaker."""
BAD, GOOD = synthetic(6), synthetic(1)


def scores(reports, failed=None):
    return SeedScores(Path("runs/several"), "dev", dict(enumerate(reports)), failed or {})


def test_the_best_by_characters_is_chosen():
    assert scores([BAD, GOOD, EVEN]).chosen == 1
    assert scores([EVEN, synthetic(0, 4)]).chosen == 0, "equal in both: the first"


def test_words_break_ties_of_characters():
    references, speakers = ["ab cd"] * 4, ["s", "s", "t", "t"]
    one_word = error_rates(references, ["xx cd"] * 4, speakers)
    two_words = error_rates(references, ["xb cx"] * 4, speakers)
    assert one_word.cer.rate == two_words.cer.rate
    assert scores([two_words, one_word]).chosen == 1


def test_significant_and_insignificant_differences_are_named():
    table = scores([EVEN, WAVY, BAD]).table()
    row = {line.split()[0] + line.split()[2]: line for line in table.splitlines() if " - " in line}
    assert row["01"].endswith("no significant difference")
    assert row["02"].endswith("seed 0 makes fewer errors")
    assert row["12"].endswith("seed 1 makes fewer errors")
    assert "Chosen: seed 0, the lowest CER on dev. It does not differ significantly from seed 1:" in table
    assert scores([BAD, GOOD]).table().count("seed 1 makes fewer errors") == 1
    assert "It differs significantly from every other seed." in scores([BAD, GOOD]).table()


def test_equal_reports_do_not_differ():
    equal = scores([EVEN, EVEN, EVEN])
    assert equal.table().count("  no significant difference") == 3
    assert "It does not differ significantly from seeds 1 and 2:" in equal.table()
    assert equal.cer.deviation == 0


def test_the_table_has_rates_intervals_spread_and_a_note_on_optimism():
    table = scores([EVEN, GOOD]).table()
    lines = table.splitlines()
    assert lines[0] == "dev: 40 utterances, 400 words; 95 % intervals over 8 speakers"
    assert "same transcripts" in lines[1]
    assert [" ".join(line.split()) for line in lines[4:9]] == [
        "0 10.53% 10.5% to 10.5% 20.00% 20.0% to 20.0%",
        "1 5.26% 5.3% to 5.3% 10.00% 10.0% to 10.0% chosen",
        "mean 7.89% 15.00%",
        "range 5.26% to 10.53% 10.00% to 20.00%",
        "st. dev. 3.72% 7.07%",
    ]
    assert "optimistic" in table
    assert "sori evaluate runs/several --data DATA --split test" in table
    assert max(map(len, lines)) <= 110


def test_spread_is_that_of_the_rates():
    found, rates = scores([EVEN, GOOD, BAD]), [EVEN.wer.rate, GOOD.wer.rate, BAD.wer.rate]
    assert found.wer == pytest.approx((statistics.mean(rates), min(rates), max(rates), statistics.stdev(rates)))
    assert found.cer.low == GOOD.cer.rate


def test_a_failed_seed_is_listed_and_not_chosen():
    found = SeedScores(Path("r"), "dev", {0: BAD, 2: EVEN}, {1: "stopped at update 3"})
    assert found.chosen == 2
    assert "seed 1 failed and has no scores: stopped at update 3" in found.table()
    assert [row.get("failed") for row in found.to_data()["seeds"]] == [None, "stopped at update 3", None]


def test_a_single_seed_has_no_spread():
    found = SeedScores(Path("r"), "dev", {1: EVEN}, {0: "stopped"})
    assert found.cer.deviation is None
    assert "Seed 1 is the only one that finished" in found.table()
    assert "significant" not in found.table()
    json.dumps(found.to_data(), allow_nan=False)


def test_many_seeds_show_only_the_pairs_of_the_chosen_one():
    table = scores([EVEN] * 3 + [BAD] * 3).table()
    assert sum(" - " in line for line in table.splitlines()) == 5
    assert "6 of 15 pairs do not differ significantly" in table


def test_the_data_contain_every_pair_and_the_choice():
    data = json.loads(json.dumps(scores([EVEN, WAVY, BAD]).to_data(), allow_nan=False))
    assert data["chosen"] == 0
    assert [(p["first"], p["second"], p["cer"]["clear"]) for p in data["pairs"]] == [
        (0, 1, False),
        (0, 2, True),
        (1, 2, True),
    ]
    assert data["pairs"][1]["wer"]["difference"] == pytest.approx(-0.4)
    assert data["pairs"][1]["cer"]["high"] < 0
    assert data["seeds"][2]["wer"]["rate"] == 0.6
    assert {"mean", "low", "high", "deviation"} == set(data["cer"])
