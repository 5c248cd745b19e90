"""Compare codecs for short clips inside a page: bytes, and what Chromium decodes.

    python benchmarks/clip_codecs.py [--data ../shared/data]

0.44 s pieces of one sentence of `english-tiny`. For each codec: mean size; whether Chromium says that it plays it; the
decoded length; by how many samples the decoded clip is shifted; and its correlation with the clip after the shift.
"""

import argparse
import base64
import io
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright

import sori
from sori.plots.units_page import compressed

SAMPLES = 7_040
_DECODE = """async ([kind, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.buffer);
  return [new Audio().canPlayType(kind), Array.from(decoded.getChannelData(0))];
}"""

Clip = NDArray[np.float32]
CODECS: dict[str, tuple[str, Callable[[Clip], bytes]]] = {
    "FLAC": ("audio/flac", lambda clip: by_libsndfile(clip, "FLAC", "PCM_16")),
    "MP3, default of libsndfile": ("audio/mpeg", lambda clip: by_libsndfile(clip, "MP3", "MPEG_LAYER_III")),
    "MP3, variable rate (chosen)": ("audio/mpeg", lambda clip: compressed(torch.from_numpy(clip))),
    "MP3, 24 kbit/s": ("audio/mpeg", lambda clip: by_ffmpeg(clip, "libmp3lame", "mp3", 24_000)),
    "Opus in Ogg, 16 kbit/s": ("audio/ogg", lambda clip: by_ffmpeg(clip, "libopus", "ogg", 16_000)),
    "Opus in WebM, 16 kbit/s": ("audio/webm", lambda clip: by_ffmpeg(clip, "libopus", "webm", 16_000)),
    "AAC, 24 kbit/s": ("audio/aac", lambda clip: by_ffmpeg(clip, "aac", "adts", 24_000)),
}
"""Type and encoder of each codec."""


def main() -> None:
    """Measure every codec and write `benchmarks/results/clip_codecs.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SORI_DATA", "../shared/data")))
    waveform = sori.read(parser.parse_args().data / "english-tiny" / "audio" / "1089-134686-0000.flac").numpy()
    clips = [waveform[first : first + SAMPLES] for first in range(8_000, len(waveform) - SAMPLES, 9_000)]
    with sync_playwright() as playwright:
        path = next(found for name in ("chromium", "google-chrome") if (found := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--mute-audio"])
        page = browser.new_page()
        rows = {name: measured(page, kind, encode, clips) for name, (kind, encode) in CODECS.items()}
        versions = {"chromium": browser.version, "libsndfile": soundfile.__libsndfile_version__, "av": av.__version__}
        browser.close()
    for name, row in rows.items():
        print(f"{name:28} {row}")
    made = {
        "command": "python benchmarks/clip_codecs.py",
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "versions": versions,
        "clips": len(clips),
        "seconds": SAMPLES / 16_000,
        "codecs": rows,
    }
    path_of_results = Path(__file__).parent / "results" / "clip_codecs.json"
    path_of_results.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def measured(page: Page, kind: str, encode: Callable[[Clip], bytes], clips: list[Clip]) -> dict[str, Any]:
    """Encode all clips, and decode the fourth in the browser."""
    coded, clip = [encode(one) for one in clips], clips[3]
    plays, values = page.evaluate(_DECODE, [kind, base64.b64encode(coded[3]).decode()])
    decoded = np.array(values)
    shift = int(np.correlate(decoded, clip, "full").argmax()) - len(clip) + 1
    moved = np.roll(decoded, -shift)[: min(len(decoded), len(clip))]
    return {
        "bytes": round(float(np.mean([len(one) for one in coded]))),
        "plays": plays,
        "samples": len(decoded),
        "shift": shift,
        "correlation": round(float(np.corrcoef(moved, clip[: len(moved)])[0, 1]), 4),
    }


def by_libsndfile(clip: Clip, container: str, encoding: str) -> bytes:
    """Encode with the defaults of libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, 16_000, format=container, subtype=encoding)
    return buffer.getvalue()


def by_ffmpeg(clip: Clip, codec: str, container: str, rate: int) -> bytes:
    """Encode with ffmpeg at a constant bit rate."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=16_000)
        stream.bit_rate, stream.layout = rate, "mono"
        frame = av.AudioFrame.from_ndarray(clip[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=16_000)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            file.mux(stream.encode(part))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
