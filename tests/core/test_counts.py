"""Amounts of commands: finite, from 0 to what makes sense, refused before anything is loaded."""

import pytest

from sori.core.counts import require_amount


@pytest.mark.parametrize("amount", [0.0, 0.5, 1e9])
def test_possible_amounts(amount):
    require_amount("--minutes", amount)


@pytest.mark.parametrize("amount", ["nan", "inf", "-inf", "-1", "1e300"])
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "model", "--data", "d", "--audio-minutes"],
        ["languages", "model", "--data", "d", "--minutes"],
        ["words", "evaluate", "model", "--min-seconds"],
        ["demo", "--minutes"],
        ["convert", "a", "b", "--tolerance"],
        ["plot", "projector", "a", "--audio-megabytes"],
    ],
    ids=lambda words: " ".join((words[0], words[-1])),
)
def test_impossible_amounts_are_refused_first(words, amount, call, tmp_path):
    code, out, err = call(*words[:-1], f"{words[-1]}={amount}")
    assert (code, out) == (2, "")
    assert f"expected {words[-1]} to be a number from 0 to " in err
    assert not list(tmp_path.iterdir())
