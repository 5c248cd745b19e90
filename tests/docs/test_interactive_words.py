"""The word projector of the article: its neighbours, and its behaviour in a browser, in both languages."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.plots import browser

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "article" / "interactive" / "words.html"
RESULTS = json.loads((DOCS / "figures" / "data" / "interactive_words.json").read_text(encoding="utf-8"))
in_browser = pytest.mark.skipif(browser.FOUND is None, reason="Chromium is not installed: apt-get install chromium")
VISIBLE_TEXTS = """(() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [node, parent] = [walker.currentNode, walker.currentNode.parentElement];
    if (parent.closest('script, style, #language, #label, #results span:first-child, #near span:first-child')) continue;
    if (node.data.trim() && parent.checkVisibility()) found.push(node.data.trim());
  }
  return found;
})()"""


def nearest(word, number):
    """Compute the neighbours of a word from the stored vectors, slowly."""
    whole = np.frombuffer(base64.b64decode(RESULTS["vectors"]), dtype=np.int8).reshape(-1, RESULTS["dim"]).astype(float)
    own = whole[RESULTS["words"].index(word)]
    cosines = [float(own @ row / np.sqrt((own @ own) * (row @ row))) for row in whole]
    order = sorted(range(len(whole)), key=lambda row: -cosines[row])
    return [(RESULTS["words"][row], cosines[row]) for row in order if RESULTS["words"][row] != word][:number]


def test_the_page_is_small_and_loads_nothing():
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.encode()) < 600_000
    assert "novels from 1810" in text
    bare = re.sub(r"<script type=\"application/json\" id=\w+>.*?</script>", "", text, flags=re.DOTALL)
    bare = re.sub(r"^\s*// .*$", "", bare, flags=re.MULTILINE)  # comments
    for address in ("http", "//", "url(", "@import", "<link", "fetch(", "XMLHttpRequest", "WebSocket", "import("):
        assert address not in bare


def test_the_vectors_group_days_and_relatives():
    days = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "morning"}
    assert {word for word, _ in nearest("mother", 4)} & {"father", "sister", "aunt", "daughter"}
    if "monday" in RESULTS["words"]:
        assert {word for word, _ in nearest("monday", 4)} <= days
    kinds = dict(zip(RESULTS["words"], RESULTS["kinds"], strict=True))
    assert [kinds[word] for word in ("france", "paris", "mother", "the")] == ["country", "city", "family", ""]


@in_browser
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_works_on_a_phone_in_both_languages(tmp_path, language):
    with browser.Browser(tmp_path / "profile", dark=language == "ko") as one:
        one.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
        one.open(PAGE, f"?lang={language}")
        assert one.run("document.documentElement.scrollWidth") <= 390
        search = "(s => { s.value = 'mother'; s.dispatchEvent(new Event('input')); s.focus(); })"
        one.run(f"{search}(document.getElementById('search'))")
        one.run("new Promise(done => setTimeout(done, 300))")
        one.key("Enter")
        assert one.run("document.getElementById('label').textContent") == "mother"
        listed = one.run(
            "[...document.querySelectorAll('#near button')].map(b => [...b.children].map(c => c.textContent))"
        )
        wanted = nearest("mother", 10)
        assert [word for word, _ in listed] == [word for word, _ in wanted]
        np.testing.assert_allclose([float(shown) for _, shown in listed], [cosine for _, cosine in wanted], atol=6e-4)
        one.run("document.getElementById('view').focus()")
        one.key("n")  # the next neighbour
        assert one.run("document.getElementById('label').textContent") == wanted[0][0]
        texts = one.run(VISIBLE_TEXTS)
        assert len(texts) > 20
        for text in texts:
            letters = re.sub(r"[\d.,~\s]|Word2Vec|skip-gram|-ly|-ing|Brown", "", text)
            assert not letters or bool(re.search("[가-힣]", text)) == (language == "ko"), text
        other = one.run("document.getElementById('language').getAttribute('href')")
        assert other == ("?lang=ko" if language == "en" else "?lang=en")
        assert one.run("document.documentElement.lang") == language
        assert one.errors() == []
        page, *requests = one.requested()
        assert page.startswith(PAGE.as_uri())
        assert all(url.startswith("data:") for url in requests)
