"""Measure how long text takes to come while someone speaks: over the WebSocket of `sori serve`, and on its page.

    python benchmarks/live_latency.py --model RECOGNISER --recordings FOLDER [--utterances 20] [--page 8]

WebSocket: a client sends utterances in the time that they take to speak, 20 messages a second, with 1.5 s of silence
after each. `final_after_speech_s`: from the last sample of speech sent to the final text, which includes the pause that
ends a piece. `final_after_end_s`: from the message `end`, sent after the last sample, to the final text.
`partial_after_its_sound_s`: from the last sample that a partial text contains to that text: the time to compute it.
`partial_after_chunk_s`: from a message to the first text that contains it, which includes waiting for more sound, and
for a text that is another one than before.

Page: Chromium records the same utterances from a microphone that plays a file with 2 s of silence before and 3 s after
the speech. `first_text_after_speech_begins_s`, `final_after_speech_s`: from the first and the last loud sample that the
page gets to the frame that shows text; `transcript_after_stop_s`: from the click on Stop to the transcript.

Sound is speech from its first to its last sample above 2 % of full scale. Times are wall-clock time; the processor time
of the server is beside them, because other processes (`other_load`) delay the former more. Writes
`benchmarks/results/live_latency.json`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from train_speed import cpu_name
from websockets.sync.client import ClientConnection, connect

import sori
from serve import RESULTS, ROOT, Served

sys.path.insert(0, str(ROOT))

from tests.serve.chromium import launched, opened

RATE = 16_000
BLOCK = RATE // 20
LOUD = 0.02
PEAK = 0.5
PAUSE_SECONDS = 1.5
BEFORE_SECONDS, AFTER_SECONDS = 2.0, 3.0
WATCH = """
  window.sent = [];
  window.shown = [];
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    const samples = new Int16Array(data.buffer ?? data);
    const loud = [...samples.keys()].filter((index) => Math.abs(samples[index]) > LOUD * 32768);
    const ended = performance.now() / 1000;
    const at = (index) => ended - (samples.length - index) / 16000;
    if (loud.length) window.sent.push([at(loud[0]), at(loud.at(-1) + 1)]);
    return send.call(this, data);
  };
  new MutationObserver(() => requestAnimationFrame(() => {
    const [final, partial] = [...document.querySelectorAll(".said span")].map((node) => node.textContent);
    const words = document.querySelectorAll(".word").length;
    window.shown.push([performance.now() / 1000, final ?? "", partial ?? "", words]);
  })).observe(document, { subtree: true, childList: true, characterData: true });
  document.addEventListener("click", (event) => {
    if (event.target.textContent === "Stop") window.stopped = performance.now() / 1000;
  }, true);
""".replace("LOUD", str(LOUD))


FOUND = "({ sent: window.sent, shown: window.shown, stopped: window.stopped })"


class Message(NamedTuple):
    """What a server has sent, and when it arrived."""

    at: float
    data: dict[str, Any]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="recogniser")
    parser.add_argument("--recordings", type=Path, required=True, help="folder of WAV files of one utterance each")
    parser.add_argument("--utterances", type=int, default=20, help="over the WebSocket")
    parser.add_argument("--page", type=int, default=8, help="recordings on the page")
    parser.add_argument("--into", type=Path, default=RESULTS / "live_latency.json")
    args = parser.parse_args()
    utterances = [speech_of(path) for path in sorted(args.recordings.rglob("*.wav"))]
    load, rows = round(os.getloadavg()[0], 1), dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder, Served(args.model, Path(folder)) as server:
        chosen = [utterances[number % len(utterances)] for number in range(args.utterances)]
        for name, measure in (("websocket", streamed), ("websocket, end", ended), ("page", on_page)):
            before, begun = server.cpu_seconds(), time.perf_counter()
            found = measure(server, chosen[: args.page] if name == "page" else chosen)
            seconds = time.perf_counter() - begun
            cpu = (server.cpu_seconds() - before) / seconds
            rows[name] = {"seconds": round(seconds, 1), "server_cpu_s_per_s": round(cpu, 3)} | found
            print(f"{name}: {json.dumps(rows[name])}", flush=True)
    about = {
        "command": "python benchmarks/live_latency.py --model RECOGNISER --recordings FOLDER "
        f"--utterances {args.utterances} --page {args.page}",
        "machine": {"cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "other_load": load},
        "versions": {"sori": sori.__version__, "torch": torch.__version__},
        "seconds_of_speech": round(statistics.mean(len(one) / RATE for one in utterances), 1),
        "rows": rows,
    }
    args.into.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def speech_of(path: Path) -> np.ndarray:
    """Return an utterance from its first to its last loud sample, as 16-bit integers."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected one channel at {RATE} Hz, got {samples.shape} at {rate} Hz")
    samples *= PEAK / np.abs(samples).max()
    loud = np.flatnonzero(np.abs(samples) > LOUD)
    return np.asarray(samples[loud[0] : loud[-1] + 1] * 32767, "<i2")


def distribution(seconds: list[float]) -> dict[str, float]:
    """Return number, median, 95th percentile and maximum."""
    if not seconds:
        raise ValueError("expected texts to measure, got none; likely the recogniser writes nothing for this speech")
    points = [round(float(one), 3) for one in np.quantile(seconds, [0.5, 0.95, 1.0])]
    return {"number": len(seconds), **dict(zip(("median", "p95", "max"), points, strict=True))}


