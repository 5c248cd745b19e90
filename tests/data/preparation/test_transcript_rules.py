"""Conventions of annotators are found, counted and mapped, and never learnt as words unnoticed."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sori.data.manifest import read_manifest
from sori.data.preparation.prepare import prepare
from sori.data.preparation.transcript_rules import BUILT_IN, Rules, apply_rules, read_rules
from sori.data.sources.reading import Reading
from sori.data.sources.recordings import Item

ROOT = Path(__file__).parents[3]


def applied(text, rules=None):
    items = [Item("a", "a.wav", text=text)]
    tagged = apply_rules(items, rules or read_rules(None))
    changed = items[0].text
    return (None if changed is None else " ".join(changed.split())), sorted(
        tag.text for tag in tagged.counts.elements()
    )


@pytest.mark.parametrize(
    ("text", "expected", "tags"),
    [
        ("[laughs] zero <noise> one", "zero one", ["<noise>", "[laughs]"]),
        ("I {breath} see [door slams] you", "I see you", ["[door slams]", "{breath}"]),
        ("so (laughs loudly) it", "so it", ["(laughs loudly)"]),
        ("the king (Henry) said", "the king Henry said", ["(Henry)"]),
        ("((maybe)) not (be)cause", "maybe not because", ["((maybe))", "(be)"]),
        ("&uh yes &-um &+wor word &=coughs", "uh yes um wor word", ["&+wor", "&-um", "&=coughs", "&uh"]),
        ("he wor- worked", "he wor- worked", ["wor-"]),
        ("he xxx there", None, ["xxx"]),
        ("he (unclear) there", None, ["(unclear)"]),
        ("he [inaudible 00:12] there", None, ["[inaudible 00:12]"]),
        ("a <unk> b", None, ["<unk>"]),
        ("what [?] now", None, ["[?]"]),
        ("the dog [//] the cat", "the dog the cat", ["[//]"]),
    ],
)
def test_built_in_rules(text, expected, tags):
    assert applied(text) == (expected, tags)


@pytest.mark.parametrize(
    "text",
    [
        "Chapter XXX, AT&T and R&B &amp; more",
        "I <3 you, 2 < 3 and 5 > 4",
        "well-known mother-in-law",
        "see www.example.org",
        "naïve l'été \u2013 oui",
        "မြန်မာ ဘာသာ",
        "عربي فارسی",
    ],
)
def test_ordinary_text_is_untouched(text):
    assert applied(text) == (" ".join(text.split()), [])


def test_rules_of_the_user(tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nname = "laughs"\npattern = "\\\\[laughs\\\\]"\naction = "untranscribed"\n')
    assert applied("[laughs] zero", read_rules(rules)) == (None, ["[laughs]"])
    assert applied("[noise] zero", read_rules(rules)) == ("[noise] zero", [])
    assert applied("[noise] zero", Rules()) == ("[noise] zero", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[rule]\n", "is not readable as TOML"),
        ('[[rule]]\nname = "a"\npattern = "("\naction = "keep"\n', "rule 'a': the pattern is not a regular expression"),
        ('[[rule]]\nname = "a"\npattern = "x"\naction = "unwrap"\n', r"rule 'a': expected \(\?P<kept>"),
        ('[[rule]]\nname = "a"\npattern = "x"\naction = "drop"\n', "action"),
        ('[[rules]]\nname = "a"\n', "rules"),
    ],
)
def test_rules_that_cannot_be_read_say_why(tmp_path, content, message):
    (tmp_path / "rules.toml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_rules(tmp_path / "rules.toml")


def test_the_report_lists_what_was_found(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed, (name, text) in enumerate({"a": "[laughs] zero [laughs]", "b": "one xxx", "c": "two"}.items()):
        soundfile.write(folder / f"{name}.wav", 0.1 * np.random.default_rng(seed).standard_normal(16_000), 16_000)
        (folder / f"{name}.txt").write_text(text)
    prepare(folder, tmp_path / "out", num_workers=1)
    assert [u.text for u in read_manifest(tmp_path / "out")] == ["zero", None, "two"]
    flags = [json.loads(line) for line in (tmp_path / "out/flagged.jsonl").read_text().splitlines()]
    assert [(row["id"], row["warning"], row["detail"]) for row in flags] == [
        ("a", "annotation tags", "[laughs] (removed)"),
        ("b", "annotation tags", "xxx (untranscribed)"),
    ]
    report = (tmp_path / "out/report.md").read_text()
    assert "| square brackets | remove | 2 | `[laughs]` 2 |" in report
    assert "| unintelligible speech | untranscribed | 1 | `xxx` 1 |" in report
    (tmp_path / "rules.toml").write_text("")
    prepare(folder, tmp_path / "o2", num_workers=1, reading=Reading(transcript_rules=tmp_path / "rules.toml"))
    assert [u.text for u in read_manifest(tmp_path / "o2")] == ["[laughs] zero [laughs]", "one xxx", "two"]


def test_the_built_in_rules_are_documented():
    assert BUILT_IN.read_text(encoding="utf-8") in (ROOT / "docs/prepare-annotations.md").read_text(encoding="utf-8")
