"""How well letters can be read from each frozen layer of an encoder: the quickest way to compare ways of pre-training.

    python benchmarks/read_out.py MODEL --data PREPARED [--minutes 60] [--layers 0 2 4] [--untrained] [--cepstra]

On the features of a layer, computed once, a small head (a linear layer, one convolution over 0.2 s, a linear layer;
0.2 M parameters) learns CTC, in about half a minute on one core, and is scored on the dev split. The encoder never
learns, so the letter error rate tells what pre-training put into the layer. `--cepstra` reads the front end instead.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from sori import audio, hub
from sori.data.labels import choose_minutes
from sori.data.manifest import Utterance, read_manifest
from sori.decoding.ctc import greedy
from sori.evaluation.error_rate import error_rates
from sori.shapes import Frames
from sori.systems.ctc import Ctc, ctc_loss
from sori.systems.wav2vec2 import Wav2Vec2
from sori.text import Vocabulary

BATCH_FRAMES, PEAK_RATE, WIDTH, DROPOUT = 300, 3e-3, 192, 0.2


def main() -> None:
    """Read out the layers asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="prepared folder with splits train and dev")
    parser.add_argument("--minutes", type=float, default=60.0, help="of transcripts")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--untrained", action="store_true", help="the same encoder with random weights")
    parser.add_argument("--cepstra", action="store_true", help="the front end, without encoder")
    asked = parser.parse_args()
    encoder = hub.load(asked.model)
    encoder = encoder.encoder if isinstance(encoder, Ctc) else encoder
    assert isinstance(encoder, Wav2Vec2)  # the only encoder there is
    if asked.untrained:
        torch.manual_seed(0)
        encoder = Wav2Vec2(encoder.config).eval()

    spoken = [u for u in read_manifest(asked.data) if u.text]
    train = choose_minutes([u for u in spoken if u.split == "train"], asked.minutes, seed=0)
    dev = [u for u in spoken if u.split == "dev"]
    vocabulary = Vocabulary.fit(u.text or "" for u in train)
    if asked.cepstra:
        print(
            f"front end: CER {read_out(lambda *wave: encoder.features(*wave).data, train, dev, vocabulary, asked):.1%}"
        )
        return
    for layer in asked.layers or range(encoder.config.num_layers + 1):

        def features(*wave: torch.Tensor, layer: int = layer) -> torch.Tensor:
            return encoder.encode(*wave)[0][layer]

        print(f"layer {layer}: CER {read_out(features, train, dev, vocabulary, asked):.1%}", flush=True)


def read_out(
    features: Callable[..., torch.Tensor],
    train: list[Utterance],
    dev: list[Utterance],
    vocabulary: Vocabulary,
    asked: argparse.Namespace,
) -> float:
    """Letter error rate on dev of a head trained on frozen features."""
    examples = [(vectors(features, u), torch.tensor(vocabulary.encode(u.text or ""))) for u in train]
    everything = torch.cat([x for x, _ in examples])
    mean, deviation = everything.mean(0), everything.std(0) + 1e-5
    torch.manual_seed(0)
    head = Head(everything.shape[1], len(vocabulary))
    learn(head, [((x - mean) / deviation, y) for x, y in examples], num_updates=asked.updates)
    hypotheses = []
    with torch.no_grad():
        for u in dev:
            logits = head(((vectors(features, u) - mean) / deviation)[None])
            found = greedy(Frames(logits, torch.tensor([logits.shape[1]])))[0]
            hypotheses.append(vocabulary.normalise(vocabulary.decode(found.ids)))
    return error_rates([vocabulary.normalise(u.text or "") for u in dev], hypotheses, [u.speaker for u in dev]).cer.rate


@torch.no_grad()
def vectors(features: Callable[..., torch.Tensor], utterance: Utterance) -> torch.Tensor:
    """Features of one utterance, "frame dim"."""
    wave = audio.read(utterance.path, start=utterance.start, duration=utterance.duration_seconds)[None]
    return features(wave, torch.tensor([wave.shape[1]]))[0].float()


class Head(nn.Module):
    """Enough to find letters in good features, too little to find good features."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, WIDTH)
        self.near = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes, "batch frame class"."""

        def drop(x: torch.Tensor) -> torch.Tensor:
            return functional.dropout(x, DROPOUT, self.training)

        x = drop(self.enter(x))
        x = x + drop(functional.gelu(self.near(x.transpose(1, 2)).transpose(1, 2)))
        return self.out(self.norm(x))  # type: ignore[no-any-return]


def learn(head: Head, examples: list[tuple[torch.Tensor, torch.Tensor]], *, num_updates: int) -> None:
    """AdamW, a tenth rising, 40 % at the peak, then falling to a twentieth; batches of like length."""
    examples = sorted(examples, key=lambda example: len(example[0]))
    batches: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * len(example[0]) > BATCH_FRAMES:
            batches.append([])
        batches[-1].append(example)
    optimiser = torch.optim.AdamW(head.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98))
    chance, order = random.Random(0), list[int]()  # noqa: S311 - not for secrets
    for update in range(num_updates):
        done = update / num_updates
        rate = min(1.0, 10 * done + 10 / num_updates) * (1 if done < 0.5 else 0.05 ** (2 * done - 1))
        optimiser.param_groups[0]["lr"] = PEAK_RATE * rate
        order = order or chance.sample(range(len(batches)), len(batches))
        batch = batches[order.pop()]
        lengths, label_lengths = (torch.tensor([len(example[i]) for example in batch]) for i in (0, 1))
        x = nn.utils.rnn.pad_sequence([x for x, _ in batch], batch_first=True)
        y = nn.utils.rnn.pad_sequence([y for _, y in batch], batch_first=True, padding_value=-1)
        loss = ctc_loss(Frames(head(x), lengths), y, label_lengths).sum() / label_lengths.sum()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
    head.eval()


if __name__ == "__main__":
    main()
