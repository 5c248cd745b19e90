"""Pre-train `tiny` with layers of a first model as input of the quantiser, instead of cepstra.

    python benchmarks/layer_targets.py FIRST --data DIR --into RUN [--layers 2 4] [--codes 80] [--updates 3600]

With a recogniser as FIRST, these are supervision-guided codebooks (Wang et al. 2022, arXiv 2206.10125); with a
pre-trained model, a second iteration as in HuBERT (Hsu et al. 2021). Each codebook clusters one layer, normalised for
each frame; with `--centre`, after the mean of the utterance has been subtracted, which removes much of its speaker (van
Niekerk et al. 2021, arXiv 2108.00917). `sori train ctc_10min --init RUN` then fine-tunes the result. Results are in
docs/results/ten-minutes.md.

The first model is not stored with the result: the weights of the quantiser that would read it are replaced by zeros, so
units cannot be computed.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

import sori
from sori.checkpoints import store
from sori.core.run_folder import RunFolder
from sori.core.shapes import Frames
from sori.models import factory, wav2vec2
from sori.nn.lengths import valid
from sori.nn.spectral import Cepstrum
from sori.recipes import by_name

SPREAD = 0.3
"""Factor on the 192 normalised values of a layer: their total variance is then about that of the cepstra."""


class Layers(nn.Module):
    """Frames of a first model, in the place of `Cepstrum`; its weights are not those of this module."""

    def __init__(self, first: Path, layers: list[int], *, centre: bool) -> None:
        super().__init__()
        self.centre = centre
        encoder = factory.encoder_of(store.load(first)).eval().requires_grad_(False)
        self._encoder, self.layers, self.width = (encoder,), layers, encoder.config.dim  # a tuple is no submodule
        self.dim = self.width * len(layers)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor) -> Frames:
        """Return the layers side by side."""
        every, frame_lengths = self._encoder[0].encode(waveform, lengths)
        chosen = [every[i].float() for i in self.layers]
        if self.centre:
            real = valid(frame_lengths, chosen[0].shape[1]).unsqueeze(-1)
            chosen = [x - (x * real).sum(1, keepdim=True) / frame_lengths[:, None, None] for x in chosen]
        return Frames(torch.cat([functional.layer_norm(x, (self.width,)) for x in chosen], dim=-1), frame_lengths)

    def by_kind(self, values: torch.Tensor) -> torch.Tensor:
        """Return the emphasis of each codebook: one layer each."""
        emphasis = torch.zeros(len(values), len(self.layers), self.width)
        for group in range(len(values)):
            emphasis[group, group % len(self.layers)] = SPREAD
        return emphasis.flatten(1)


def main() -> None:
    """Train, and replace what only the first model could use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="prepared folder")
    parser.add_argument("--into", type=Path, required=True, help="run folder")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--codes", type=int, default=80, help="entries of each of the two codebooks")
    parser.add_argument("--updates", type=int, default=3600)
    parser.add_argument("--centre", action="store_true", help="subtract the mean of each utterance")
    args = parser.parse_args()
    changes = {
        "name": "layer_targets",
        "train.num_steps": args.updates,
        "system.num_codes": args.codes,
        "system.gumbel_decay": 0.25 ** (1 / (0.7 * args.updates)),
    }
    targets = Layers(args.first, args.layers, centre=args.centre)
    with patch.object(wav2vec2, "Cepstrum", lambda _: targets):
        finished = sori.train(by_name("wav2vec2_tiny").override(changes), data=args.data, into=args.into).finished
    if finished:
        weights = RunFolder(args.into).model / "weights.safetensors"
        tensors = load_file(weights)
        width = Cepstrum(by_name("wav2vec2_tiny").system.targets).dim
        tensors["quantizer.logits.weight"] = torch.zeros(2 * args.codes, width)
        save_file(tensors, weights)


if __name__ == "__main__":
    main()
