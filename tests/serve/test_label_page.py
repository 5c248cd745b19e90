"""The views Label and Train in a browser: keyboard only, conflicts, undo, suggestions of a new recogniser."""

import httpx
import pytest
from tests.serve.chromium import in_browser, launched, opened
from tests.serve.page_checks import CONTRAST, HIDDEN, PRESS
from tests.serve.projects import finished_round, ordered, project_server, untranscribed, wait_for

from sori.data.manifest import read_manifest
from sori.serve.label_store import SKIPPED, TRANSCRIPTS

pytestmark = in_browser


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def project(prepared_tones, tmp_path):
    folder = tmp_path / "project"
    rows = read_manifest(untranscribed(prepared_tones, folder / "prepared"))
    ordered(folder, [u.id for pair in zip(rows[:8], rows[8:16], rows[16:], strict=True) for u in pair])
    return folder


@pytest.fixture(scope="module")
def texts(prepared_tones):
    return {u.id: u.text for u in read_manifest(prepared_tones)}


def heading(page):
    return page.evaluate("document.querySelector('.label-about')?.textContent") or ""


def shown(page):
    """Return the id of the utterance that is shown, once its sound is loaded."""
    wait_for(lambda: page.evaluate("document.querySelector('.label-time')?.textContent"))
    return heading(page).split(" · ")[1]


def stored(folder, table=TRANSCRIPTS, column=6):
    lines = (folder / table).read_text().splitlines()[1:] if (folder / table).is_file() else []
    return {line.split("\t")[0]: line.split("\t")[column] for line in lines}


def type_next(page, texts):
    """Transcribe what is shown, with the keyboard; return its id once the next one is shown."""
    name = shown(page)
    page.keyboard.press("Control+a")
    page.keyboard.type(texts[name])
    page.keyboard.press("Enter")
    wait_for(lambda: name not in heading(page))
    return name


