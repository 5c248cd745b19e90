"""The view Label: leases, conflicts, sound, suggestions, and kill -9 while people type."""

import contextlib
import io
import random
import threading
import time

import httpx
import numpy as np
import pytest
import soundfile
from tests.serve.projects import CLIENT, OTHER, ordered, server_process, untranscribed, within_project

from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.serve.label_store import TRANSCRIPTS
from sori.serve.leases import Leases


@pytest.fixture
def project(prepared_tones, tmp_path):
    """A project whose order is that of its utterances, so that nothing is chosen first."""
    recordings = untranscribed(prepared_tones, tmp_path / "project" / "prepared")
    ordered(tmp_path / "project", [u.id for u in read_manifest(recordings)])
    return tmp_path / "project"


def names_of(project):
    return [u.id for u in read_manifest(project / "prepared")]


async def post(server, path, /, **data):
    return await server.post(f"/api/labels{path}", json=data)


def test_utterances_come_in_order_and_are_leased_to_one_window(project):
    async def use(client):
        first = (await post(client, "/next", client=CLIENT)).json()["utterance"]["id"]
        other = (await post(client, "/next", client=OTHER)).json()["utterance"]["id"]
        again = (await post(client, "/next", client=CLIENT)).json()["utterance"]["id"]
        opened = await post(client, "/next", client=OTHER, id=first)
        held = (await post(client, "/lease", client=CLIENT, id=first)).json()
        lost = (await post(client, "/lease", client=OTHER, id=first)).json()
        return first, other, again, opened, held, lost

    first, other, again, opened, held, lost = within_project(project, use)
    assert [first, other, again] == [*names_of(project)[:2], first]
    assert opened.status_code == 409
    assert opened.json()["error"]["code"] == "leased"
    assert held == {"held": True}
    assert lost == {"held": False}


def test_what_is_decided_is_stored_counted_and_not_offered_again(project):
    names = names_of(project)

    async def use(client):
        first = await post(client, "", id=names[0], version=0, text="bald ñ één")
        skip = await post(client, "", id=names[1], version=0, skipped="no speech")
        following = (await post(client, "/next", client=CLIENT)).json()
        recent = (await client.get("/api/labels/recent")).json()
        undone = await post(client, "", id=names[0], version=1, text=None, skipped=None)
        again = (await post(client, "/next", client=CLIENT)).json()
        return first, skip, following, recent, undone, again

    first, skip, following, recent, undone, again = within_project(project, use)
    assert first.json()["label"] == {"text": "bald ñ één", "skipped": None, "version": 1}
    assert first.json()["progress"]["minutes"] > 0
    assert skip.status_code == undone.status_code == 200
    assert following["utterance"]["id"] == names[2]
    assert following["progress"]["transcribed"] == following["progress"]["skipped"] == 1
    assert following["progress"]["characters"] == ["é", "ñ"]
    assert [row["id"] for row in recent["rows"]] == [names[1], names[0]]
    assert again["utterance"]["id"] == names[0]


def test_two_windows_do_not_lose_each_others_text(project):
    names = names_of(project)

    async def use(client):
        await post(client, "", id=names[0], version=0, text="of the one")
        refused = await post(client, "", id=names[0], version=0, text="of the other")
        theirs = refused.json()["error"]["details"]
        accepted = await post(client, "", id=names[0], version=theirs["version"], text="of the other")
        return refused, theirs, accepted

    refused, theirs, accepted = within_project(project, use)
    assert refused.status_code == 409
    assert theirs == {"text": "of the one", "skipped": None, "version": 1}
    assert accepted.json()["label"]["version"] == 2


