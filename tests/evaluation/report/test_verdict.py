from sori.evaluation.error_rate import Difference
from sori.evaluation.report.verdict import caution, verdict


def found(value, low, high, *, first=0.3, better=0.9, worse=0.1):
    relative = (value / (first - value), 0.0, 0.0)
    return Difference(first, first - value, (value, low, high), relative, better, worse)


def test_a_clear_difference_names_the_better_one():
    result = verdict(
        found(-0.1, -0.15, -0.05, better=1.0, worse=0.0), what="word", names=("A", "B"), drawn="9 speakers"
    )
    assert result.headline == "A makes 25.0% fewer word errors than B."
    assert "-10.00 percentage points (95 % interval -15.00 to -5.00)" in result.detail
    assert "A makes fewer errors in every draw, B in no draw" in result.detail
    assert verdict(found(0.1, 0.05, 0.15), what="word", names=("A", "B"), drawn="").headline.startswith("B makes 33.3%")


def test_an_interval_with_zero_decides_nothing():
    for value, low, high in ((-0.1, -0.2, 0.0), (0.1, -0.1, 0.2)):
        result = verdict(found(value, low, high), what="character", names=("A", "B"), drawn="40 speakers")
        assert result.headline == "A and B do not differ significantly in their character errors."
        assert "contains zero" in result.detail
        assert "A makes fewer errors in 90.0% of the draws, B in 10.0% of the draws" in result.detail


def test_few_speakers_call_for_caution():
    assert "only 3 speakers" in str(caution("speakers", 3))
    assert "not over other speakers" in str(caution("utterances", 300))
    assert caution("speakers", 40) is None
