"""How well letters can be read from frozen vectors: a small head learns CTC on them, in about half a minute.

The head (a linear layer, one convolution over 0.2 s, a linear layer) finds letters in vectors that tell sounds apart,
and is too small to find out itself what does. Nothing below it learns, so its errors are those of the vectors.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.evaluation.bootstrap import Estimate, share
from sori.evaluation.error_rate import error_rates
from sori.models.ctc import BLANK, ctc_loss, num_required_frames
from sori.nn.lengths import valid
from sori.text.vocabulary import Vocabulary

_SIGHT_SECONDS = 0.2
_MAX_NORM = 1.0


class LettersConfig(Config):
    """What is learnt from, and for how long."""

    minutes: float = Field(default=10.0, gt=0)
    """Of transcribed speech, at most, from as many speakers as possible."""
    num_updates: int = Field(default=1500, ge=1)
    batch_seconds: float = 12.0
    lr: float = 3e-3
    """At its peak: a tenth of the updates rising, four tenths held, then falling to a twentieth."""
    width: int = 192
    """Of the head."""
    dropout: float = 0.2


class Prediction(NamedTuple):
    """Utterances with what is said in them."""

    rows: list[int]
    """Which utterances."""
    texts: list[str]
    """Of each."""
    speakers: list[str | None]
    """Of each."""


class Letters(NamedTuple):
    """Which letters are wrong."""

    error: Estimate
    """Share of wrong characters on the test part."""
    dev_error: float
    """On the dev part: what representations may be chosen by."""
    num_train: int
    num_infeasible: int
    """Training utterances with more letters than frames, which nothing was learnt from."""


class Head(nn.Module):
    """Vectors in, logits of letters out.

    Args:
        dim: of the vectors.
        num_classes: letters and the blank.
        reach: frames that the convolution sees, odd.
        config: width and dropout.
    """

    def __init__(self, dim: int, num_classes: int, *, reach: int, config: LettersConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.enter = nn.Linear(dim, config.width)
        self.near = nn.Conv1d(config.width, config.width, reach, padding=reach // 2)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, num_classes)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Logits of the classes."""
        x = functional.dropout(self.enter(x), self.dropout, self.training)
        x = x * valid(lengths, x.shape[1])[..., None]  # the last frames see nothing behind them, whatever the batch
        near = functional.gelu(self.near(x.transpose(1, 2)).transpose(1, 2))
        return self.out(self.norm(x + functional.dropout(near, self.dropout, self.training)))  # type: ignore[no-any-return]


def read_letters(
    vectors: Callable[[int], Float[Tensor, "frame dim"]],
    parts: tuple[Prediction, Prediction, Prediction],
    *,
    frame_seconds: float,
    config: LettersConfig | None = None,
    seed: int = 0,
) -> Letters:
    """Learn on one part, score on two.

    Args:
        vectors: of an utterance, by its number.
        parts: train, dev and test; texts as they were transcribed.
        frame_seconds: from one frame to the next.
        config: see there.
        seed: of the head's weights, dropout, the order of the batches and the bootstrap.

    Raises:
        ValueError: a part is empty, or no training utterance has as many frames as letters.
    """
    config = config or LettersConfig()
    train, dev, test = parts
    if not train.rows or not dev.rows or not test.rows:
        raise ValueError(
            f"expected transcribed utterances in all parts, got {len(train.rows)} to learn from, {len(dev.rows)} and "
            f"{len(test.rows)} to measure on; give more of them or other splits"
        )
    vocabulary = Vocabulary.fit(train.texts)
    labels = [torch.tensor(vocabulary.encode(text)) for text in train.texts]
    found = [(vectors(row).float(), own) for row, own in zip(train.rows, labels, strict=True)]
    examples = [(x, own) for x, own in found if len(own) and len(x) >= _required(own)]
    if not examples:
        raise ValueError("no utterance has as many frames as letters; nothing can be learnt")
    together = torch.cat([x for x, _ in examples])
    mean, spread = together.mean(0), together.std(0) + 1e-5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "letters"))
        reach = 2 * round(_SIGHT_SECONDS / frame_seconds / 2) + 1
        head = Head(together.shape[1], len(vocabulary), reach=reach, config=config)
        examples = [((x - mean) / spread, own) for x, own in examples]
        learn(head, examples, batch_frames=round(config.batch_seconds / frame_seconds), config=config, seed=seed)

    def wrong(part: Prediction) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        hypotheses = [write(head, (vectors(row).float() - mean) / spread, vocabulary) for row in part.rows]
        report = error_rates([vocabulary.normalise(text) for text in part.texts], hypotheses, part.speakers)
        edits = [one.characters for one in report.utterances]
        return np.array([float(one.errors) for one in edits]), np.array([float(one.total) for one in edits])

    errors, totals = wrong(test)
    dev_errors, dev_totals = wrong(dev)
    return Letters(
        share(errors, totals, test.speakers, names=test.rows, seed=seed),
        float(dev_errors.sum() / dev_totals.sum()),
        len(examples),
        len(found) - len(examples),
    )


def _required(labels: Int[Tensor, " label"]) -> int:
    return int(num_required_frames(labels[None], torch.tensor([len(labels)])))


@torch.no_grad()
def write(head: Head, x: Float[Tensor, "frame dim"], vocabulary: Vocabulary) -> str:
    """The likeliest symbol of each frame, repeats and blanks taken out."""
    best = torch.unique_consecutive(head(x[None], torch.tensor([len(x)]))[0].argmax(-1))
    return vocabulary.normalise(vocabulary.decode(best[best != BLANK].tolist()))


def learn(
    head: Head,
    examples: Sequence[tuple[Tensor, Tensor]],
    *,
    batch_frames: int,
    config: LettersConfig,
    seed: int,
) -> None:
    """Train a head in place, with AdamW and batches of like length; it ends in evaluation mode.

    Args:
        head: with random weights.
        examples: vectors (`frame dim`) and classes of their letters, of any lengths.
        batch_frames: at most so many in a batch, padding counted, but one utterance at least.
        config: rate and updates.
        seed: of the order of the batches.
    """
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.lr, betas=(0.9, 0.98))
    batches = _batches(sorted(examples, key=lambda one: len(one[0])), batch_frames)
    random, order = np.random.default_rng(derive(seed, "letters", "order")), list[int]()
    head.train()
    for update in range(config.num_updates):
        optimiser.param_groups[0]["lr"] = config.lr * _factor(update, config.num_updates)
        order = order or random.permutation(len(batches)).tolist()
        batch = batches[order.pop()]
        lengths, label_lengths = (torch.tensor([len(one[i]) for one in batch]) for i in (0, 1))
        x = nn.utils.rnn.pad_sequence([x for x, _ in batch], batch_first=True)
        y = nn.utils.rnn.pad_sequence([y for _, y in batch], batch_first=True, padding_value=-1)
        loss = ctc_loss(Frames(head(x, lengths), lengths), y, label_lengths).sum() / label_lengths.sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), _MAX_NORM)
        optimiser.step()
    head.eval()


def _factor(update: int, num_updates: int) -> float:
    done = update / num_updates
    rising = min(1.0, 10 * done + 10 / num_updates)
    return rising * (1.0 if done < 0.5 else 0.05 ** (2 * done - 1))


def _batches(examples: Sequence[tuple[Tensor, Tensor]], batch_frames: int) -> list[list[tuple[Tensor, Tensor]]]:
    batches: list[list[tuple[Tensor, Tensor]]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * len(example[0]) > batch_frames:
            batches.append([])
        batches[-1].append(example)
    return batches
