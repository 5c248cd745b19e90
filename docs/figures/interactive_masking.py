"""Interactive page: drag a mask over a spectrogram and see which units a small wav2vec 2.0 predicts for it.

    python docs/figures/interactive_masking.py             # builds docs/article/interactive/masking.html; a second
    python docs/figures/interactive_masking.py --measure   # computes what it shows; a minute or two on one core

The model is the pre-trained `tiny` of `python benchmarks/same_speaker.py kathleen --corpora CORPORA`, in
`runs/same_speaker`: 1.1 h of one speaker. The utterance is by another one, a sentence of LibriVox (public domain) from
`english-tiny` in $SORI_DATA. The page has no audio and needs no network. For masks of several lengths, at every place,
it holds what the model predicts.

A prediction is the posterior of the objective: the candidates are all units of the utterance, each as often as it
occurs, as if all frames were distractors. Its softmax is that of equation 3 of arXiv 2006.11477.
"""

import base64
import colorsys
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import sori
import style
from sori.core.files import write_text
from sori.core.shapes import Frames, Tensor
from sori.data.manifest import read_manifest
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.spectral import LogMel, LogMelConfig, normalize

NAME = "interactive_masking"
UTTERANCE = "sense_and_sensibility_01_austen_64kb-0890"
SPANS = (3, 5, 10, 20, 30, 50)
"""Lengths of the masks in frames of 20 ms."""
_ROOT = Path(__file__).parents[2]
SPEAKER = _ROOT / "runs" / "same_speaker" / "kathleen"
_HERE = Path(__file__).parent
_INTO = _ROOT / "docs" / "article" / "interactive" / "masking.html"


def data_folder() -> Path:
    """Return the folder of the recordings."""
    return Path(os.environ.get("SORI_DATA", _ROOT.parent / "shared" / "data"))


def trained() -> Wav2Vec2:
    """Return the small model.

    Raises:
        FileNotFoundError: it has not been trained.
    """
    if not (SPEAKER / "pretrained" / "model").is_dir():
        raise FileNotFoundError(
            f"expected a pre-trained model in {SPEAKER / 'pretrained'}, found none; train it first: "
            "python benchmarks/same_speaker.py kathleen --corpora CORPORA"
        )
    model = sori.load(SPEAKER / "pretrained")
    assert isinstance(model, Wav2Vec2)
    return model.eval()


class Sentence(NamedTuple):
    """The utterance as the model sees it, and its units."""

    waveform: Tensor
    lengths: Tensor
    frames: Frames
    codes: Tensor
    """Distinct units, "unit group"."""
    of_frame: Tensor
    """Unit of each frame, as an index into `codes`."""
    counts: Tensor
    """Number of frames of each unit."""


@torch.inference_mode()
def sentence(model: Wav2Vec2, path: Path) -> Sentence:
    """Read an utterance and quantise it."""
    waveform = sori.read(path)[None]
    lengths = torch.tensor([waveform.shape[1]])
    units = model.units(waveform, lengths).data[0]
    codes, of_frame, counts = units.unique(dim=0, return_inverse=True, return_counts=True)
    assert len(codes) < 256, "the page stores units in one byte"
    return Sentence(waveform, lengths, model.features(waveform, lengths), codes, of_frame, counts)


@torch.inference_mode()
def predict(model: Wav2Vec2, one: Sentence, masked: Tensor, window: slice = slice(None)) -> Tensor:
    """Return the probability of each unit at each frame of a window for a batch of masks, "mask frame unit"."""
    groups = torch.arange(one.codes.shape[1])
    entries = model.quantizer.codebook[groups, one.codes].flatten(1)
    targets = functional.normalize(model.project_codes(entries), dim=-1)
    number, frames = len(masked), one.frames.data[:, window]
    data = Frames(frames.expand(number, -1, -1), torch.full((number,), frames.shape[1]))
    top = model.context(data, masked=masked[:, window])[-1]
    cosine = functional.normalize(model.project_context(top), dim=-1) @ targets.T
    return (cosine / model.config.temperature + one.counts.log()).softmax(-1)


