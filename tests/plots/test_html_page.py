import base64
import io
import re
from html.parser import HTMLParser

import pytest
import soundfile
import torch

from sori.plots import html_page, signal
from sori.plots.style import INK
from sori.text.edit_distance import align


class Outline(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.unmatched, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [value for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unmatched.append(tag)


@pytest.fixture(scope="module")
def whole():
    waveform = torch.sin(torch.arange(16_000) / 20) / 5
    rows = [("first <b>", "a & c"), ("second", "a <b>")]
    blocks = [
        html_page.heading("Heading <1>", level=1),
        html_page.paragraph("Words & words", soft=True),
        html_page.tiles([("12 %", "errors")]),
        html_page.table(["name", "value"], [["x<y", "1"]]),
        html_page.picture(signal.waveform(waveform), 'a "label" & more'),
        html_page.utterance(waveform, reference="a <b> c", rows=rows),
        html_page.code("sori demo < in"),
    ]
    return html_page.page("A <title>", blocks)


def test_every_tag_is_closed_and_text_is_escaped(whole):
    outline = Outline(whole)
    assert outline.unmatched == []
    assert outline.open == []
    assert "Heading &lt;1&gt;" in whole
    assert "sori demo &lt; in" in whole
    assert "x&lt;y" in whole


def test_nothing_is_fetched(whole):
    assert "http" not in whole
    assert "@import" not in whole
    for address in Outline(whole).attributes:
        assert address.startswith(("data:", "#"))


def test_drawings_take_the_colour_of_the_page(whole):
    drawing = re.search(r"<svg.*?</svg>", whole, re.DOTALL)[0]
    assert INK not in drawing
    assert "currentColor" in drawing
    assert "prefers-color-scheme: dark" in whole
    assert "width=device-width" in whole


def test_equal_figures_make_equal_drawings():
    waveform = torch.randn(8_000)
    assert html_page.svg(signal.waveform(waveform), label="x") == html_page.svg(signal.waveform(waveform), label="x")


def test_a_small_player_contains_the_audio():
    waveform = torch.sin(torch.arange(48_000) / 20) / 5
    player = html_page.audio(waveform, small=True)
    assert 'preload="none"' in player
    coded = base64.b64decode(re.search(r"data:audio/mpeg;base64,([^\"]+)", player)[1])
    assert len(coded) < 3 * 8_000
    decoded, _ = soundfile.read(io.BytesIO(coded), dtype="float32")
    middle = slice(16_000, 32_000)
    spectrum = torch.fft.rfft(torch.from_numpy(decoded)[middle]).abs()
    assert int(spectrum.argmax()) == round(16_000 / 20 / 2 / torch.pi)


def test_the_player_contains_the_audio():
    waveform = torch.sin(torch.arange(16_000) / 20) / 5
    data = re.search(r"base64,([^\"]+)", html_page.audio(waveform))[1]
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    assert rate == 16_000
    assert torch.allclose(torch.from_numpy(decoded), waveform * 0.8 / waveform.max(), atol=1e-4)


def test_errors_are_marked_by_kind():
    def marked_words(reference, hypothesis):
        return html_page.marked(align([reference.split()], [hypothesis.split()])[0])

    marked = marked_words("the big cat sat on it", "the cat <sat> on it too")
    assert marked.startswith("the <span class=missing")
    assert "<b>&lt;</b>sat<b>&gt;</b>" in marked
    assert "<sat>" not in marked
    assert "<rt>sat</rt>" in marked
    assert marked.endswith(">+too</span>")
    assert marked_words("a b", "a b") == "a b"
    assert "<ruby class=wrong>have<b>n</b><rt>have</rt></ruby>" in marked_words("i have", "i haven")
    assert "<ruby class=wrong>her<rt>them</rt></ruby>" in marked_words("them", "her")
