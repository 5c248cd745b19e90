"""The page's own interface: a recording goes in, its text comes out as events, and edited words as files."""

import asyncio
import json

import pytest

from sori.core.audio import read
from sori.inference.transcribe import transcribe
from sori.serve.limits import Limits


def events_of(text):
    """Return (event, data) of server-sent events."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


async def sent(client, content, name="speech.wav"):
    answer = await client.post("/api/recordings", params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_a_recording_becomes_events_audio_and_peaks_and_is_removed(within, recogniser, speech):
    expected = transcribe(recogniser.system, speech, decoder=None)

    async def run(client, service):
        name = await sent(client, speech.read_bytes())
        found = events_of((await client.get(f"/api/recordings/{name}/events")).text)
        states = [data["state"] for kind, data in found if kind == "state"]
        assert states[-1] == "done"
        chunks = [data for kind, data in found if kind == "chunk"]
        assert [chunk["number"] for chunk in chunks] == list(range(1, len(chunks) + 1))
        assert " ".join(chunk["text"] for chunk in chunks) == expected.text
        words = [word for chunk in chunks for word in chunk["words"]]
        assert [word["start"] for word in words] == [round(word.start, 3) for word in expected.words]
        assert all("confidence" not in word for word in words)

        again = await client.get(f"/api/recordings/{name}/events", headers={"Last-Event-ID": "1"})
        assert [kind for kind, _ in events_of(again.text)].count("chunk") == len(chunks) - 1

        whole = (await client.get(f"/api/recordings/{name}")).json()
        assert whole["chunks"][0]["text"] == chunks[0]["text"]
        assert whole["duration"] == pytest.approx(len(read(speech)) / 16_000, abs=1e-3)
        audio = await client.get(f"/api/recordings/{name}/audio", headers={"Range": "bytes=0-3"})
        assert (audio.status_code, audio.content) == (206, b"RIFF")
        peaks = await client.get(f"/api/recordings/{name}/peaks")
        assert len(peaks.content) == -(-len(read(speech)) // 160)

        assert len(list(service.folder.iterdir())) == 1
        assert (await client.delete(f"/api/recordings/{name}")).status_code == 204
        assert list(service.folder.iterdir()) == []
        assert (await client.get(f"/api/recordings/{name}")).status_code == 404

    within(run)


def test_only_the_decoded_copy_is_kept_and_nothing_after_the_end(within, speech):
    async def run(client, service):
        name = await sent(client, speech.read_bytes(), "../../evil name\0<b>.wav")
        await client.get(f"/api/recordings/{name}/events")
        (folder,) = service.folder.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        assert sorted(path.name for path in folder.iterdir()) == ["copy.wav", "peaks"]
        return service.folder

    assert not within(run).exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"some text that is no sound at all, for certain\n" * 20, "the content is text"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x80>\0\0\0}\0\0\2\0\x10\0", "expected a sound file"),
        (b"\0" * 5000, "expected a sound file"),
        (b"%PDF-1.7 and so on" * 10, "a PDF document"),
    ],
)
def test_what_is_no_sound_fails_with_the_reason(within, content, reason):
    async def run(client, service):
        name = await sent(client, content)
        *_, (kind, last) = events_of((await client.get(f"/api/recordings/{name}/events")).text)
        assert (kind, last["state"]) == ("state", "failed")
        assert reason in last["error"]
        assert str(service.folder) not in last["error"]
        assert (await client.get(f"/api/recordings/{name}/audio")).status_code == 409
        assert len(service.queue) == 0

    within(run)


def test_an_empty_upload_is_refused(within):
    async def run(client, service):
        answer = await client.post("/api/recordings", content=b"")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "empty_file"
        assert list(service.folder.iterdir()) == []

    within(run)


def test_a_full_queue_and_a_full_disk_are_429(within, speech):
    async def run(client, _):
        answers = [await client.post("/api/recordings", content=speech.read_bytes()) for _ in range(6)]
        assert 429 in [answer.status_code for answer in answers]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["Retry-After"] == "5"
        assert refused.json()["error"]["type"] == "rate_limit_error"

    within(run, limits=Limits(num_active=1, num_waiting=1))
    within(run, limits=Limits(stored_bytes=speech.stat().st_size + 10))


def test_an_unfinished_recording_that_no_page_looks_at_is_given_up(within, monkeypatch, speech):
    monkeypatch.setattr("sori.serve.uploads._SECONDS_BETWEEN_ROUNDS", 0.05)

    async def run(client, service):
        blocker = service.queue.join()  # the recording waits for it
        name = await sent(client, speech.read_bytes())
        assert (await client.get(f"/api/recordings/{name}/status")).json()["position"] == 1
        await asyncio.sleep(0.6)
        assert (await client.get(f"/api/recordings/{name}/status")).status_code == 404
        assert list(service.folder.iterdir()) == []
        service.queue.leave(blocker)
        assert len(service.queue) == 0

    within(run, limits=Limits(num_active=1, unwatched_seconds=0.3))


WORDS = [
    {"text": "guten", "start": 0.1, "end": 0.5, "confidence": 0.4},
    {"text": "<b>&\u202e", "start": 0.5, "end": 0.9},
]


def exported(within, **changes):
    async def run(client, _):
        data = {"name": "../a/tag.wav", "duration": 1.0, "words": WORDS, "format": "txt", **changes}
        return await client.post("/api/export", json=data)

    return within(run)


@pytest.mark.parametrize(
    ("to", "name", "part"),
    [
        ("txt", "tag.txt", "guten <b>&"),
        ("srt", "tag.srt", "00:00:00,100 -->"),
        ("vtt", "tag.vtt", "guten &lt;b&gt;&amp;"),
        ("TextGrid", "tag.TextGrid", 'text = "guten"'),
        ("eaf", "tag.eaf", "<ANNOTATION_VALUE>guten</ANNOTATION_VALUE>"),
        ("audacity", "tag.txt", "guten <b>&"),
        ("ctm", "tag.ctm", "tag 1 0.100 0.400 guten 0.400\n"),
        ("json", "tag.json", '"confidence": 1.0'),
    ],
)
def test_edited_words_in_every_format(within, to, name, part):
    answer = exported(within, format=to)
    assert answer.status_code == 200
    assert answer.json()["name"] == name
    assert part in answer.json()["content"]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "docx"},
        {"words": [WORDS[1], WORDS[0]]},
        {"words": [{"text": "a", "start": 0.0, "end": 0.1, "path": "/etc/passwd"}]},
        {"words": [{"text": "a", "start": -1.0, "end": 0.1}]},
        {"words": [{"text": "a", "start": 0.0, "end": 1e300}]},
        {"words": [{"text": "a" * 1001, "start": 0.0, "end": 0.1}]},
        {"words": [{"text": "a", "start": 50.0, "end": 51.0}]},
        {"duration": 0.0},
        {"name": 7},
        {"words": None},
    ],
)
def test_transcripts_that_cannot_be_exported_are_refused_with_the_reason(within, changes):
    answer = exported(within, **changes)
    assert answer.status_code == 400
    assert len(answer.json()["error"]["message"]) > 10


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5000, b'{"words": NaN}'])
def test_what_is_no_json_is_refused(within, body):
    async def run(client, _):
        return await client.post("/api/export", content=body, headers={"Content-Type": "application/json"})

    answer = within(run)
    assert answer.status_code == 400
    assert "error" in answer.json()
