"""The unit explorer: its content, its size, and its behaviour in a browser without network."""

import html
import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch
from tests.serve.chromium import in_browser, launched

from sori.core.files import write_text
from sori.plots.units_page import Example, Explored, UnitView, compressed, page

SECONDS = 0.44


def sound(number):
    """A tone whose pitch says which example it is, the middle louder."""
    time = torch.arange(round(SECONDS * 16_000)) / 16_000
    loud = torch.where((time - SECONDS / 2).abs() < 0.02, 0.8, 0.2)
    return loud * torch.sin(2 * torch.pi * (300 + 40 * number) * time)


def explored(num=6, *, sizes=(3, 2)):
    """A small inventory: combinations of three entries and two, the last one unused; names that look like tags."""
    rng = np.random.default_rng(0)
    combinations = [(a, b) for a in range(sizes[0]) for b in range(sizes[1])][:-1]
    views, members = [], [combinations, [(a,) for a in range(sizes[0])], [(b,) for b in range(sizes[1])]]
    for place, entries in enumerate(members):
        count = len(entries)
        stretches = rng.integers(5, 50, count)
        views.append(
            UnitView(
                ("combinations", "entries of group 1", "entries of group 2")[place],
                "A unit is & so on.",
                ["-".join(map(str, one)) for one in entries],
                stretches * 2,
                stretches,
                [[(-1, 3), ((row + 1) % count, 2)] for row in range(count)],
                [[((row + 1) % count, 4)] for row in range(count)],
                rng.integers(0, 9, (count, 3)) + 30 * (np.arange(count)[:, None] % 3 == np.arange(3)),
                rng.integers(1, 9, (count, 2)),
                rng.integers(1, 9, (count, 2)),
                rng.normal(size=(count, 4)).astype(np.float32),
                count + 1,
                [] if place == 0 else ["unused <i>"],
            )
        )
    examples = []
    for number in range(num):
        a, b = combinations[number % len(combinations)]
        rows = (number % len(combinations), a, b if number else -1)
        one = Example(
            f"u{number}<b>",
            "s<1>" if number < 10 else "two",
            "eng",
            rows,
            0.2,
            0.24,
            1.5,
            [("</script><script>fail()", True)],
        )
        examples.append(one)
    facts = [("5", "units <of>")]
    names = (["a&", "b", "silence"], ["s<1>", "two"], ["eng", "mdw"])
    return Explored("Units <of> x", ["Notes & text."], facts, 0.02, views, *names, 8, examples, sound)


def data_of(text):
    return json.loads(re.search(r"id=data>(.*?)</script>", text, re.DOTALL)[1])


def test_the_page_has_everything_and_requests_nothing():
    one = explored()
    text = page(one)
    data = data_of(text)
    bare = text.replace(re.search(r"id=data>(.*?)</script>", text, re.DOTALL)[1], "")
    bare = re.sub(r"^\s*// .*$", "", bare, flags=re.MULTILINE)
    for address in ("http", "//", "url(", "@import", "<link", "fetch(", "XMLHttpRequest", "WebSocket", "import("):
        assert address not in bare
    assert text.count("<script") == 2
    assert html.escape(one.title) in text
    assert one.title not in text
    for view, given in zip(data["views"], one.views, strict=True):
        assert view["labels"] == given.labels
        assert view["num_frames"] == given.num_frames.tolist()
        assert view["labelled"] == given.phones.sum(1).tolist()
        for row, listed in enumerate(view["phones"]):
            counts = given.phones[row]
            assert listed == [[p, counts[p]] for p in sorted(range(3), key=lambda p: -counts[p]) if counts[p]]
        # Nearest entries by cosine, one by one.
        for row, near in enumerate(view["near"]):
            cosines = [np.dot(v, given.vectors[row]) / np.linalg.norm(v) for v in given.vectors]
            cosines = np.array(cosines) / np.linalg.norm(given.vectors[row])
            order = [r for r in np.argsort(-cosines).tolist() if r != row]
            assert [r for r, _ in near] == order
            np.testing.assert_allclose([c / 1000 for _, c in near], cosines[order], atol=6e-4)


@pytest.mark.parametrize("megabytes", [0.04, 0.05, 0.06, 8.0])
def test_the_size_is_bounded_and_used(megabytes):
    one = explored(30)
    text = page(one, megabytes=megabytes)
    kept = len(data_of(text)["examples"])
    size, largest = len(text.encode()), max(len(json.dumps(e)) for e in data_of(text)["examples"])
    assert size <= megabytes * 1e6
    assert kept == 30 or size > megabytes * 1e6 - largest - 100
    assert f"{kept} examples have audio" in text
    assert ("did not fit" in text) == (kept < 30)
    assert [e["utterance"] for e in data_of(text)["examples"]] == [f"u{n}<b>" for n in range(kept)]
    with pytest.raises(ValueError, match="without any audio for 5 units; allow more"):
        page(one, megabytes=0.01)


def test_clips_are_small_and_decoded_without_a_shift():
    clip = sound(3)
    coded = compressed(clip)
    assert len(coded) < 3_500
    decoded, rate = soundfile.read(io.BytesIO(coded), dtype="float32")
    assert rate == 16_000
    assert len(decoded) == len(clip)
    assert np.corrcoef(decoded, clip.numpy())[0, 1] > 0.98


def test_half_of_a_surrogate_pair_in_a_name_is_no_obstacle(tmp_path):
    one = explored()
    made = page(one._replace(examples=[one.examples[0]._replace(utterance="\ud83d")]))
    write_text(tmp_path / "page.html", made)
    assert '"\\ud83d"' in (tmp_path / "page.html").read_text(encoding="utf-8")  # an escape of JSON


