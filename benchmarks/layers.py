"""Analyse the layers of a pre-trained encoder and the entropy of its quantiser.

    python benchmarks/layers.py MODEL --data PREPARED [--split dev]

For each layer, after layer normalisation: the fraction of its power in a constant vector, the fraction that varies
within utterances, and the effective rank of the varying part. For each codebook: the effective number of entries used
over the whole split, the mean probability of a frame's most probable entry, and the entropy in nats. A model whose
layers are mostly constant is hard to fine-tune; a quantiser with high entropy samples unpredictable targets.
"""

import argparse
from pathlib import Path

import torch
from torch.nn import functional

from sori.checkpoints import store
from sori.core import audio
from sori.data.manifest import read_manifest
from sori.models.wav2vec2 import Wav2Vec2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--untrained", action="store_true", help="use the same encoder with random weights")
    args = parser.parse_args()
    model = store.load(args.model)
    if not isinstance(model, Wav2Vec2):
        raise SystemExit(f"{args.model} is not a pre-trained encoder")
    if args.untrained:
        torch.manual_seed(0)
        model = Wav2Vec2(model.config).eval()
    chosen = [u for u in read_manifest(args.data) if u.split in {args.split, None}][: args.utterances]
    layers: list[list[torch.Tensor]] = [[] for _ in range(model.config.num_layers + 1)]
    probs = []
    with torch.no_grad():
        for utterance in chosen:
            waveform = audio.read(utterance.path)[None]
            lengths = torch.tensor([waveform.shape[1]])
            for found, layer in zip(layers, model.encode(waveform, lengths)[0], strict=True):
                found.append(functional.layer_norm(layer[0], layer.shape[-1:]))
            if model.targets is not None:
                logits = model.quantizer.logits(model.targets(waveform, lengths).data[0])
                probs.append(logits.unflatten(-1, (model.config.num_groups, -1)).softmax(-1))
    print(f"{'layer':>5} {'constant':>9} {'within utterance':>17} {'effective rank':>15}")
    for number, parts in enumerate(layers):
        x = torch.cat(parts)
        power = x.square().sum(1).mean()
        constant = x.mean(0).square().sum() / power
        within = torch.cat([part - part.mean(0) for part in parts]).square().sum(1).mean() / power
        variances = torch.linalg.svdvals(x - x.mean(0)).square()
        print(f"{number:5} {constant:9.2f} {within:17.2f} {_effective_number(variances):15.1f}")
    for group, p in enumerate(torch.cat(probs).unbind(1) if probs else ()):
        entropy = -(p * (p + 1e-9).log()).sum(1).mean()
        use = torch.bincount(p.argmax(1), minlength=p.shape[1])
        print(
            f"codebook {group}: {_effective_number(use.float()):.0f} of {p.shape[1]} entries used, "
            f"mean highest probability {p.amax(1).mean():.2f}, entropy {entropy:.2f} nats"
        )


def _effective_number(weights: torch.Tensor) -> float:
    """Return the number of equal weights that would have the same entropy."""
    p = weights / weights.sum()
    return float(torch.exp(-(p * (p + 1e-12).log()).sum()))


if __name__ == "__main__":
    main()
