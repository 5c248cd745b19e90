"""What InfoNCE says about mutual information: a lower bound, which cannot exceed the logarithm of the candidates."""

import math
from typing import Any

import torch

import style
from sori.nn.losses import info_nce

_DIM = 4
_CANDIDATES = tuple(2**power for power in range(1, 11))
_INFORMATION = (1.0, 3.0, 6.0)


def measure() -> dict[str, Any]:
    """Score Gaussian pairs with the best possible score and compute the bound for several numbers of candidates."""
    generator = torch.Generator().manual_seed(0)
    bounds = {f"{one:g}": [_bound(one, number, generator) for number in _CANDIDATES] for one in _INFORMATION}
    return {"candidates": list(_CANDIDATES), "bounds": bounds}


def _bound(information: float, candidates: int, generator: torch.Generator) -> float:
    """Return log N minus the loss for four pairs of variables with this much mutual information in nats."""
    rho = math.sqrt(1 - math.exp(-2 * information / _DIM))
    trials = 20_000 if candidates < 64 else 3_000
    y = torch.randn(trials, candidates, _DIM, generator=generator)
    x = rho * y[:, 0] + math.sqrt(1 - rho**2) * torch.randn(trials, _DIM, generator=generator)
    scale = 2 * _DIM / (1 - rho**2)  # info_nce takes the mean over dimensions
    scores = scale * torch.cat([rho * x, torch.full_like(x, -(rho**2) / 2)], dim=1)
    wrong = torch.arange(1, candidates).expand(trials, 1, -1)
    right = torch.zeros(1, 1, dtype=torch.long)
    loss = info_nce(scores[:, None, None], torch.cat([y, y**2], dim=2), right, wrong).loss
    return math.log(candidates) - float(loss) / trials


def draw(results: dict[str, Any]) -> None:
    """Draw the bounds over the number of candidates, with the truth and the logarithm."""
    made, (axes,) = style.figure(3.2)
    number = results["candidates"]
    axes.fill_between(number, [math.log(one) for one in number], 8, color=style.PALE[style.GREY], linewidth=0)
    axes.plot(number, [math.log(one) for one in number], color=style.GREY)
    axes.text(5, 5, "above log N: not possible", fontsize=9)
    for (information, bounds), colour, marker in zip(results["bounds"].items(), style.CYCLE, "os^", strict=False):
        axes.axhline(float(information), color=colour, linestyle="--", linewidth=1)
        axes.plot(number, bounds, marker + "-", color=colour, markersize=4.5)
        axes.text(1100, float(information), f" I = {information}", color=colour, fontsize=9, va="center")
    axes.set_xscale("log", base=2)
    axes.set_xticks(number, [f"{one:,}" for one in number])
    axes.minorticks_off()
    axes.set(xlim=(1.9, 1100), ylim=(0, 7.2), xlabel="N, number of candidates", ylabel="nats")
    axes.set_title("log N \N{MINUS SIGN} loss: what the task proves about I(x; c)")
    style.save(made, "infonce_bound")


def main() -> None:
    """Draw the figure."""
    style.run("infonce_bound", draw, measure)


if __name__ == "__main__":
    main()
