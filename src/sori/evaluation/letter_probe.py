"""Letter probe: train a small CTC head on frozen vectors, in about half a minute, and measure its CER.

The head (a linear layer, one convolution over 0.2 s, a linear layer) can map vectors that separate sounds to letters,
but is too small to learn acoustic features itself. The encoder is frozen, so the CER measures the vectors.
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
from sori.evaluation.bootstrap import Estimate, fraction
from sori.evaluation.error_rate import error_rates
from sori.models.ctc import BLANK, ctc_loss, num_required_frames
from sori.nn.lengths import valid
from sori.text.vocabulary import Vocabulary

_KERNEL_SECONDS = 0.2
_MAX_NORM = 1.0


class LetterProbeConfig(Config):
    """Training data and optimisation of the letter probe."""

    minutes: float = Field(default=10.0, gt=0)
    """Maximum amount of transcribed speech for training, from as many speakers as possible."""
    num_updates: int = Field(default=1500, ge=1)
    batch_seconds: float = 12.0
    lr: float = 3e-3
    """Peak learning rate: it rises over 10 % of the updates, is constant for 40 %, then decays to a twentieth."""
    width: int = 192
    """Width of the head."""
    dropout: float = 0.2


class Transcripts(NamedTuple):
    """Transcripts of a part of the utterances."""

    rows: list[int]
    """Index of each utterance."""
    texts: list[str]
    """Transcript of each utterance."""
    speakers: list[str | None]
    """Speaker of each utterance."""


class LetterProbeResult(NamedTuple):
    """Character error rates of the letter probe."""

    error: Estimate
    """CER on the test part."""
    dev_error: float
    """CER on the dev part, for choosing a representation."""
    num_train: int
    num_infeasible: int
    """Training utterances with more letters than frames; they are left out."""


class Head(nn.Module):
    """Compute logits of letters from vectors.

    Args:
        dim: dimension of the vectors.
        num_classes: number of letters and the blank.
        kernel_size: frames that the convolution covers, odd.
        config: width and dropout.
    """

    def __init__(self, dim: int, num_classes: int, *, kernel_size: int, config: LetterProbeConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.enter = nn.Linear(dim, config.width)
        self.near = nn.Conv1d(config.width, config.width, kernel_size, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, num_classes)

    def forward(
        self, x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frame class"]:
        """Return the logits of the classes."""
        x = functional.dropout(self.enter(x), self.dropout, self.training)
        x = x * valid(lengths, x.shape[1])[..., None]  # padding must not change the last frames
        near = functional.gelu(self.near(x.transpose(1, 2)).transpose(1, 2))
        return self.out(self.norm(x + functional.dropout(near, self.dropout, self.training)))  # type: ignore[no-any-return]


def probe_letters(
    vectors: Callable[[int], Float[Tensor, "frame dim"]],
    parts: tuple[Transcripts, Transcripts, Transcripts],
    *,
    frame_seconds: float,
    config: LetterProbeConfig | None = None,
    seed: int = 0,
) -> LetterProbeResult:
    """Train a head on the train part and return its CER on dev and test.

    Args:
        vectors: returns the vectors of an utterance, given its index.
        parts: train, dev and test, with texts as transcribed.
        frame_seconds: frame shift.
        config: training data and optimisation.
        seed: seed of the head's weights, dropout, the order of the batches and the bootstrap.

    Raises:
        ValueError: a part is empty, or no training utterance has as many frames as letters.
    """
    config = config or LetterProbeConfig()
    train, dev, test = parts
    if not train.rows or not dev.rows or not test.rows:
        raise ValueError(
            f"expected transcribed utterances in all parts, got {len(train.rows)} in train, {len(dev.rows)} in dev and "
            f"{len(test.rows)} in test; give more transcribed utterances or other splits"
        )
    vocabulary = Vocabulary.fit(train.texts)
    labels = [torch.tensor(vocabulary.encode(text)) for text in train.texts]
    found = [(vectors(row).float(), own) for row, own in zip(train.rows, labels, strict=True)]
    examples = [(x, own) for x, own in found if len(own) and len(x) >= _required(own)]
    if not examples:
        raise ValueError("no training utterance has as many frames as letters; is the model's frame shift too long?")
    together = torch.cat([x for x, _ in examples])
    mean, spread = together.mean(0), together.std(0) + 1e-5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "letters"))
        kernel_size = 2 * round(_KERNEL_SECONDS / frame_seconds / 2) + 1
        head = Head(together.shape[1], len(vocabulary), kernel_size=kernel_size, config=config)
        examples = [((x - mean) / spread, own) for x, own in examples]
        train_head(head, examples, batch_frames=round(config.batch_seconds / frame_seconds), config=config, seed=seed)

    def errors_of(part: Transcripts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        hypotheses = [predict_text(head, (vectors(row).float() - mean) / spread, vocabulary) for row in part.rows]
        report = error_rates([vocabulary.normalise(text) for text in part.texts], hypotheses, part.speakers)
        edits = [one.characters for one in report.utterances]
        return np.array([float(one.errors) for one in edits]), np.array([float(one.total) for one in edits])

    errors, totals = errors_of(test)
    dev_errors, dev_totals = errors_of(dev)
    return LetterProbeResult(
        fraction(errors, totals, test.speakers, names=test.rows, seed=seed),
        float(dev_errors.sum() / dev_totals.sum()),
        len(examples),
        len(found) - len(examples),
    )


def _required(labels: Int[Tensor, " label"]) -> int:
    return int(num_required_frames(labels[None], torch.tensor([len(labels)])))


@torch.no_grad()
def predict_text(head: Head, x: Float[Tensor, "frame dim"], vocabulary: Vocabulary) -> str:
    """Return the greedy CTC decoding: the most likely symbol of each frame, without repeats and blanks."""
    best = torch.unique_consecutive(head(x[None], torch.tensor([len(x)]))[0].argmax(-1))
    return vocabulary.normalise(vocabulary.decode(best[best != BLANK].tolist()))


def train_head(
    head: Head,
    examples: Sequence[tuple[Tensor, Tensor]],
    *,
    batch_frames: int,
    config: LetterProbeConfig,
    seed: int,
) -> None:
    """Train a head in place with AdamW on batches of similar length, and leave it in evaluation mode.

    Args:
        head: randomly initialised.
        examples: vectors (`frame dim`) and letter classes, of any length.
        batch_frames: maximum number of frames in a batch including padding; a batch has at least one utterance.
        config: learning rate and number of updates.
        seed: seed of the order of the batches.
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
