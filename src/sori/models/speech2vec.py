"""Speech2Vec: vectors of spoken word segments that predict the audio of neighbouring words, or are predicted from it.

Paper: Chung and Glass (2018), arXiv 1803.08976. A bidirectional LSTM encodes the MFCC of a word segment; its final
states are the vector of the segment. A second LSTM, initialised with this vector, predicts the MFCC of another segment
frame by frame with teacher forcing. With `skipgram` the vector of a segment predicts every other segment of its window;
with `cbow` the sum of the vectors of the window predicts its centre segment. The vector of a word is the mean over all
its segments (`embeddings/spoken_words.py`).

**Not reproducible.** Chen (2022), arXiv 2209.10791, finds no evidence that the published vectors came from this model,
and cannot reach their scores. Neither could we: with teacher forcing, the decoder hardly uses the vector
(`docs/systems/speech2vec.md`, which also says when not to use it).

Departures. MFCC are normalised over each utterance; the code of the reproduction uses the mean and deviation of 10,000
segments. There is no padding to 20 frames, and the error of a target is the mean over its own frames (in the code,
padding included). Segments are truncated at `max_frames`, 1 s; in the code at 0.64 s. The initial state of the decoder
is the vector with a zero cell, so that the vector is its only input; the code also passes the encoder's cell, and adds
attention, which is optional here. The optimiser is the loop's AdamW; paper and code use plain SGD at 1e-3, which is
very slow. Windows (rare and frequent words, borders): `segment_pairs.py`.
"""

from typing import Literal, NamedTuple, final

import torch
from pydantic import Field, model_validator
from torch import nn

from sori.core.batch import SegmentBatch
from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Float, Frames, Int, Tensor
from sori.models.protocols import LossSum
from sori.nn.lengths import valid
from sori.nn.spectral import Cepstrum, CepstrumConfig, LogMelConfig

_NUM_GROUPS = 4
_MFCC = CepstrumConfig(windows=LogMelConfig(num_mels=40, stack=1), num_cepstra=13)


class Speech2VecConfig(Config):
    """Settings of objective, vectors and decoder."""

    kind: Literal["speech2vec"] = "speech2vec"
    objective: Literal["skipgram", "cbow"] = "skipgram"
    """The centre of a window predicts each other segment (section 2.2), or their sum predicts the centre (section
    2.3)."""
    dim: int = Field(default=50, ge=2, multiple_of=2)
    """d, width of the vectors, half for each direction of the encoder. Paper: 50 is best of 10, 50, 100, 200."""
    features: CepstrumConfig = _MFCC
    """Input and target features: 13 MFCC of 25 ms every 10 ms. Code: 32 ms every 32 ms."""
    attention: bool = False
    """Whether the decoder attends to all steps of the encoder (Luong et al. 2015, dot; in the code, not in the paper),
    so that not all information must pass through the vector. Only with `skipgram`, which encodes one segment."""
    max_frames: int = Field(default=100, ge=1)
    """Maximum number of frames of a segment; longer ones are truncated. Code: 20 frames of 32 ms."""

    @model_validator(mode="after")
    def _consistent(self) -> "Speech2VecConfig":
        if self.attention and self.objective == "cbow":
            raise ValueError("attention requires a single source segment, but cbow sums several; set it to false")
        if self.features.windows.stack != 1:
            raise ValueError("features.windows.stack must be 1, because a word has only few frames")
        return self


class Encoded(NamedTuple):
    """Output of the encoder."""

    vectors: Float[Tensor, "segment dim"]
    """Final states of the forward and of the backward direction, which ends at the first frame."""
    steps: Float[Tensor, "segment frame dim"]
    """States of all frames; meaningless after the end of a segment."""


