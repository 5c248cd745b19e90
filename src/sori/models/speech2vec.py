"""Speech2Vec: a vector for a spoken word, from which the words around it can be spoken again (or it from theirs).

Paper: Chung and Glass (2018), arXiv 1803.08976. A bidirectional LSTM reads the cepstra of a word segment; its last
states are the segment's vector; an LSTM that begins with this vector writes the cepstra of another segment, being shown
each frame after it had to predict it. With `skipgram` the vector of a segment writes every segment of its window, with
`cbow` the sum of the vectors of the window writes the segment in its middle. The vector of a word is the mean over all
its segments (`embeddings/spoken_words.py`).

**Not reproducible.** Chen (2022), arXiv 2209.10791, finds no sign that the published vectors came from this model, and
cannot reach their scores. We could not either: shown the frame before, the decoder hardly needs the vector
(`docs/systems/speech2vec.md`, which also says when not to use it).

Departures. Cepstra are normalised over each utterance; the reproduction's code uses the mean and deviation of 10,000
segments. Frames are real ones only: nothing is padded to 20 frames, and every target counts its mean over its own
frames (the code's mean runs over padding too). Segments are cut at `max_frames`, 1 s; the code cuts at 0.64 s. The
decoder begins with the vector and a cell of zeros, so that all it is told is the vector; the code hands the encoder's
cell over as well, and adds attention, which is a switch here. The optimiser is the loop's AdamW; paper and code use
plain SGD at 1e-3, which is very slow. The way to windows (rare and frequent words, borders): `segment_pairs.py`.
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
    """What tells what, how wide the vectors are, and what the decoder is given."""

    kind: Literal["speech2vec"] = "speech2vec"
    objective: Literal["skipgram", "cbow"] = "skipgram"
    """The middle of a window writes each of the others (section 2.2), or their sum writes the middle (section 2.3)."""
    dim: int = Field(default=50, ge=2, multiple_of=2)
    """d, of the vectors: half of it for each direction of the encoder. Paper: 50 is best of 10, 50, 100, 200."""
    features: CepstrumConfig = _MFCC
    """What is read and written: 13 cepstra of 25 ms each 10 ms. Code: 32 ms each 32 ms."""
    attention: bool = False
    """The decoder looks back at all steps of the encoder (Luong et al. 2015, dot; code, not in the paper), so that not
    all it knows must pass through the vector. Only with `skipgram`, where one segment is read."""
    max_frames: int = Field(default=100, ge=1)
    """Of longer segments only so many first frames are read and written. Code: 20 frames of 32 ms."""

    @model_validator(mode="after")
    def _consistent(self) -> "Speech2VecConfig":
        if self.attention and self.objective == "cbow":
            raise ValueError("attention needs one segment to look back at, but cbow sums several; set it to false")
        if self.features.windows.stack != 1:
            raise ValueError("features.windows.stack must be 1: a word lasts few frames, each counts")
        return self


class Encoded(NamedTuple):
    """What the encoder knows of segments."""

    vectors: Float[Tensor, "segment dim"]
    """Last state of the forward half, and of the backward half, which ends at the first frame."""
    steps: Float[Tensor, "segment frame dim"]
    """States on the way; without meaning after a segment's end."""


