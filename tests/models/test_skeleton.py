"""Models without memory for their tensors."""

import torch
from torch import nn

from sori.models.skeleton import WithoutDraws


def test_values_are_drawn_everywhere_but_on_meta():
    with WithoutDraws():
        drawn = nn.init.normal_(torch.zeros(3, 4), std=2.0)
        again = torch.zeros(3, 4).normal_()
        absent = torch.empty(3, 4, device="meta")
        assert nn.init.normal_(absent, std=2.0) is absent
        assert absent.normal_() is absent
    assert torch.count_nonzero(drawn) == torch.count_nonzero(again) == 12