@pytest.fixture(scope="module")
def chromium():
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(chromium, tmp_path, request):
    width, dark = getattr(request, "param", (1280, False))
    (tmp_path / "page.html").write_text(page(explored(12)), encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    tab.seen, tab.problems = [], []
    tab.on("request", lambda request: tab.seen.append(request.url))
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and tab.problems.append(message.text))
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_function("window.explorer")
    yield tab
    assert tab.problems == []
    assert [url for url in tab.seen if not url.startswith(("file:", "data:"))] == []
    context.close()


def heading(tab):
    return tab.locator("#unit-name").inner_text()


@in_browser
def test_a_click_plays_the_examples_one_after_the_other(opened):
    labels = opened.evaluate("explorer.views[0].labels")
    opened.evaluate("window.played = []; player.addEventListener('playing', () => played.push(player.src))")
    opened.locator("#units button").nth(1).click()
    row = opened.evaluate("explorer.chosen()")
    assert heading(opened) == f"Unit {labels[row]}"
    numbers = opened.evaluate(f"explorer.views[0].examples[{row}]")
    assert numbers == [n for n in range(12) if n % 5 == row]
    opened.wait_for_function(f"played.length === {len(numbers)} && !explorer.playing()")
    sources = opened.evaluate("played")
    data = opened.evaluate("JSON.parse(document.getElementById('data').textContent)")
    assert sources == [f"data:audio/mpeg;base64,{data['examples'][n]['sound']}" for n in numbers]
    for number in numbers:  # as the browser decodes them: the recording, not shifted
        decoded = np.array(opened.evaluate(f"explorer.decoded({number}).then(x => Array.from(x))"))
        wanted = sound(number).numpy()
        assert len(decoded) == len(wanted)
        assert np.corrcoef(decoded, wanted)[0, 1] > 0.98
    # The names are text, never tags.
    assert "</script><script>fail()" in opened.locator("#examples .phones").first.inner_text()
    assert opened.locator("#examples i, #unit script").count() == 0


@in_browser
def test_search_order_views_and_links(opened):
    view = explored(12).views[0]
    purity = view.phones.max(1) / view.phones.sum(1)

    def listed():
        return [
            text.split()[1].rstrip(",")
            for text in opened.evaluate("[...document.querySelectorAll('#units button')].map(one => one.ariaLabel)")
        ]

    by_frames = [view.labels[row] for row in np.argsort(-view.num_frames, kind="stable")]
    assert listed() == by_frames
    opened.select_option("#order", "purity")
    assert listed() == [view.labels[row] for row in np.argsort(-purity, kind="stable")]
    opened.select_option("#order", "number")
    assert listed() == view.labels
    for wanted, found in (("1", ["0-1", "1-0", "1-1"]), ("2-", ["2-0"]), ("0-1", ["0-1"]), ("x", [])):
        opened.fill("#search", wanted)
        assert listed() == found
    opened.fill("#search", "A&")
    often = view.phones[:, 0] / view.phones.sum(1) >= 0.1
    assert listed() == [label for label, is_often in zip(view.labels, often, strict=True) if is_often]
    opened.fill("#search", "")
    assert "1 of 6 do not occur" in opened.locator("#unused summary").inner_text()
    # A unit beside this one is a link to it.
    opened.locator("#units button").first.click()
    opened.locator(".rows button", has_text="0-1").first.click()
    assert heading(opened) == "Unit 0-1"
    opened.select_option("#view", "1")
    assert listed() == ["0", "1", "2"]
    assert opened.evaluate("explorer.views[2].examples.flat().includes(0)") is False  # no random example of the entry
    assert "unused <i>" in opened.locator("#unused").text_content()


@in_browser
def test_keys_choose_play_and_stop(opened):
    opened.focus("#search")
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.dataset.row") == str(opened.evaluate("explorer.chosen()"))
    rows = opened.evaluate("[...document.querySelectorAll('#units button')].map(one => Number(one.dataset.row))")
    for key, place in (("ArrowDown", 1), ("End", 4), ("ArrowUp", 3), ("Home", 0)):
        opened.keyboard.press(key)
        assert opened.evaluate("explorer.chosen()") == rows[place]
        assert opened.evaluate("document.activeElement.dataset.row") == str(rows[place])
        assert not opened.evaluate("explorer.playing()")
    opened.keyboard.press("Enter")
    assert opened.evaluate("explorer.playing()")
    opened.keyboard.press("Escape")
    assert not opened.evaluate("explorer.playing()")
    # The list is one stop of the Tab key; the next is the unit.
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == "play-all"


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, x, i) => sum + x * linear(colour[i] / 255), 0);
  const behind = (one) => { for (let at = one; at; at = at.parentElement) {
    const colour = rgb(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour; } };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || ["SCRIPT", "OPTION", "SELECT"].includes(one.tagName)) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([one.tagName, one.textContent.slice(0, 30), ratio]);
  }
  return found;
}"""


@pytest.mark.parametrize("opened", [(390, False), (390, True), (1280, True)], indirect=True)
@in_browser
def test_contrast_names_and_small_screens(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate(CONTRAST) == []
    names = opened.evaluate(
        """[...document.querySelectorAll('button, select, input')].filter(one => one.checkVisibility())
        .map(one => one.ariaLabel || one.textContent || (one.labels && one.labels[0]?.textContent))"""
    )
    assert all(name and name.strip() for name in names)
