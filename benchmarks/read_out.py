"""Measure the character error rate of the letter probe on frozen layers: a quick comparison of pre-trained models.

    python benchmarks/read_out.py MODEL --data PREPARED [--minutes 60] [--layers 0 2 4] [--untrained] [--cepstra]

Trains the head of `sori probe --tasks letters` (`letter_probe.py`) on more labels and scores it on dev, so that the
test split is not used for choosing between models. `--cepstra` probes the front end instead.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from sori.checkpoints import store
from sori.core import audio
from sori.core.audio import SAMPLE_RATE
from sori.data.labels import choose_minutes
from sori.data.manifest import Utterance, read_manifest
from sori.evaluation.letter_probe import LettersConfig, Prediction, read_letters
from sori.models import factory
from sori.models.encoders import build


def main() -> None:
    """Probe the selected layers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with splits train and dev")
    parser.add_argument("--minutes", type=float, default=60.0, help="minutes of transcribed speech to train on")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--untrained", action="store_true", help="use the same encoder with random weights")
    parser.add_argument("--cepstra", action="store_true", help="use the front end, without the encoder")
    args = parser.parse_args()
    encoder = factory.encoder_of(store.load(args.model))
    if args.untrained:
        torch.manual_seed(0)
        encoder = build(encoder.config, objective=False).eval()
    spoken = [u for u in read_manifest(args.data) if u.text]
    train = choose_minutes([u for u in spoken if u.split == "train"], args.minutes, seed=0)
    dev = [u for u in spoken if u.split == "dev"]
    config = LettersConfig(minutes=args.minutes, num_updates=args.updates)

    def errors(features: Callable[..., torch.Tensor]) -> str:
        @torch.no_grad()
        def vectors(row: int) -> torch.Tensor:
            one = [*train, *dev][row]
            waveform = audio.read(one.path, start=one.start, duration=one.duration_seconds)[None]
            return features(waveform, torch.tensor([waveform.shape[1]]))[0]

        dev_part = numbered(dev, len(train))
        parts = (numbered(train, 0), dev_part, dev_part)
        found = read_letters(vectors, parts, frame_seconds=encoder.hop_samples / SAMPLE_RATE, config=config)
        return f"CER {found.error.value:.1%} ({found.error.low:.1%} to {found.error.high:.1%})"

    if args.cepstra:
        print(f"front end: {errors(lambda *waveform: encoder.features(*waveform).data)}")
        return
    for layer in args.layers or range(encoder.config.num_layers + 1):

        def features(*waveform: torch.Tensor, layer: int = layer) -> torch.Tensor:
            return encoder.encode(*waveform)[0][layer]

        print(f"layer {layer}: {errors(features)}", flush=True)


def numbered(utterances: list[Utterance], first: int) -> Prediction:
    """Return the texts and speakers of utterances, with row numbers from `first`."""
    rows = list(range(first, first + len(utterances)))
    return Prediction(rows, [one.text or "" for one in utterances], [one.speaker for one in utterances])


if __name__ == "__main__":
    main()