def grid(model: Wav2Vec2, one: Sentence, spans: tuple[int, ...] = SPANS) -> dict[str, NDArray[np.float32]]:
    """Predict for every mask of the page; masks by length and start, then their frames.

    Returns:
        For each hidden frame: the two most likely units, their probabilities, and that of the unit that was there.
    """
    num_frames, blocks = len(one.of_frame), model.config.conv_blocks
    assert blocks is not None
    reach = model.config.num_layers * (blocks.kernel // 2)  # no frame further away has an effect
    columns: dict[str, list[Tensor]] = {"first": [], "second": [], "sure": [], "next": [], "right": []}
    for span in spans:
        starts = torch.arange(num_frames - span + 1)
        inside = starts[:, None] + torch.arange(span)
        for some in inside.split(32):
            masked = torch.zeros(len(some), num_frames, dtype=torch.bool).scatter(1, some, value=True)
            begin = max(0, int(some.min()) - reach)
            probs = predict(model, one, masked, slice(begin, int(some.max()) + reach + 1))
            probs = probs[torch.arange(len(some))[:, None], some - begin].flatten(0, 1)
            likely, units = probs.topk(2, dim=-1)
            there = probs.gather(1, one.of_frame[some].flatten()[:, None])[:, 0]
            values = (units[:, 0], units[:, 1], likely[:, 0], likely[:, 1], there)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return {name: torch.cat(column).numpy() for name, column in columns.items()}


@torch.inference_mode()
def unit_spectra(model: Wav2Vec2, one: Sentence) -> Tensor:
    """Return the mean log-mel spectrum of each unit over a third of the training data, normalised bands, "unit mel".

    A unit that occurs in fewer than 20 frames there gets the mean of the spectra of its codebook entries.
    """
    size, mels = model.config.num_codes, LogMelConfig().num_mels
    sums, numbers = torch.zeros(size * size, mels), torch.zeros(size * size)
    front = LogMel(LogMelConfig(stack=2))
    for utterance in read_manifest(SPEAKER / "unlabelled")[::3]:
        waveform = sori.read(utterance.path)[None]
        lengths = torch.tensor([waveform.shape[1]])
        units = model.units(waveform, lengths).data[0]
        mel = front(waveform, lengths).data[0].unflatten(-1, (2, -1)).mean(1)
        pair = units[:, 0] * size + units[:, 1]
        sums.index_add_(0, pair, mel)
        numbers.index_add_(0, pair, torch.ones(len(pair)))
    table, counts = sums.view(size, size, -1), numbers.view(size, size)
    first = table.sum(1) / counts.sum(1).clamp(min=1)[:, None]
    second = table.sum(0) / counts.sum(0).clamp(min=1)[:, None]
    a, b = one.codes.unbind(1)
    known = counts[a, b][:, None]
    return torch.where(known >= 20, table[a, b] / known.clamp(min=1), (first[a] + second[b]) / 2)


def spectrum(one: Sentence) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-mel spectrogram of the utterance, "frame mel", and the mean and deviation of its bands."""
    front = LogMel(LogMelConfig(stack=2))
    mel = front.log_mel(one.waveform)[:, : 2 * len(one.of_frame)]
    flat = normalize(mel, torch.tensor([mel.shape[1]]))
    deviation = (mel[0].std(0) / flat[0].std(0)).nan_to_num(1.0)
    return mel[0].unflatten(0, (-1, 2)).mean(1), mel[0].mean(0), deviation


def hues(spectra: Tensor) -> list[str]:
    """Return a colour for each unit: similar spectra have similar hues, louder ones are lighter."""
    centred = (spectra - spectra.mean(0)).double()
    axes = torch.linalg.svd(centred, full_matrices=False)[2]
    axes = axes * axes.sum(1, keepdim=True).sign()  # the sign of a component is arbitrary
    angle = torch.atan2(centred @ axes[2], centred @ axes[1]) / (2 * torch.pi)
    loud = centred.mean(1).argsort().argsort() / len(centred)
    colours = (colorsys.hls_to_rgb(float(a) % 1, 0.38 + 0.3 * float(b), 0.5) for a, b in zip(angle, loud, strict=True))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in colours]


def found(one: Sentence, span: int, first: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Return whether the unit, and whether one of its entries at least, is predicted, "mask frame" each."""
    inside = torch.arange(len(one.of_frame) - span + 1)[:, None] + torch.arange(span)
    there, named = one.codes[one.of_frame[inside]], one.codes[torch.from_numpy(first).long().view(inside.shape)]
    return (there == named).all(-1).double(), (there == named).any(-1).double()


def shares(one: Sentence, cells: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Return the fractions of hidden frames that are predicted, by length of the mask and by place in it."""
    begin, shares = 0, {"found": [], "half": [], "found_at": {}}
    for span in SPANS:
        end = begin + span * (len(one.of_frame) - span + 1)
        whole, half = found(one, span, cells["first"][begin:end])
        shares["found"].append(float(whole.mean()))
        shares["half"].append(float(half.mean()))
        shares["found_at"][str(span)] = whole.mean(0).tolist()
        begin = end
    return shares


def of_own_speaker(model: Wav2Vec2) -> float:
    """Return the fraction found in masks of 200 ms in eight held-out sentences of the speaker of the training."""
    rights = []
    for utterance in read_manifest(SPEAKER / "test")[:8]:
        one = sentence(model, Path(utterance.path))
        rights.append(found(one, 10, grid(model, one, (10,))["first"])[0].mean())
    return float(torch.stack(rights).mean())


def measure() -> dict[str, Any]:
    """Train the model and compute everything that the page shows."""
    model = trained()
    one = sentence(model, data_folder() / "english-tiny" / "audio" / f"{UTTERANCE}.flac")
    cells = grid(model, one)
    mel, mean, deviation = spectrum(one)
    spectra = unit_spectra(model, one)
    low, high = (float(mel.quantile(at)) for at in (0.02, 0.995))

    def shade(values: Tensor) -> str:
        return _bytes(((values - low) / (high - low)).clamp(0, 1) * 255)

    return {
        "utterance": UTTERANCE,
        "spans": list(SPANS),
        "frames": len(one.of_frame),
        "mels": mel.shape[1],
        "codes": one.codes.tolist(),
        "units": one.of_frame.tolist(),
        "own_speaker": of_own_speaker(model),
        "commonest": float(one.counts.max() / one.counts.sum()),
        **shares(one, cells),
        "colours": hues(spectra),
        "words": _words(),
        "mel": shade(mel),
        "spectra": shade(spectra * deviation + mean),
        "first": _bytes(cells["first"]),
        "second": _bytes(cells["second"]),
        "sure": _bytes(255 * cells["sure"]),
        "next": _bytes(255 * cells["next"]),
        "right": _bytes(255 * cells["right"]),
    }


def _bytes(values: Any) -> str:
    return base64.b64encode(np.rint(np.asarray(values)).astype(np.uint8).tobytes()).decode("ascii")


def _words() -> list[dict[str, Any]]:
    """Return the words with their phones, begin and end in frames, from the alignment of the recordings' makers."""
    path = data_folder() / "english-tiny" / "align" / f"{UTTERANCE}.phone.json"
    words = []
    for word in json.loads(path.read_text(encoding="utf-8"))["w"]:
        if word["t"].startswith("<"):
            continue
        phones = [
            [phone["t"], round(50 * phone["b"], 1), round(50 * (phone["b"] + phone["d"]), 1)] for phone in word["w"]
        ]
        words.append({"text": word["t"].partition("(")[0], "phones": phones})
    return words


def build(results: dict[str, Any]) -> None:
    """Write the page."""
    page = (_HERE / "masking.html").read_text(encoding="utf-8")
    data = json.dumps({key: value for key, value in results.items() if key != "command"}, separators=(",", ":"))
    page = page.replace("/* STYLE */", (_HERE / "masking.css").read_text(encoding="utf-8"))
    page = page.replace("/* SCRIPT */", (_HERE / "masking.js").read_text(encoding="utf-8"))
    write_text(_INTO, page.replace("DATA", data.replace("<", "\\u003c")))


def main() -> None:
    """Build the page."""
    style.run(NAME, build, measure)


if __name__ == "__main__":
    main()