class Encoder(nn.Module):
    """Bidirectional LSTM over cepstra."""

    def __init__(self, num_cepstra: int, dim: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(num_cepstra, dim // 2, batch_first=True)
        self.backwards = nn.LSTM(num_cepstra, dim // 2, batch_first=True)

    def forward(self, segments: Frames) -> Encoded:
        """Reads each segment to its own end, from both sides."""
        x, lengths = segments
        here = torch.arange(x.shape[1], device=x.device)
        # From the last real frame to the first; padding stays where it is.
        mirrored = torch.where(here < lengths[:, None], lengths[:, None] - 1 - here, here)[..., None]
        ahead = _recur(self.forwards, x, lengths)
        back = _recur(self.backwards, x.gather(1, mirrored.expand_as(x)), lengths)
        last = (lengths - 1)[:, None, None].expand(-1, 1, ahead.shape[2])
        vectors = torch.cat([ahead.gather(1, last), back.gather(1, last)], dim=-1).squeeze(1)
        return Encoded(vectors, torch.cat([ahead, back.gather(1, mirrored.expand_as(back))], dim=-1))


class Decoder(nn.Module):
    """LSTM that says each frame before it is shown it; the same one for all neighbours."""

    def __init__(self, num_cepstra: int, dim: int, *, attention: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(num_cepstra, dim, batch_first=True)
        self.attend = nn.Linear(2 * dim, dim) if attention else None
        self.out = nn.Linear(dim, num_cepstra)

    def forward(
        self, vectors: Float[Tensor, "target dim"], targets: Frames, attended: Frames | None
    ) -> Float[Tensor, "target frame cepstrum"]:
        """Predictions of every target frame, of which each has seen the target's frames before it.

        Args:
            vectors: what to begin with.
            targets: what is to be written, padded.
            attended: with attention, what to look back at for each target.
        """
        # Teacher forcing: zeros, then the target without its last frame.
        shown = nn.functional.pad(targets.data, (0, 0, 1, 0))[:, :-1]
        x = _recur(self.rnn, shown, targets.lengths, start=vectors)
        if self.attend is not None and attended is not None:
            fit = x @ attended.data.mT  # target, its frame, attended frame
            real = valid(attended.lengths, attended.data.shape[1])[:, None]
            seen = fit.masked_fill(~real, -torch.inf).softmax(-1) @ attended.data
            x = torch.tanh(self.attend(torch.cat([seen, x], dim=-1)))
        written: Tensor = self.out(x)
        return written


@final
class Speech2Vec(nn.Module):
    """The system: a `contracts.System` whose vectors are those of segments.

    Args:
        config: see there.
    """

    def __init__(self, config: Speech2VecConfig) -> None:
        super().__init__()
        self.config = config
        self.cepstrum = Cepstrum(config.features)
        self.encoder = Encoder(self.cepstrum.dim, config.dim)
        self.decoder = Decoder(self.cepstrum.dim, config.dim, attention=config.attention)
        self.hop_samples, self.field_samples = self.cepstrum.hop_samples, self.cepstrum.field_samples

    def loss(self, batch: SegmentBatch, *, step: int, rng: Rng) -> LossSum:  # noqa: ARG002 - nothing is drawn here
        """Squared error summed over the segments that are written; see `objective`."""
        return self.objective(self.segments(batch), batch.pairs)

    def vectors(self, batch: SegmentBatch) -> Float[Tensor, "segment dim"]:
        """The vector of every segment; the pairs are not looked at."""
        with torch.autocast(batch.waveform.device.type, enabled=False):
            encoded: Encoded = self.encoder(self.segments(batch))
        return encoded.vectors

    def segments(self, batch: SegmentBatch) -> Frames:
        """The cepstra of every segment, padded with zeros: the frames whose middle lies in it, at least one.

        Raises:
            ValueError: a waveform is shorter than one frame.
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
        """Squared error, mean over frames and coefficients of each written segment, summed over these.

        The targets counted are written segments: pairs for `skipgram`, middles for `cbow`. Computed in the type of the
        segments whatever the autocast: the model is tiny, and recurrences round.

        Terms on the same scale: `chance`, the error of saying the mean (zero) always, and `previous`, that of repeating
        the frame shown last, which needs no vector at all.

        Args:
            segments: cepstra, padded with zeros.
            pairs: middle of a window, and a neighbour.
        """
        with torch.autocast(segments.data.device.type, enabled=False):
            encoded: Encoded = self.encoder(segments)
            if self.config.objective == "skipgram":
                written, sources = pairs[:, 1], pairs[:, 0]
                vectors = encoded.vectors[sources]
                attended = Frames(encoded.steps[sources], segments.lengths[sources]) if self.config.attention else None
            else:
                written, groups = torch.unique(pairs[:, 0], return_inverse=True)
                # A product instead of a scattered sum, whose order of adding would not be fixed on a GPU.
                member = encoded.vectors.new_zeros(len(written), len(segments.lengths))
                member[groups, pairs[:, 1]] = 1
                vectors, attended = member @ encoded.vectors, None
            targets = Frames(segments.data[written], segments.lengths[written])
            error = _mean_square(self.decoder(vectors, targets, attended) - targets.data, targets.lengths)
        with torch.no_grad():
            x = targets.data
            terms = {
                "chance": _mean_square(x, targets.lengths).sum(),
                "previous": _mean_square(x - nn.functional.pad(x, (0, 0, 1, 0))[:, :-1], targets.lengths).sum(),
            }
        return LossSum(error.sum(), torch.tensor(len(written), device=error.device), terms)


def _recur(
    rnn: nn.LSTM,
    x: Float[Tensor, "row frame cepstrum"],
    lengths: Int[Tensor, " row"],
    *,
    start: Float[Tensor, "row dim"] | None = None,
) -> Float[Tensor, "row frame dim"]:
    """Hidden states of every frame; those after a row's end mean nothing and change nothing before it.

    Rows of like length run together: with 350 rows of 36 frames on average and 94 at most, forward and backward take an
    eighth of a packed sequence's hundred small steps (0.03 s against 0.20 s on one core), and a third of one run.

    Args:
        rnn: one layer, one direction.
        x: padded.
        lengths: real frames.
        start: first hidden state (None: zeros); the first cell is zeros.
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
    """How many frames, `hop_samples` apart from 0 on, begin before a sample; none before a negative one."""
    return torch.div(samples + hop_samples - 1, hop_samples, rounding_mode="floor").clamp(min=0)


def _mean_square(x: Float[Tensor, "segment frame dim"], lengths: Int[Tensor, " segment"]) -> Float[Tensor, " segment"]:
    """Over the real frames of each."""
    square = x.square().mean(-1)
    return (square * valid(lengths, x.shape[1])).sum(1) / lengths
