"""Recurrent layers over padded frames: GRU (Cho et al. 2014) and LSTM (Hochreiter and Schmidhuber 1997)."""

from typing import Literal

import torch
from torch import nn

from sori.core.shapes import Float, Int, Tensor
from sori.nn.lengths import valid


class Recurrent(nn.Module):
    """A stack of GRU or LSTM layers that starts from zeros with every utterance.

    In one direction it is causal: a frame sees itself and what came before. All of it is computed in float32 whatever
    the autocast, for rounding adds up over the frames.

    Args:
        input_dim: of the frames.
        dim: of the state, in each direction.
        kind: of all layers.
        num_layers: each reads what the one below wrote.
        bidirectional: a second state runs from the last real frame to the first; outputs are twice as wide.
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
        """What each layer writes, "batch frame dim" each, the same for an utterance alone and padded.

        Frames of padding become 0, so the last state of an utterance is its last real frame (of the second direction:
        its first frame).
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
