import base64
import io
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import soundfile
from tests.reference.published import RECOGNISERS, paths

from sori.checkpoints import store
from sori.data.manifest import Utterance
from sori.evaluation.report import scores
from sori.evaluation.report.error_page import page
from sori.evaluation.report.utterance_table import NUM_SPREAD, NUM_WORST, audible


class Outline(HTMLParser):
    """Collect unclosed tags, addresses, and the cells of every table."""

    VOID = ("meta", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.unmatched, self.addresses, self.tables, self.articles = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href", "srcset", "action"}]
        if tag not in self.VOID:
            self.open.append(tag)
        match tag:
            case "table":
                self.tables.append([])
            case "tr":
                self.tables[-1].append([])
            case "td" | "th":
                self.tables[-1][-1].append("")
            case "article":
                self.articles.append(dict(attrs) | {"text": ""})

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unmatched.append(tag)

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data
        if "article" in self.open:
            self.articles[-1]["text"] += data


def texts(path, *lines):
    path.write_text("".join(f"{key}\t{text}\n" for key, text in lines), encoding="utf-8")
    return path


@pytest.fixture
def nasty(tmp_path):
    evil = "<script>alert(1)</script>"
    reference = texts(tmp_path / "r.tsv", ("a-<1>", f"one {evil} two"), ("b&-2", "three"), ("b&-3", ""))
    first = texts(tmp_path / "<b>h.tsv", ("a-<1>", "one two"), ("b&-2", f'{evil} "three"'), ("b&-3", "x</article>"))
    second = texts(tmp_path / "k.tsv", ("a-<1>", f"one {evil} too"), ("b&-2", "three"), ("b&-3", ""))
    return reference, first, second


@pytest.mark.parametrize("two", [False, True])
def test_what_utterances_contain_stays_text(nasty, two):
    reference, first, second = nasty
    made = page(scores.score(reference, first, against=second if two else None, speaker_of="^[^-]+"))
    outline = Outline(made)
    assert (outline.unmatched, outline.open) == ([], [])
    assert made.count("<script>") == 1
    assert "&lt;script&gt;" in made
    assert len(outline.articles) == 3
    assert "<1>" in "".join(one["text"] for one in outline.articles)
    assert "empty" in next(one["text"] for one in outline.articles if "b&-3" in one["text"])


def test_nothing_is_fetched(nasty):
    made = page(scores.score(*nasty[:2]))
    assert "http" not in made
    assert "@import" not in made
    assert "url(" not in made.replace("url(#", "")
    assert all(address.startswith(("data:", "#")) for address in Outline(made).addresses)
    for reader in ("prefers-color-scheme: dark", "width=device-width"):
        assert reader in made


@pytest.mark.slow
def test_counts_on_the_page_are_those_of_the_table(data_dir):
    reference, one, _ = paths(data_dir, RECOGNISERS[0])
    _, other, _ = paths(data_dir, RECOGNISERS[2])
    found = scores.score(reference, one, against=other, speaker_of="^[^-]+")
    made = page(found)
    assert len(made) < 3_000_000
    outline = Outline(made)
    rates = {(row[0], row[1]): row[2:] for row in outline.tables[0][1:]}
    for label, report in zip("AB", found.reports, strict=True):
        edits = report.wer.edits
        assert rates[label, "WER"][2] == f"{edits.errors:,}"
        kinds = (edits.substitutions, edits.insertions, edits.deletions)
        assert rates[label, "WER"][4:] == [f"{number:,}" for number in kinds]
        assert rates[label, "WER"][0] == f"{edits.rate:.2%}"
    # every error is marked in the text, and every utterance has its counts
    parts = re.findall(r"<dt class=(first|second)>.*?</dd>", made)
    assert len(parts) == 2 * 2620
    for kind, report in zip(("first", "second"), found.reports, strict=True):
        lines = re.findall(rf"<dt class={kind}>.*?</dd>", made)
        marks = [
            sum(line.count(mark) for line in lines)
            for mark in ("<ruby class=wrong", "<span class=extra", "class=missing")
        ]
        edits = report.wer.edits
        assert marks == [edits.substitutions, edits.insertions, edits.deletions]
    assert sum(int(one["data-wrong"]) for one in outline.articles) == sum(r.wer.edits.errors for r in found.reports)
    gaps = [int(one["data-gap"]) for one in outline.articles]
    assert f"A better {sum(gap < 0 for gap in gaps):,}<" in made
    assert f"B better {sum(gap > 0 for gap in gaps):,}<" in made
    worst = [float(one["data-worst"]) for one in outline.articles]
    assert worst == sorted(worst, reverse=True)
    assert "B makes" in made


def test_equal_systems_do_not_differ(nasty):
    made = page(scores.score(nasty[0], nasty[1], against=nasty[1], speaker_of="^[^-]+"))
    assert made.count("do not differ significantly") == 2
    assert "only 2 speakers" in made


def utterance(name, seconds):
    return Utterance(name, "x.wav", 0.0, int(16_000 * seconds), "a", None, None, None)


def test_the_worst_and_some_others_have_audio():
    recordings = [utterance(str(n), 6.0) for n in range(500)]
    order = list(range(499, -1, -1))
    chosen = audible(recordings, order, minutes=100.0)
    assert len(chosen) == NUM_WORST + NUM_SPREAD
    assert set(order[:NUM_WORST]) <= chosen
    others = sorted(chosen - set(order[:NUM_WORST]))
    assert max(b - a for a, b in pairwise(others)) < 2 * 440 / NUM_SPREAD
    assert audible(recordings, order, minutes=0.5) == set(order[:5])
    assert audible(recordings[:9], order[-9:], minutes=1.0) == set(range(9))
    recordings[499] = utterance("long", 100.0)
    assert 499 not in audible(recordings, order, minutes=0.5)
    assert audible((), order, minutes=1.0) == set()


def test_recognisers_beside_each_other(recogniser_run, prepared_tones):
    system = store.load(recogniser_run)
    found = scores.evaluate([("x/one", system, None), ("y/two", system, None)], data=prepared_tones, split="test")
    assert found.names == ("one", "two")
    assert [one.id for one in found.recordings] == list(found.ids)
    made = page(found)
    players = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', made)
    assert len(players) == len(found.ids) == 8
    assert "All utterances have audio" in made
    worst = Outline(made).articles[0]
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(players[0])))
    length = found.recordings[int(worst["data-number"])].duration_seconds
    assert math.isclose(len(decoded) / rate, length, abs_tol=0.15)
    silent = page(found, audio_minutes=0.0)
    assert "<audio" not in silent
    assert "0 of 8 have audio" in silent


def test_recognisers_that_spell_differently_are_normalised(recogniser_run, prepared_tones):
    system, loud = store.load(recogniser_run), store.load(recogniser_run)
    symbols = tuple(symbol if symbol.startswith("<") else symbol.upper() for symbol in loud.vocabulary.symbols)
    loud.vocabulary = loud.vocabulary.model_copy(update={"symbols": symbols, "case": "upper"})
    found = scores.evaluate([("one", system, None), ("loud", loud, None)], data=prepared_tones, split="test")
    assert "spell differently" in found.notes[0]
    assert found.reports[0] == found.reports[1]
    assert found.reports[0].wer.rate < 1