def test_the_sound_is_that_of_the_utterance(project):
    name = names_of(project)[3]

    async def use(client):
        return await client.get("/api/labels/audio", params={"id": name})

    answer = within_project(project, use)
    assert answer.headers["content-type"] == "audio/wav"
    waveform, rate = soundfile.read(io.BytesIO(answer.content))
    utterance = next(u for u in read_manifest(project / "prepared") if u.id == name)
    assert rate == 16_000
    assert np.allclose(waveform, read(utterance.path).numpy(), atol=2**-14)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("", {"id": "x", "version": 0, "text": "a"}),
        ("", {"id": "x", "version": -1, "text": "a"}),
        ("", {"id": 7, "text": "a"}),
        ("", []),
        ("/next", {"client": "<script>"}),
        ("/next", {"client": CLIENT, "id": "/etc/passwd"}),
        ("/lease", {"client": CLIENT, "id": "\x00"}),
        ("/characters", {"characters": "\x1b[2J"}),
    ],
)
def test_bad_requests_are_refused_with_the_reason(project, path, data):
    async def use(client):
        return await client.post(f"/api/labels{path}", json=data)

    answer = within_project(project, use)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


def test_no_path_from_outside_is_opened(project):
    async def use(client):
        return [
            await client.get(f"/api/labels/{what}", params={"id": "/etc/passwd"}) for what in ("audio", "suggestion")
        ]

    assert [answer.status_code for answer in within_project(project, use)] == [404, 404]


def test_offered_characters_can_be_added(project):
    async def use(client):
        kept = await post(client, "/characters", characters="ŋ ɓ ŋ")
        return kept.json()["characters"], (await post(client, "/next", client=CLIENT)).json()["progress"]["characters"]

    assert within_project(project, use) == (["ŋ", "ɓ"], ["ŋ", "ɓ"])
    assert within_project(project, use)[1] == ["ŋ", "ɓ"]


def test_a_lease_ends_when_it_is_not_renewed():
    leases = Leases(seconds=0.05)
    assert leases.take("a", "one")
    assert not leases.take("a", "two")
    time.sleep(0.06)
    assert leases.take("a", "two")
    assert leases.take("b", "two")
    assert leases.take("a", "one")  # a window has one utterance at a time


def test_a_second_server_of_a_project_is_refused(project, call):
    async def use(_):
        return call("serve", "--project", project, "--port", 0)

    code, _, err = within_project(project, use)
    assert code == 2
    assert "open in another one" in err


def test_a_folder_without_recordings_is_no_project(call, tmp_path):
    code, _, err = call("serve", "--project", tmp_path / "new", "--port", 0)
    assert code == 2
    assert "--recordings FOLDER" in err


def type_until_killed(url, names, confirmed, texts):
    """Send one transcript after another; keep what was confirmed."""
    with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=url, timeout=30) as client:
        versions = dict.fromkeys(names, 0)
        for number in range(10_000):
            name = names[number % len(names)]
            if not number // len(names):
                label = client.post("/api/labels/next", json={"client": CLIENT, "id": name}).json()["utterance"][
                    "label"
                ]
                versions[name] = label["version"]
            text = f"text {texts} {number}"
            answer = client.post("/api/labels", json={"id": name, "version": versions[name], "text": text})
            assert answer.status_code == 200, answer.text
            versions[name] += 1
            confirmed[name] = (number, text)


def test_nothing_confirmed_is_lost_when_the_server_is_killed(project):
    names, seed = names_of(project)[:6], random.Random(0)
    for trial in range(2):
        confirmed = {}
        with server_process(project) as (process, url):
            typing = threading.Thread(target=type_until_killed, args=(url, names, confirmed, trial))
            typing.start()
            time.sleep(seed.uniform(0.3, 1.5))
            process.kill()
            typing.join(60)
        lines = [line.split("\t") for line in (project / TRANSCRIPTS).read_text().splitlines()[1:]]
        stored = {row[0]: row[6] for row in lines}
        assert confirmed
        for name, (number, text) in confirmed.items():
            newer = f"text {trial} {number + len(names)}"  # on the disk, and killed before it was confirmed
            assert stored[name] in (text, newer)