class Live:
    """A client that sends sound in the time that it takes, and notes when what arrives."""

    def __init__(self, server: Served) -> None:
        address = server.url.replace("http", "ws", 1) + "/v1/audio/stream"
        self.socket: ClientConnection = connect(address)
        self.messages, self.sent_at = list[Message](), list[float]()
        """What arrived; when each block was sent."""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        self.begun = time.perf_counter()

    def speak(self, samples: np.ndarray) -> float:
        """Send samples, a whole number of blocks, each when it is over; return when the last one was sent."""
        for first in range(0, len(samples), BLOCK):
            due = self.begun + (len(self.sent_at) + 1) / 20
            time.sleep(max(0.0, due - time.perf_counter()))
            self.socket.send(samples[first : first + BLOCK].tobytes())
            self.sent_at.append(time.perf_counter())
        return self.sent_at[-1]

    def end(self) -> float:
        """Send `end`, wait for what is left; return when it was sent."""
        at = time.perf_counter()
        self.socket.send('{"type": "end"}')
        self.thread.join()
        return at

    def finals(self) -> list[Message]:
        """Return the final texts."""
        return [one for one in self.messages if one.data["type"] == "final"]

    def _read(self) -> None:
        self.messages.extend(Message(time.perf_counter(), json.loads(message)) for message in self.socket)


def whole_blocks(samples: np.ndarray) -> np.ndarray:
    """Return samples with silence before them, so that they end with a block."""
    return np.concatenate([np.zeros(-len(samples) % BLOCK, "<i2"), samples])


def streamed(server: Served, utterances: list[np.ndarray]) -> dict[str, Any]:
    """Send utterances with silence between them."""
    live, ends, speaking = Live(server), list[float](), list[range]()
    for one in utterances:
        first = len(live.sent_at)
        ends.append(live.speak(whole_blocks(one)))
        speaking.append(range(first, len(live.sent_at)))
        live.speak(np.zeros(round(PAUSE_SECONDS * RATE) // BLOCK * BLOCK, "<i2"))
    live.end()
    finals = [next((one.at - end for one in live.finals() if one.at > end), None) for end in ends]
    partials = [one for one in live.messages if one.data["type"] == "partial"]
    covered = [(one.at, int(one.data["end"] * RATE + 0.5) // BLOCK) for one in partials]  # blocks that a text contains
    waits = []
    for number in (number for blocks in speaking for number in blocks):
        sent = live.sent_at[number]
        answers = [at for at, until in covered if until > number] + [one.at for one in live.finals() if one.at > sent]
        waits.append(min(answers) - sent)
    return {
        "utterances": len(utterances),
        "final_after_speech_s": distribution([one for one in finals if one is not None]),
        "partial_after_its_sound_s": distribution([at - live.sent_at[until - 1] for at, until in covered]),
        "partial_after_chunk_s": distribution(waits),
    }


def ended(server: Served, utterances: list[np.ndarray]) -> dict[str, Any]:
    """Send utterances, each over a connection of its own, which is ended with the last sample."""
    found = []
    for one in utterances:
        live = Live(server)
        live.speak(whole_blocks(one))
        at = live.end()
        found += [final.at - at for final in live.finals()[-1:]]
    return {"utterances": len(utterances), "final_after_end_s": distribution(found)}


def on_page(server: Served, utterances: list[np.ndarray]) -> dict[str, Any]:
    """Record utterances on the page."""
    first, final, transcript = [], [], []
    for one in utterances:
        found = recorded(server, one)
        begun = found["sent"][0][0]
        before = [texts for at, *texts, _ in found["shown"] if at <= begun][-1:]
        first.append(
            next(at for at, *texts, _ in found["shown"] if at > begun and any(texts) and [texts] != before) - begun
        )
        at = finals_of(found)[0]
        final.append(at - max(end for _, end in found["sent"] if end < at))
        transcript.append(next(at for at, _, _, words in found["shown"] if words) - found["stopped"])
    return {
        "recordings": len(utterances),
        "first_text_after_speech_begins_s": distribution(first),
        "final_after_speech_s": distribution(final),
        "transcript_after_stop_s": distribution(transcript),
    }


def recorded(server: Served, utterance: np.ndarray) -> dict[str, Any]:
    """Record an utterance until its final text is shown; return what the page has sent and shown, and when."""
    silences = [np.zeros(round(seconds * RATE), "<i2") for seconds in (BEFORE_SECONDS, AFTER_SECONDS)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "voice.wav"
        soundfile.write(file, np.concatenate([silences[0], utterance, silences[1]]), RATE, subtype="PCM_16")
        with launched(file) as browser, opened(browser, server) as found:
            page = found.page
            page.add_init_script(WATCH)
            page.reload()
            page.locator("#record").click()
            until = time.monotonic() + 60
            while not finals_of(page.evaluate(FOUND)):
                if time.monotonic() > until:
                    raise TimeoutError(
                        "expected a final text on the page within 60 s, got none; likely the microphone gave no sound"
                    )
                page.wait_for_timeout(100)
            page.locator("#record").click()
            page.locator(".word").first.wait_for()
            page.wait_for_timeout(200)
            return page.evaluate(FOUND)


def finals_of(found: dict[str, Any]) -> list[float]:
    """Return when the page has shown another final text than before the speech."""
    if not found["sent"]:
        return []
    begun = found["sent"][0][0]
    before = [said for at, said, *_ in found["shown"] if at <= begun][-1:] or [""]
    return [at for at, said, *_ in found["shown"] if at > begun and said not in ("", *before)]


if __name__ == "__main__":
    main()
