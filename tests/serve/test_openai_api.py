"""Clients of OpenAI's interface work with this server as their base address."""

import openai
import pytest

from sori.inference.transcribe import transcribe


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def expected(recogniser, speech):
    return transcribe(recogniser.system, speech, decoder=None)


def transcribed(client, path, **options):
    with path.open("rb") as file:
        return client.audio.transcriptions.create(**{"file": file, "model": "tones", **options})


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tones"]
    assert client.models.retrieve("tones").owned_by == "sori"
    with pytest.raises(openai.NotFoundError, match="expected the model 'tones'"):
        client.models.retrieve("gpt")


@pytest.mark.parametrize("model", ["tones", "whisper-1"])
def test_json(client, speech, expected, model):
    assert transcribed(client, speech, model=model).text == expected.text


def test_text_srt_and_vtt(client, speech, expected):
    assert transcribed(client, speech, response_format="text") == expected.text + "\n"
    assert transcribed(client, speech, response_format="srt").startswith("1\n00:00:00,")
    assert transcribed(client, speech, response_format="vtt").startswith("WEBVTT\n")


def test_verbose_json_with_word_times(client, speech, expected):
    found = transcribed(
        client, speech, response_format="verbose_json", timestamp_granularities=["word", "segment"], language="sw"
    )
    assert (found.text, found.task, found.language) == (expected.text, "transcribe", "und")
    assert [(word.word, word.start) for word in found.words] == [(w.text, round(w.start, 3)) for w in expected.words]
    assert [segment.text for segment in found.segments] == [expected.text]
    assert 0 <= found.segments[0].start < found.segments[0].end <= found.duration
    assert found.segments[0].avg_logprob is None
    assert not transcribed(client, speech, response_format="verbose_json").words


def test_stream(client, speech, expected):
    events = list(transcribed(client, speech, stream=True))
    assert {event.type for event in events} == {"transcript.text.delta", "transcript.text.done"}
    assert events[-1].text == expected.text
    assert "".join(event.delta for event in events[:-1]) == expected.text


def test_a_stream_of_what_is_no_sound_ends_with_an_error(client, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound " * 100)
    with pytest.raises(openai.APIError, match="the content is text"):
        list(transcribed(client, tmp_path / "a.wav", stream=True))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "response_format"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["letter"]}, "timestamp_granularities[]"),
        ({"stream": True, "response_format": "srt"}, "stream"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_field(client, speech, options, param):
    with pytest.raises(openai.BadRequestError) as refused:
        transcribed(client, speech, **options)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_and_files_that_are_no_sound(client, speech, tmp_path):
    with pytest.raises(openai.NotFoundError) as refused:
        transcribed(client, speech, model="gpt")
    assert refused.value.code == "model_not_found"
    for content in (b"", b"text " * 100):
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(openai.BadRequestError, match="expected a sound file"):
            transcribed(client, tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "multipart/form-data"}, b"x"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"x" * 1000),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n\r\n--b--\r\n"),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--b--\r\n',
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 50 + b"--b--\r\n",
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 100_000 + b"\r\n--b--\r\n",
        ),
    ],
)
def test_forms_that_are_none(within, headers, body):
    async def run(client, service):
        answer = await client.post("/v1/audio/transcriptions", content=body, headers=headers)
        assert list(service.folder.iterdir()) == []
        return answer

    answer = within(run)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_nothing_is_kept_after_the_answer(client, server, speech):
    transcribed(client, speech)
    list(transcribed(client, speech, stream=True))
    assert list(server.service.folder.iterdir()) == []
    assert len(server.service.queue) == 0