def press_until(page, selector, key="Tab", most=60):
    """Press a key until an element has the focus."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{selector} cannot be reached with the keyboard")


def test_five_utterances_are_labelled_and_the_suggestions_come_from_the_new_recogniser(browser, project, texts):
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        done = [type_next(page, texts) for _ in range(5)]
        assert stored(project) == {name: texts[name] for name in done}
        assert "5 utterances" in page.locator("#label-done").inner_text()
        press_until(page, "a[data-view=train]", "Shift+Tab")
        page.keyboard.press("Enter")
        page.locator(".train-choices").wait_for()
        press_until(page, "#train-length")
        page.keyboard.type("check")
        press_until(page, "button.main")
        page.keyboard.press("Enter")
        page.get_by_text("Round 1 is training").wait_for()
        page.get_by_text("Round 1 is finished").wait_for(timeout=240_000)
        page.get_by_text("1, in use").wait_for(timeout=60_000)
        assert "After" in page.locator(".train-verdict").inner_text()
        press_until(page, "a[data-view=label]", "Shift+Tab")
        page.keyboard.press("Enter")
        page.get_by_text("round 1 suggests").wait_for()
        name = shown(page)
        asked = httpx.get(f"{server.url}/api/labels/suggestion", params={"id": name}, timeout=60).json()
        assert page.locator(".label-guess").inner_text() == f"round 1 suggests: {asked['text']}"
        usable = asked["cer"] < 0.5  # a worse text is not put in the field
        assert page.locator("#label-text").input_value() == (asked["text"] if usable else "")
        page.keyboard.press("Alt+g")
        assert page.locator("#label-text").input_value() == asked["text"] != ""
        assert not found.foreign()
        assert not found.problems


def test_keys_play_insert_skip_and_undo(browser, project):
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        httpx.post(f"{server.url}/api/labels/characters", json={"characters": "ŋé"}, timeout=60)
        page.reload()
        first = shown(page)
        for key, name in (("l", "Loop"), ("s", "Slow")):
            page.keyboard.press(f"Alt+{key}")
            assert page.get_by_role("button", name=name).get_attribute("aria-pressed") == "true"
        page.keyboard.press("Control+Space")
        page.keyboard.press("Alt+2")
        page.keyboard.press("Alt+1")
        assert page.locator("#label-text").input_value() == "éŋ"
        page.keyboard.press("Enter")
        wait_for(lambda: first not in heading(page))
        assert stored(project) == {first: "éŋ"}
        second = shown(page)
        assert not page.get_by_role("button", name="Skip it").is_visible()
        page.keyboard.press("Alt+k")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        wait_for(lambda: second not in heading(page))
        assert stored(project, SKIPPED, 1) == {second: "no speech"}
        for undone in (second, first):
            page.keyboard.press("Alt+u")
            wait_for(lambda undone=undone: undone in heading(page) and page.locator("#label-text").is_enabled())
            page.wait_for_timeout(300)
        assert stored(project) == stored(project, SKIPPED, 1) == {}
        page.keyboard.press("Enter")
        assert "is empty" in page.locator(".label-card .error").inner_text()
        assert not found.problems


def test_a_key_that_ends_a_composition_does_not_save(browser, project):
    # In Safari that key comes after the composition; only its code tells.
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        name = shown(page)
        page.keyboard.type("소리")
        page.evaluate(PRESS, {"key": "Enter", "keyCode": 229})
        page.wait_for_timeout(500)
        assert stored(project) == {}
        page.evaluate(PRESS, {"key": "Enter", "keyCode": 13})
        wait_for(lambda: stored(project) == {name: "소리"})
        assert not found.problems


def test_keyboards_on_the_screen_have_the_shortcuts_too(browser, project):
    # They tell the character of a key, but not its place.
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        shown(page)
        page.evaluate(PRESS, {"key": "l", "altKey": True})
        assert page.get_by_role("button", name="Loop").get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="Pause").wait_for()
        page.evaluate(PRESS, {"key": "p", "altKey": True})
        page.get_by_role("button", name="Play").wait_for()
        assert not found.problems


def test_a_text_of_another_window_is_shown_and_not_overwritten(browser, project):
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        name = shown(page)
        data = {"id": name, "version": 0, "text": "<b>theirs</b>"}
        assert httpx.post(f"{server.url}/api/labels", json=data, timeout=60).status_code == 200
        page.keyboard.type("mine")
        page.keyboard.press("Enter")
        box = page.locator(".label-conflict")
        box.wait_for()
        assert "<b>theirs</b>" in box.inner_text()
        assert "mine" in box.inner_text()
        assert stored(project) == {name: "<b>theirs</b>"}
        page.get_by_role("button", name="Save mine instead").press("Enter")
        wait_for(lambda: stored(project) == {name: "mine"})
        found.problems[:] = [one for one in found.problems if "409" not in one]  # the browser notes the answer
        assert not found.problems


def test_what_was_typed_is_kept_while_another_utterance_is_edited_and_the_page_reloaded(browser, project, texts):
    with project_server(project) as server, opened(browser, server) as found:
        page = found.page
        first = type_next(page, texts)
        second = shown(page)
        page.keyboard.type("half a sen")
        page.get_by_role("button", name=f"Edit {first}").click()
        wait_for(lambda: first in heading(page))
        assert page.locator("#label-text").input_value() == texts[first]
        page.keyboard.press("Control+a")
        page.keyboard.type("other words")
        page.keyboard.press("Enter")
        wait_for(lambda: second in heading(page))
        assert stored(project) == {first: "other words"}
        assert page.locator("#label-text").input_value() == "half a sen"
        page.reload()
        assert shown(page) == second
        assert page.locator("#label-text").input_value() == "half a sen"


def test_two_windows_get_different_utterances(browser, project):
    with project_server(project) as server, opened(browser, server) as found:
        other = found.page.context.new_page()
        other.goto(f"{server.url}/#label")
        assert shown(found.page) != shown(other)


def test_a_view_that_is_left_before_it_has_loaded_does_not_react_to_keys(browser, project):
    count = """for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const original = document[name];
        document[name] = function (kind, ...rest) {
            if (kind === "keydown") window.keydowns = (window.keydowns ?? 0) + step;
            return original.call(this, kind, ...rest);
        };
    }"""
    with project_server(project) as server, opened(browser, server, fragment="#train") as found:
        page = found.page
        page.add_init_script(count)
        page.reload()
        page.locator(".train-choices").wait_for()
        page.route("**/api/labels/next", lambda route: (page.wait_for_timeout(500), route.continue_()))
        page.locator("a[data-view=label]").click()
        wait_for(lambda: page.evaluate("window.keydowns") == 1)
        page.locator("a[data-view=train]").click()
        wait_for(lambda: page.evaluate("window.keydowns") == 0)
        page.locator(".train-choices").wait_for()
        assert not found.problems


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", ["label", "train"])
def test_texts_have_contrast(browser, project, texts, view, dark):
    for number, minutes, errors in ((1, 5.0, 32), (2, 10.0, 12)):
        finished_round(project / "rounds", number, minutes, errors)
    with project_server(project) as server, opened(browser, server, dark=dark, fragment=f"#{view}") as found:
        page = found.page
        if view == "train":
            page.locator(".chart").first.wait_for()
        else:
            httpx.post(f"{server.url}/api/labels/characters", json={"characters": "ŋé"}, timeout=60)
            type_next(page, texts)
            page.locator("summary").first.click()
            page.keyboard.press("Alt+l")
            page.evaluate("document.querySelector('.label-card .error').textContent = 'a problem'")
        assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("view", ["label", "train"])
def test_every_control_has_a_name_and_fits_a_telephone(browser, project, view):
    for number, minutes, errors in ((1, 5.0, 32), (2, 10.0, 12)):
        finished_round(project / "rounds", number, minutes, errors)
    with project_server(project) as server, opened(browser, server, size=(390, 844), fragment=f"#{view}") as found:
        page = found.page
        page.locator(".chart" if view == "train" else ".label-time").first.wait_for()
        nameless = page.evaluate(
            "() => [...document.querySelectorAll('button, input, select, textarea, canvas, svg')].filter(one => "
            "!(one.ariaLabel || one.labels?.length || one.textContent.trim())).map(one => one.outerHTML)"
        )
        assert not nameless
        assert page.evaluate(HIDDEN) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
