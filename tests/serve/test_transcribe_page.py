"""The view Transcribe in a browser: record, drop, listen, correct with the keyboard, export; no other host is used."""

import base64
import json
import re
from pathlib import Path

import pytest
import soundfile
from tests.serve.chromium import in_browser, launched, opened
from tests.serve.page_checks import CONTRAST, HIDDEN, PRESS, UNLABELLED
from tests.serve.projects import project_server, untranscribed

pytestmark = in_browser


@pytest.fixture(scope="module")
def browser(speech, tmp_path_factory):
    """A browser whose microphone records the words of a file, again and again."""
    file = tmp_path_factory.mktemp("microphone") / "voice.wav"
    samples, rate = soundfile.read(speech)
    soundfile.write(file, samples, rate, subtype="PCM_16")
    with launched(file) as found:
        yield found


DROP = """async ([name, data, folder]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def texts(page):
    return page.locator(".word").all_text_contents()


def drop(found, path, name=None):
    data = base64.b64encode(path.read_bytes()).decode()
    found.page.evaluate(DROP, [name or path.name, data, ""])
    found.page.locator(".word").first.wait_for()
    found.page.locator(".waveform:not([hidden])").wait_for()


def exported(page, to):
    """Return name and content of the file that the page saves."""
    page.locator(".exports select").select_option(to)
    with page.expect_download() as download:
        page.locator(".exports .save").click()
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def is_clean(found):
    return not found.foreign() and not found.problems


def test_drop_a_file_correct_its_text_and_export_it(browser, server, recogniser, speech):
    expected = [word.text for chunk in recogniser.chunks(speech) for word in chunk.words]
    name = "<img src=x onerror=fail()> déjà.wav"
    with opened(browser, server) as found:
        page = found.page
        drop(found, speech, name)
        assert texts(page) == expected
        assert page.locator(".detail h2").text_content() == name
        page.locator(".word").first.dblclick()
        page.keyboard.type("<b>eins zwei")
        page.keyboard.press("Enter")
        assert texts(page) == ["<b>eins", "zwei", *expected[1:]]
        for to, part in (
            ("txt", "<b>eins zwei"),
            ("json", '"text": "zwei"'),
            ("srt", "-->"),
            ("TextGrid", "IntervalTier"),
        ):
            name, content = exported(page, to)
            assert name.endswith(f"déjà.{to}")
            assert part in content
        words = json.loads(exported(page, "json")[1])["words"]
        assert words[0]["end"] <= words[1]["start"]
        assert page.locator("img[src=x]").count() == 0
        assert is_clean(found), (found.foreign(), found.problems)


def test_corrections_survive_a_reload_and_the_sound_can_be_played(browser, server, speech):
    with opened(browser, server) as found:
        page = found.page
        drop(found, speech)
        page.locator(".word").nth(1).dblclick()
        page.keyboard.type("corrected")
        page.keyboard.press("Enter")
        page.wait_for_timeout(800)
        page.reload()
        page.locator(".word.edited").wait_for()
        assert texts(page)[1] == "corrected"
        page.locator(".play").click()
        page.locator(".play", has_text="Pause").wait_for()
        page.locator(".word.playing").first.wait_for()
        page.get_by_role("button", name=re.compile("^Remove")).click()
        page.locator(".recordings li").wait_for(state="detached")
        page.reload()
        page.locator("h1").wait_for()
        page.wait_for_timeout(300)
        assert page.locator(".recordings li").count() == 0
        assert is_clean(found), (found.foreign(), found.problems)


def test_everything_with_the_keyboard_alone(browser, server, speech):
    with opened(browser, server) as found:
        page = found.page
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Tab")  # the link to the content
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Choose files"
            page.keyboard.press("Enter")
        chooser.value.set_files(speech)
        page.locator(".waveform:not([hidden])").wait_for()
        before = texts(page)
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.classList.contains('word')"):
                break
        assert page.evaluate("document.activeElement.textContent") == before[0]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")  # listen
        page.keyboard.press("Enter")
        page.keyboard.type("one")
        page.keyboard.press("Tab")
        page.keyboard.type("two")
        page.keyboard.press("Enter")
        assert texts(page)[:3] == [before[0], "one", "two"]
        page.keyboard.press("Delete")
        assert texts(page) == [before[0], "one", *before[3:]]
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        assert texts(page) == [before[0], "one", *before[2:]]
        page.keyboard.press("Control+y")
        assert texts(page) == [before[0], "one", "two", *before[3:]]
        page.keyboard.press("Enter")
        page.keyboard.press("Home")
        page.keyboard.press("Backspace")  # join
        page.keyboard.press("Escape")
        assert texts(page) == [before[0], "onetwo", *before[3:]]
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.classList.contains('save')"):
                break
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert "onetwo" in Path(download.value.path()).read_text(encoding="utf-8")


def test_record_with_the_microphone(browser, server):
    with opened(browser, server) as found:
        page = found.page
        page.locator("#record").click()
        page.locator(".live:not([hidden])").wait_for()
        level = page.locator("meter")
        loudest = max(
            level.evaluate("(node) => new Promise((done) => setTimeout(() => done(node.value), 100))")
            for _ in range(20)
        )
        assert loudest > 0.2
        page.locator(".said", has_text=re.compile(r"\w\w")).wait_for()
        page.wait_for_timeout(1500)
        page.locator("#record").click()
        page.locator(".word").first.wait_for()
        assert len("".join(texts(page))) > 5
        assert page.locator(".detail h2").text_content().startswith("Recording ")
        assert any(address.startswith("ws://127.0.0.1") for address in found.requested)
        assert is_clean(found), (found.foreign(), found.problems)


def recording_with(found, script=""):
    """Run a script before the page, which then records; return the page, with what the microphone gives in `media`."""
    found.page.add_init_script(
        script
        + """const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (...rest) => (window.media = await original(...rest));"""
    )
    found.page.reload()
    found.page.locator("#record").click()
    return found.page


def test_a_browser_that_does_not_start_its_sound_is_reported_and_the_microphone_released(browser, server):
    # As Firefox on a machine without a device for sound: the promise of `resume` is never kept.
    silent = "AudioContext.prototype.resume = () => new Promise(() => {});"
    with opened(browser, server) as found:
        page = recording_with(found, silent)
        page.locator("#notice", has_text="does not start its sound").wait_for()
        assert page.evaluate("window.media.getTracks().map((track) => track.readyState)") == ["ended"]
        assert page.locator("#record").is_enabled()
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_recording_is_kept_when_its_view_is_left(browser, recogniser, prepared_tones, tmp_path):
    untranscribed(prepared_tones, tmp_path / "project" / "prepared")
    with project_server(tmp_path / "project") as server, opened(browser, server, fragment="#train") as found:
        server.service.recogniser = recogniser
        page = found.page
        page.locator("a[data-view=transcribe]").click()
        page.locator("#record").click()
        page.locator(".live:not([hidden])").wait_for()
        page.wait_for_timeout(2500)
        with page.expect_response(lambda answer: "/api/recordings?name=Recording" in answer.url):
            page.locator("a[data-view=train]").click()
        page.locator(".train-choices").wait_for()
        page.wait_for_timeout(300)
        page.locator("a[data-view=transcribe]").click()
        page.locator(".word").first.wait_for()
        assert page.locator(".detail h2").text_content().startswith("Recording ")
        assert is_clean(found), (found.foreign(), found.problems)


def test_what_is_no_sound_is_shown_with_the_reason_and_a_folder_leaves_out_other_files(
    browser, server, tmp_path, speech
):
    (tmp_path / "notes.wav").write_bytes(b"these are notes and no sound " * 50)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.wav").write_bytes(speech.read_bytes())
    (tmp_path / "folder" / "list.xlsx").write_bytes(b"x")
    with opened(browser, server) as found:
        page = found.page
        page.locator("input[type=file]").first.set_input_files(tmp_path / "notes.wav")
        page.locator(".failed").wait_for()
        assert "the content is text" in page.locator(".detail .error").text_content()
        page.locator("input[type=file]").nth(1).set_input_files(tmp_path / "folder")
        page.locator(".word").first.wait_for()
        assert page.locator("#notice").text_content() == "1 recording added. 1 other file is left out."
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_dropped_file_of_an_unknown_kind_is_tried(browser, server, speech):
    # What was dropped cannot be read any more once the event is over: as browsers do, empty it then.
    emptied = DROP.replace("cancelable: true }));", "cancelable: true }));\n  transfer.items.clear();")
    with opened(browser, server) as found:
        found.page.evaluate(emptied, ["speech.unknown", base64.b64encode(speech.read_bytes()).decode(), ""])
        found.page.locator(".word").first.wait_for()
        assert is_clean(found), (found.foreign(), found.problems)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NotAllowedError", "it is not allowed"),
        ("OverconstrainedError", "none was found"),
        ("NotReadableError", "another program"),
    ],
)
def test_why_there_is_no_microphone(browser, server, name, reason):
    refused = f"""navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException("", "{name}"); }}"""
    with opened(browser, server) as found:
        found.page.add_init_script(refused)
        found.page.reload()
        found.page.locator("#record").click()
        found.page.locator("#notice", has_text=reason).wait_for()
        assert found.page.locator("#record").is_enabled()
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_microphone_that_is_taken_away_leaves_what_it_recorded(browser, server):
    with opened(browser, server) as found:
        page = recording_with(found)
        page.locator(".said", has_text=re.compile(r"\w\w")).wait_for()
        page.evaluate("window.media.getTracks()[0].dispatchEvent(new Event('ended'))")
        page.locator(".word").first.wait_for()
        assert "was disconnected" in page.locator("#notice").text_content()
        assert page.locator("#record").text_content() == "Record"
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_lost_connection_is_reported_while_the_recording_goes_on(browser, server):
    with opened(browser, server) as found:
        page = found.page
        page.route_web_socket(re.compile("/v1/audio/stream"), lambda socket: socket.close(code=1011))
        page.locator("#record").click()
        page.locator(".said", has_text="the connection was lost").wait_for()
        page.wait_for_timeout(1500)
        page.locator("#record").click()
        page.locator(".word").first.wait_for()
        assert is_clean(found), (found.foreign(), found.problems)


def test_corrections_are_kept_after_the_browser_has_closed_its_database(browser, server, speech):
    script = """const original = IDBFactory.prototype.open;
        IDBFactory.prototype.open = function (...rest) {
            const opening = original.apply(this, rest);
            opening.addEventListener("success", () => (window.database = opening.result));
            return opening;
        };"""
    with opened(browser, server) as found:
        page = found.page
        page.add_init_script(script)
        page.reload()
        page.locator("h1").wait_for()
        drop(found, speech)
        page.wait_for_timeout(800)
        page.evaluate("window.database.close()")  # as Safari does in the background
        page.locator(".word").first.dblclick()
        page.keyboard.type("corrected")
        page.keyboard.press("Enter")
        page.wait_for_timeout(800)
        page.reload()
        page.locator(".word.edited", has_text="corrected").wait_for()
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_browser_that_keeps_nothing_is_reported(browser, server, speech):
    with opened(browser, server) as found:
        found.page.add_init_script(
            """IDBFactory.prototype.open = () => { throw new DOMException("", "SecurityError"); }"""
        )
        found.page.reload()
        found.page.locator("h1").wait_for()
        drop(found, speech)
        assert "does not keep your corrections" in found.page.locator(".intake .error").text_content()
        assert is_clean(found), (found.foreign(), found.problems)


def test_a_clicked_word_has_the_focus_where_clicks_give_buttons_none(browser, server, speech):
    with opened(browser, server) as found:
        page = found.page
        page.evaluate("window.addEventListener('mousedown', (event) => event.preventDefault())")  # as in Safari
        drop(found, speech)
        page.locator(".word").nth(1).click()
        page.keyboard.press("Enter")
        page.keyboard.type("corrected")
        # In Safari the key that ends a composition comes after it; only its code tells.
        page.evaluate(PRESS, {"key": "Enter", "keyCode": 229})
        assert page.locator(".word-input").is_visible()
        page.keyboard.press("Enter")
        assert texts(page)[1] == "corrected"
        assert is_clean(found), (found.foreign(), found.problems)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_labels_contrast_and_width(browser, server, speech, dark, size):
    with opened(browser, server, dark=dark, size=size) as found:
        page = found.page
        for is_empty in (True, False):
            if not is_empty:
                drop(found, speech)
                page.locator("summary").click()
                page.evaluate("""() => document.querySelectorAll(".word").forEach(
                    (word, index) => word.style.setProperty("--doubt-strength", (index % 11) / 10))""")
            assert page.evaluate(CONTRAST) == []
            assert page.evaluate(UNLABELLED) == []
            assert page.evaluate(HIDDEN) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
