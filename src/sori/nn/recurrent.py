"""Recurrent layers over padded frames: GRU (Cho et al. 2014) and LSTM (Hochreiter and Schmidhuber 1997)."""

from typing import Literal

import torch
from torch import nn

from sori.core.shapes import Float, Int, Tensor
from sori.nn.lengths import valid


class Recurrent(nn.Module):
    """A stack of GRU or LSTM layers with a zero initial state for every utterance.

    In one direction it is causal: a frame depends on itself and earlier frames. Computed in float32 regardless of
    autocast, because rounding errors accumulate over the frames.

    Args:
        input_dim: width of the frames.
        dim: width of the state, in each direction.
        kind: type of all layers.
        num_layers: number of layers; each reads the output of the one below.
        bidirectional: whether a second state runs from the last real frame to the first; outputs are twice as wide.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int,
        *,
        kind: Literal["gru", "lstm"],
        num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        layer = nn.GRU if kind == "gru" else nn.LSTM
        self.dim = 2 * dim if bidirectional else dim
        widths = [input_dim, *[self.dim] * (num_layers - 1)]
        self.layers = nn.ModuleList(
            layer(width, dim, batch_first=True, bidirectional=bidirectional) for width in widths
        )

    def forward(self, x: Float[Tensor, "batch frame in_dim"], lengths: Int[Tensor, " batch"]) -> list[Tensor]:
        """Return the outputs of each layer, "batch frame dim" each, the same for an utterance alone and padded.

        Padding frames are 0. The final state of an utterance is thus at its last real frame (for the second direction,
        at its first frame).
        """
        longest = x.shape[1]
        padded = int(lengths.min()) < longest
        outputs = []
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            for layer in self.layers:
                if not padded:
                    x = layer(x)[0]
                elif self.bidirectional:
                    packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
                    x = nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=longest)[0]
                else:
                    x = layer(x)[0].masked_fill(~valid(lengths, longest).unsqueeze(-1), 0)
                outputs.append(x)
        return outputs
