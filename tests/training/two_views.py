"""One of two processes that contrast their views with those of both; prints loss and gradient."""

import json
import sys

import torch

from sori.core import distributed
from sori.nn.batch_norm import BatchNorm
from sori.nn.losses import nt_xent


def main() -> None:
    """Pass rows `first` to `last` of five examples, twelve numbers each, through a layer and a norm."""
    first, last = map(int, sys.argv[1:])
    x = torch.randn(5, 2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    norm = BatchNorm(4).double()
    with distributed.process_group():
        own = x[first:last]
        z = norm((own @ weight).flatten(0, 1)).unflatten(0, (-1, 2))
        all_views, offset = distributed.gather_rows(z)
        loss = nt_xent(z, all_views, temperature=0.5, offset=offset).loss
        loss.backward()
        gradient = distributed.all_reduce_sum(weight.grad)
        total = distributed.all_reduce_sum(loss.detach())
        found = {"loss": float(total), "gradient": gradient.tolist(), "mean": norm.running_mean.tolist()}
        found |= {"variance": norm.running_var.tolist(), "rows": len(all_views), "offset": offset}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
