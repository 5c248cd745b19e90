"""JSON from anywhere: a value or a ValueError."""

import pytest

from sori.core.json_values import parsed_json


def test_values_are_those_of_json():
    assert parsed_json('{"a": [1, 2.5, null, "é"]}') == {"a": [1, 2.5, None, "é"]}
    assert parsed_json(b"[true]") == [True]


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a":' * 100_000, b"\xff\xfe\xfd"], ids=["empty", "cut", "lists", "maps", "bytes"]
)
def test_everything_else_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parsed_json(text)
