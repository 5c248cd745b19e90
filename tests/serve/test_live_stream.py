"""Live transcription over a WebSocket."""

import asyncio
import json
import time

import numpy as np
import pytest
import soundfile
from starlette.websockets import WebSocket
from tests.serve.conftest import running_server
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from sori.inference.transcribe import transcribe
from sori.serve.limits import Limits
from sori.serve.live_stream import PAUSE_SECONDS, _Stream
from sori.serve.recogniser import Recogniser


@pytest.fixture(scope="module")
def samples(speech):
    return soundfile.read(speech, dtype="int16")[0]


def address(server):
    return f"ws://127.0.0.1:{server.port}/v1/audio/stream"


def streamed(server, samples, *, block=1600):
    with connect(address(server)) as socket:
        for first in range(0, len(samples), block):
            socket.send(samples[first : first + block].tobytes())
        socket.send('{"type": "end"}')
        return [json.loads(message) for message in socket]


def test_partial_and_final_texts(server, recogniser, speech, samples):
    expected = transcribe(recogniser.system, speech, decoder=None)
    found = streamed(server, samples)
    assert {message["type"] for message in found} == {"partial", "final", "done"}
    finals = [message for message in found if message["type"] == "final"]
    assert " ".join(message["text"] for message in finals) == expected.text
    words = [word for message in finals for word in message["words"]]
    assert [word["start"] for word in words] == pytest.approx([word.start for word in expected.words], abs=0.05)
    assert found[-1] == {"type": "done", "duration": round(len(samples) / 16_000, 3)}
    assert found.index(finals[0]) >= 2, "partial texts come before"


def test_a_pause_ends_a_piece_of_text(server, samples):
    pause = np.zeros(16_000 * 2, "<i2")
    found = streamed(server, np.concatenate([samples, pause, samples, pause]))
    finals = [message for message in found if message["type"] == "final"]
    assert len(finals) == 2
    assert all(len(message["text"]) > 5 for message in finals)
    second = (len(samples) + len(pause)) / 16_000
    # The sudden noise of the recording, which begins 0.1 s before its first word, can be taken for a letter.
    assert second - 0.3 < finals[1]["words"][0]["start"] < second + 0.3


def test_a_pause_is_found_by_level_where_the_last_word_seems_to_last(server, recogniser, samples, monkeypatch):
    def lasting(waveform):
        words = Recogniser.partial_words(recogniser, waveform)
        return [*words[:-1], words[-1]._replace(end=len(waveform) / 16_000)] if words else []

    monkeypatch.setattr(recogniser, "partial_words", lasting)
    pause = np.zeros(16_000 * 2, "<i2")
    found = streamed(server, np.concatenate([samples, pause, samples, pause]))
    assert len([message for message in found if message["type"] == "final"]) == 2


@pytest.mark.parametrize("shift", [0, 1600, 3200, 4800, 6400])
def test_a_final_text_comes_as_soon_as_the_pause_is_long_enough(server, samples, shift):
    speech = np.concatenate([np.zeros(shift, "<i2"), samples])
    blocks = [block.tobytes() for block in np.concatenate([speech, np.zeros(16_000 * 2, "<i2")]).reshape(-1, 320)]

    received, finals, loud = 0, [], np.flatnonzero(np.abs(samples) > 0.1 * np.abs(samples).max())

    async def receive():
        """Send the next block when the server has processed the one before."""
        nonlocal received
        received += 1
        if received == 1:
            return {"type": "websocket.connect"}
        is_over = received - 2 == len(blocks)
        return {"type": "websocket.receive"} | (
            {"text": '{"type": "end"}'} if is_over else {"bytes": blocks[received - 2]}
        )

    async def send(message):
        data = json.loads(message.get("text") or "{}")
        if data.get("type") == "final":
            finals.append((received - 1) * 320 - shift - loud[-1])

    async def run():
        socket = WebSocket({"type": "websocket"}, receive, send)
        await socket.accept()
        await _Stream(server.service, socket).run()

    asyncio.run(run())
    assert PAUSE_SECONDS - 0.1 < finals[0] / 16_000 < PAUSE_SECONDS + 0.15


def test_partial_texts_tell_how_much_sound_they_contain(server, samples):
    found = [message for message in streamed(server, samples) if message["type"] == "partial"]
    ends = [message["end"] for message in found]
    assert ends == sorted(ends)
    assert 0.2 <= ends[0] <= 1.0
    assert ends[-1] <= len(samples) / 16_000


def test_sound_without_a_pause_is_cut_and_silence_is_not_kept(server, samples):
    steady = np.concatenate([samples] * 8)
    found = streamed(server, steady, block=16_000)
    assert len([message for message in found if message["type"] == "final"]) >= len(steady) // (15 * 16_000)
    assert streamed(server, np.zeros(16_000 * 40, "<i2"), block=16_000) == [{"type": "done", "duration": 40.0}]


@pytest.mark.parametrize("samples", [[], [0], [0] * 100])
def test_hardly_any_sound(server, samples):
    assert streamed(server, np.array(samples, "<i2"))[-1]["type"] == "done"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"odd", "an even number of bytes"),
        (b"\0" * 400_000, "expected messages of at most"),
        ("hello", "expected samples"),
        ("[" * 10_000, "expected samples"),
        ('{"type": "begin"}', "expected samples"),
    ],
)
def test_other_messages_end_the_stream_with_the_reason(server, message, reason):
    with connect(address(server)) as socket:
        socket.send(message)
        answer = json.loads(socket.recv())
        assert answer["type"] == "error"
        assert reason in answer["message"]
        with pytest.raises(ConnectionClosedError):
            socket.recv()


def test_a_foreign_page_and_an_unknown_path_are_refused(server):
    for options in ({"origin": "http://evil.example"}, {"additional_headers": {"Host": "evil.example"}}):
        with pytest.raises(InvalidStatus, match=r"40[03]"), connect(address(server), **options):
            pass
    with pytest.raises(InvalidStatus, match="40"), connect(f"ws://127.0.0.1:{server.port}/other"):
        pass


def test_the_number_of_streams_is_limited_and_closing_frees_a_place(recogniser):
    with running_server(recogniser, limits=Limits(num_streams=1)) as server:
        with connect(address(server)), connect(address(server)) as second:
            assert "as many as are possible" in json.loads(second.recv())["message"]
        until = time.monotonic() + 10
        while True:
            with connect(address(server)) as third:
                third.send('{"type": "end"}')
                if json.loads(third.recv())["type"] == "done":
                    break
            assert time.monotonic() < until


def test_the_token_is_required(recogniser):
    token = "0123456789abcdef"  # noqa: S105 - of this test
    with running_server(recogniser, token=token) as server:
        with pytest.raises(InvalidStatus, match="403"), connect(address(server)):
            pass
        with connect(address(server), additional_headers={"Authorization": f"Bearer {token}"}) as socket:
            socket.send('{"type": "end"}')
            assert json.loads(socket.recv())["type"] == "done"
