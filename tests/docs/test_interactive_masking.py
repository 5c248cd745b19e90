"""The interactive page on masking: its content, and its behaviour in a browser without network."""

import base64
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.plots import browser

from sori.models.wav2vec2 import Wav2Vec2
from sori.recipes import sizes

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
PAGE = FIGURES.parent / "article" / "interactive" / "masking.html"
in_browser = pytest.mark.skipif(browser.FOUND is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture
def figure(monkeypatch):
    """Import the script of the page."""
    monkeypatch.syspath_prepend(str(FIGURES))
    yield pytest.importorskip("interactive_masking")
    for name in ("interactive_masking", "style"):
        sys.modules.pop(name, None)


def content():
    text = PAGE.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers(text):
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8)


def test_the_page_is_that_of_its_results_small_and_without_addresses(figure, monkeypatch, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(figure, "_INTO", tmp_path / "masking.html")
    figure.build(figure.style.read_results(figure.NAME))
    assert (tmp_path / "masking.html").read_text(encoding="utf-8") == text, "run docs/figures/interactive_masking.py"
    assert len(text.encode()) < 900_000
    bare = re.sub(r'id="data">.*?</script>', "", text, flags=re.DOTALL)
    for address in ("http", "url(", "@import", "<link", "<img", "src=", "fetch(", "XMLHttpRequest", "import("):
        assert address not in bare, address
    assert "public domain" in text


def test_the_stored_shares_are_those_of_the_stored_predictions():
    data = content()
    first, truth, begin = numbers(data["first"]), np.array(data["units"]), 0
    assert numbers(data["mel"]).size == data["frames"] * data["mels"]
    assert numbers(data["spectra"]).size == len(data["codes"]) * data["mels"]
    for span, share in zip(data["spans"], data["found"], strict=True):
        inside = np.arange(data["frames"] - span + 1)[:, None] + np.arange(span)
        predicted = first[begin : begin + inside.size].reshape(inside.shape)
        assert (predicted == truth[inside]).mean() == pytest.approx(share, rel=1e-4)
        begin += inside.size
    assert begin == first.size == numbers(data["right"]).size
    right = first == np.concatenate(
        [truth[np.arange(data["frames"] - span + 1)[:, None] + np.arange(span)].ravel() for span in data["spans"]]
    )
    np.testing.assert_array_equal(numbers(data["right"])[right], numbers(data["sure"])[right])
    assert (numbers(data["sure"]) >= numbers(data["next"])).all()


def test_predictions_within_reach_equal_those_over_the_whole_utterance(figure, data_dir):
    torch.manual_seed(0)
    model = Wav2Vec2(sizes.tiny()).eval()
    one = figure.sentence(model, data_dir / "english-tiny" / "audio" / "1089-134691-0000.flac")
    cells = figure.grid(model, one, (3,))
    masked = torch.zeros(1, len(one.of_frame), dtype=torch.bool)
    masked[0, 60:63] = True
    with torch.inference_mode():
        probs = figure.predict(model, one, masked)[0, 60:63]
    torch.testing.assert_close(probs.sum(-1), torch.ones(3))
    np.testing.assert_allclose(cells["sure"].reshape(-1, 3)[60], probs.amax(-1), rtol=1e-3)
    there = probs[torch.arange(3), one.of_frame[60:63]]
    np.testing.assert_allclose(cells["right"].reshape(-1, 3)[60], there, rtol=1e-3)
    # What is hidden has no effect on the prediction, what is visible has.
    changed = one.frames.data.clone()
    changed[0, 61] += 1
    other = one._replace(frames=one.frames._replace(data=changed))
    with torch.inference_mode():
        torch.testing.assert_close(figure.predict(model, other, masked)[0, 60:63], probs)
        assert not torch.allclose(figure.predict(model, other, ~masked)[0, 60:63], probs, rtol=1e-3)


class Opened:
    """The page in the browser."""

    def __init__(self, one):
        self.one = one

    def open(self, search=""):
        self.one.call("Page.navigate", url=PAGE.resolve().as_uri() + search)
        until = time.monotonic() + 120
        while not self.one.run("document.readyState === 'complete' && !!window.masking"):
            assert time.monotonic() < until
            assert not self.one.errors(), self.one.errors()
            time.sleep(0.1)

    def state(self):
        return self.one.run("[masking.state.start, masking.data.spans[masking.state.span], masking.state.frame]")

    def x(self, frame, canvas="whole"):
        box = self.one.run(
            f"(b => [b.left, b.top, b.width, b.height])(document.getElementById('{canvas}').getBoundingClientRect())"
        )
        return box[0] + frame / self.one.run("masking.data.frames") * box[2], box[1] + 70

    def drag(self, begin, end):
        (left, y), (right, _) = self.x(begin), self.x(end)
        for kind, x in (("mousePressed", left), ("mouseMoved", (left + right) / 2), ("mouseMoved", right)):
            self.one.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.one.call("Input.dispatchMouseEvent", type="mouseReleased", x=right, y=y, button="left", clickCount=1)

    def text(self, name):
        return self.one.run(f"document.getElementById('{name}').textContent")


@in_browser
def test_drags_and_keys_move_the_mask_and_the_text_says_what_is_predicted(tmp_path):
    with browser.Browser(tmp_path / "profile") as one:
        page = Opened(one)
        page.open()
        page.drag(20, 39)  # a new mask; 19 frames are nearest to 20
        start, span, frame = page.state()
        assert (span, frame) == (20, start + 10)
        assert abs(start - 20) <= 1
        page.drag(start + 10, start + 60)  # moves it
        assert page.state()[0] == pytest.approx(start + 50, abs=1)
        start = page.state()[0]
        page.drag(start + 20, start + 31)  # its right edge
        assert page.state()[1] == 30
        assert page.state()[0] == pytest.approx(start, abs=1)
        one.run("document.getElementById('whole').focus()")
        start = page.state()[0]
        for key, wanted in (("ArrowRight", (start + 1, 30)), ("ArrowDown", (start + 1, 20)), ("Home", (0, 20))):
            one.key(key)
            assert tuple(page.state()[:2]) == wanted
        one.key("ArrowLeft")
        assert page.state()[0] == 0  # not beyond the beginning
        data = content()
        one.run("masking.set(100, masking.data.spans.indexOf(10), 104)")
        cell = 0
        for span in data["spans"][: data["spans"].index(10)]:
            cell += span * (data["frames"] - span + 1)
        cell += 100 * 10 + 4
        names = ["·".join(map(str, data["codes"][unit])) for unit in (data["units"][104], numbers(data["first"])[cell])]
        assert f"unit {names[0]} was there" in page.text("reading")
        assert f"Predicted: unit {names[1]}" in page.text("reading")
        assert f"{round(100 * int(numbers(data['sure'])[cell]) / 255)} %" in page.text("reading")
        right = (numbers(data["first"])[cell - 4 : cell + 6] == data["units"][100:110]).sum()
        assert page.text("summary").startswith(f"{right} of 10 ")
        one.run("document.getElementById('near').focus()")
        one.key("ArrowRight")
        assert page.state()[2] == 105
        assert one.errors() == []
        assert one.requested() == [PAGE.resolve().as_uri()]


@in_browser
def test_a_finger_draws_a_mask_on_a_phone_in_korean(tmp_path):
    with browser.Browser(tmp_path / "profile", dark=True) as one:
        one.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        page = Opened(one)
        page.open("?lang=ko")
        assert one.run("document.documentElement.lang") == "ko"
        assert "스펙트로그램" in one.run("document.body.innerText")
        assert one.run("document.documentElement.scrollWidth") <= 390
        one.run("document.getElementById('whole').scrollIntoView()")
        (left, y), (middle, _), (right, _) = page.x(150), page.x(170), page.x(199)
        one.touch([(left, y)], [(middle, y)], [(right, y)])
        assert page.state()[1] == 50
        assert page.state()[0] == pytest.approx(150, abs=2)
        one.run("document.querySelector('[data-language=en]').click()")
        assert one.run("document.documentElement.lang") == "en"
        assert one.errors() == []
