"""Language codes of corpora become ISO 639-3."""

import pytest

from sori.data.sources.language_codes import iso639_3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "eng"),
        ("sv-SE", "swe"),
        ("pa-IN", "pan"),
        ("fy-NL", "fry"),
        ("zh-CN", "cmn"),
        ("zh-TW", "cmn"),
        ("zh-HK", "yue"),
        ("cmn_hans_cn", "cmn"),
        ("yue_hant_hk", "yue"),
        ("rm-sursilv", "roh"),
        ("nan-tw", "nan"),
        ("hsb", "hsb"),
        ("DE", "deu"),
        ("dataset", None),
        ("xx", None),
        ("", None),
    ],
)
def test_codes(code, expected):
    assert iso639_3(code) == expected


def test_every_language_of_the_small_common_voice_has_a_code(data_dir):
    folders = [path.name for path in (data_dir / "common-voice-mini").iterdir() if path.is_dir()]
    assert len(folders) == 59
    assert all(len(iso639_3(name) or "") == 3 for name in folders)
