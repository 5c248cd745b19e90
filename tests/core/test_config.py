"""Configurations from YAML: errors name the file, and no file can take all memory."""

import pytest

from sori.core.config import Config


class Settings(Config):
    name: str = "a"
    values: tuple[int, ...] = ()
    scale: float = 1.0


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "mine.yaml is not readable as YAML: expected no aliases"),
        ("[" * 100_000, "mine.yaml is not readable as YAML: .*nested too deeply"),
        ("name: [", "mine.yaml is not readable as YAML"),
        ("nam: b", "unknown key; did you mean name"),
    ],
)
def test_what_is_no_configuration_is_refused_by_name(text, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Settings.from_yaml(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "text",
    ["[1", "{a: ", "*x", "'a", "a: b: c", "!!python/object:os.system x", "2020-13-41", "[" * 100_000, "9" * 5000],
    ids=lambda text: text[:12],
)
def test_an_option_that_is_no_value_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"^name: expected a value as in YAML, such as 3e-4") as raised:
        Settings().override({"name": text})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", ".inf", ".nan"])
def test_numbers_are_finite(number):
    with pytest.raises(ValueError, match=r"scale: Input should be a finite number"):
        Settings().override({"scale": number})
    with pytest.raises(ValueError, match=r"scale: Input should be a finite number"):
        Settings.from_data({"scale": float(number.removeprefix("."))}, origin="data")


def test_a_configuration_survives_yaml(tmp_path):
    (tmp_path / "mine.yaml").write_text(Settings(name="b", values=(1, 2)).to_yaml())
    assert Settings.from_yaml(tmp_path / "mine.yaml") == Settings(name="b", values=(1, 2))