class Encoder(nn.Module):
    """Bidirectional LSTM over MFCC."""

    def __init__(self, num_cepstra: int, dim: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(num_cepstra, dim // 2, batch_first=True)
        self.backwards = nn.LSTM(num_cepstra, dim // 2, batch_first=True)

    def forward(self, segments: Frames) -> Encoded:
        """Encode each segment in both directions, without its padding."""
        x, lengths = segments
        here = torch.arange(x.shape[1], device=x.device)
        # From the last real frame to the first; padding stays in place.
        mirrored = torch.where(here < lengths[:, None], lengths[:, None] - 1 - here, here)[..., None]
        ahead = _recur(self.forwards, x, lengths)
        back = _recur(self.backwards, x.gather(1, mirrored.expand_as(x)), lengths)
        last = (lengths - 1)[:, None, None].expand(-1, 1, ahead.shape[2])
        vectors = torch.cat([ahead.gather(1, last), back.gather(1, last)], dim=-1).squeeze(1)
        return Encoded(vectors, torch.cat([ahead, back.gather(1, mirrored.expand_as(back))], dim=-1))


class Decoder(nn.Module):
    """LSTM that predicts each frame from the frames before it; the same one for all neighbours."""

    def __init__(self, num_cepstra: int, dim: int, *, attention: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(num_cepstra, dim, batch_first=True)
        self.attend = nn.Linear(2 * dim, dim) if attention else None
        self.out = nn.Linear(dim, num_cepstra)

    def forward(
        self, vectors: Float[Tensor, "target dim"], targets: Frames, attended: Frames | None
    ) -> Float[Tensor, "target frame cepstrum"]:
        """Predict every target frame from the vector and the target's earlier frames.

        Args:
            vectors: initial states.
            targets: frames to predict, padded.
            attended: with attention, the encoder states to attend to for each target.
        """
        # Teacher forcing: zeros, then the target without its last frame.
        shown = nn.functional.pad(targets.data, (0, 0, 1, 0))[:, :-1]
        x = _recur(self.rnn, shown, targets.lengths, start=vectors)
        if self.attend is not None and attended is not None:
            fit = x @ attended.data.mT  # target, its frame, attended frame
            real = valid(attended.lengths, attended.data.shape[1])[:, None]
            seen = fit.masked_fill(~real, -torch.inf).softmax(-1) @ attended.data
            x = torch.tanh(self.attend(torch.cat([seen, x], dim=-1)))
        predicted: Tensor = self.out(x)
        return predicted


@final
class Speech2Vec(nn.Module):
    """Speech2Vec, a `protocols.System` that produces vectors of segments.

    Args:
        config: settings of the model.
    """

    def __init__(self, config: Speech2VecConfig) -> None:
        super().__init__()
        self.config = config
        self.cepstrum = Cepstrum(config.features)
        self.encoder = Encoder(self.cepstrum.dim, config.dim)
        self.decoder = Decoder(self.cepstrum.dim, config.dim, attention=config.attention)
        self.hop_samples, self.field_samples = self.cepstrum.hop_samples, self.cepstrum.field_samples

    def loss(self, batch: SegmentBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - nothing is random here
        """Return the squared error, summed over the predicted segments; see `objective`."""
        return self.objective(self.segments(batch), batch.pairs)

    def vectors(self, batch: SegmentBatch) -> Float[Tensor, "segment dim"]:
        """Return the vector of every segment; the pairs are not used."""
        with torch.autocast(batch.waveform.device.type, enabled=False):
            encoded: Encoded = self.encoder(self.segments(batch))
        return encoded.vectors

    def segments(self, batch: SegmentBatch) -> Frames:
        """Return the MFCC of every segment, padded with zeros: the frames whose centre is in it, at least one.

        Raises:
            ValueError: if a waveform is shorter than one frame.
        """
        with torch.no_grad():
            x, lengths = self.cepstrum(batch.waveform, batch.lengths)
            middle = self.field_samples // 2
            last = lengths[batch.rows]
            first = _num_before(batch.starts - middle, self.hop_samples).minimum(last - 1)
            stop = _num_before(batch.stops - middle, self.hop_samples).minimum(last).maximum(first + 1)
            count = (stop - first).clamp(max=self.config.max_frames)
            index = first[:, None] + torch.arange(int(count.max()), device=x.device)
            cut = x[batch.rows[:, None], index.clamp(max=x.shape[1] - 1)]
            return Frames(torch.where(valid(count, cut.shape[1])[..., None], cut, 0), count)

    def objective(self, segments: Frames, pairs: Int[Tensor, "pair 2"]) -> LossSum:
        """Return the squared error, averaged over frames and coefficients of each predicted segment, and summed.

        The targets counted are predicted segments: pairs for `skipgram`, centres for `cbow`. Computed in the type of
        the segments regardless of autocast: the model is tiny, and rounding errors accumulate in recurrences.

        Terms on the same scale: `chance`, the error of always predicting the mean (zero), and `previous`, the error of
        repeating the previous frame, which does not use the vector.

        Args:
            segments: MFCC, padded with zeros.
            pairs: centre of a window, and a neighbour.
        """
        with torch.autocast(segments.data.device.type, enabled=False):
            encoded: Encoded = self.encoder(segments)
            if self.config.objective == "skipgram":
                predicted, sources = pairs[:, 1], pairs[:, 0]
                vectors = encoded.vectors[sources]
                attended = Frames(encoded.steps[sources], segments.lengths[sources]) if self.config.attention else None
            else:
                predicted, groups = torch.unique(pairs[:, 0], return_inverse=True)
                # A matrix product, because the order of additions of a scattered sum is not deterministic on a GPU.
                member = encoded.vectors.new_zeros(len(predicted), len(segments.lengths))
                member[groups, pairs[:, 1]] = 1
                vectors, attended = member @ encoded.vectors, None
            targets = Frames(segments.data[predicted], segments.lengths[predicted])
            error = _mean_square(self.decoder(vectors, targets, attended) - targets.data, targets.lengths)
        with torch.no_grad():
            x = targets.data
            terms = {
                "chance": _mean_square(x, targets.lengths).sum(),
                "previous": _mean_square(x - nn.functional.pad(x, (0, 0, 1, 0))[:, :-1], targets.lengths).sum(),
            }
        return LossSum(error.sum(), torch.tensor(len(predicted), device=error.device), terms)


def _recur(
    rnn: nn.LSTM,
    x: Float[Tensor, "row frame cepstrum"],
    lengths: Int[Tensor, " row"],
    *,
    start: Float[Tensor, "row dim"] | None = None,
) -> Float[Tensor, "row frame dim"]:
    """Return the hidden states of every frame; those after a row's end are meaningless and have no effect.

    Rows of similar length are processed together. With 350 rows of 36 frames on average and 94 at most, forward and
    backward pass take an eighth of the time of a packed sequence (0.03 s against 0.20 s on one core), and a third of
    that of a single run.

    Args:
        rnn: LSTM of one layer and one direction.
        x: padded frames.
        lengths: number of real frames.
        start: initial hidden state (None: zeros); the initial cell is zeros.
    """
    order = lengths.argsort(stable=True)
    states = []
    for rows in order.chunk(_NUM_GROUPS):
        longest = int(lengths[rows].max())
        begin = None if start is None else (start[None, rows], torch.zeros_like(start[None, rows]))
        found, _ = rnn(x[rows, :longest], begin)
        states.append(nn.functional.pad(found, (0, 0, 0, x.shape[1] - longest)))
    return torch.cat(states)[order.argsort()]


def _num_before(samples: Tensor, hop_samples: int) -> Int[Tensor, " segment"]:
    """Return the number of frames, `hop_samples` apart from 0 on, that start before a sample."""
    return torch.div(samples + hop_samples - 1, hop_samples, rounding_mode="floor").clamp(min=0)


def _mean_square(x: Float[Tensor, "segment frame dim"], lengths: Int[Tensor, " segment"]) -> Float[Tensor, " segment"]:
    """Return the mean square over the real frames of each segment."""
    square = x.square().mean(-1)
    return (square * valid(lengths, x.shape[1])).sum(1) / lengths
