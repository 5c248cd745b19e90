"""BERT: how well a hidden character is predicted, by the number of visible characters to its left and right.

The experiment trains a small BERT (2 layers of width 96) whose tokens are characters on windows of up to 17 characters
of presidential addresses (`text-english` in `$SORI_DATA`), 1,500 updates of 64 windows. In
4,000 held-out windows of each shape, the middle character is masked.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import style
from sori.core.batch import TokenBatch
from sori.core.seeds import Rng
from sori.data.sources.plain_text import paragraphs
from sori.models.bert import Bert, BertConfig

_LETTERS = " abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ("pad", "cls", "sep", "mask")
_CONTEXTS = (0, 1, 2, 4, 8)
_NUM_UPDATES, _BATCH, _LONGEST = 1500, 64, 17


def measure() -> dict[str, Any]:
    """Train, then evaluate every combination of left and right context."""
    torch.manual_seed(0)
    train, held_out = text()
    special = {name: number for number, name in enumerate(_SPECIAL)}
    system = Bert(
        BertConfig(
            **special,
            num_tokens=len(_SPECIAL) + len(_LETTERS),
            num_positions=_LONGEST + 2,
            dim=96,
            num_layers=2,
            num_heads=4,
            ffn_dim=384,
            init="waves",
            dropout=0.0,
            attention_dropout=0.0,
            next_weight=0.0,
        )
    )
    optimizer = torch.optim.AdamW(system.parameters(), lr=2e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=_NUM_UPDATES)
    for step in range(_NUM_UPDATES):
        rng = Rng(0, step)
        generator = rng["windows"]
        length = int(torch.randint(1, _LONGEST + 1, (1,), generator=generator))
        found = system.loss(windows(train, length, _BATCH, generator), step=step, rng=rng)
        optimizer.zero_grad()
        (found.total / found.count).backward()
        torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(step, found.total.item() / int(found.count), flush=True)
    counts = torch.bincount(train, minlength=len(_SPECIAL) + len(_LETTERS)).double()
    probs = counts / counts.sum()
    system.eval()
    return {
        "contexts": _CONTEXTS,
        "nats": [[evaluate(system, held_out, left, right) for right in _CONTEXTS] for left in _CONTEXTS],
        "frequencies_alone": float(-torch.xlogy(probs, probs).sum()),
    }


def text() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the characters of the text for training, and the last tenth."""
    path = Path(os.environ["SORI_DATA"]) / "text-english" / "presidential-addresses.txt.xz"
    joined = " ".join(paragraphs([path])).lower()
    letters = "".join(one if one in _LETTERS else " " for one in joined)
    ids = np.array([_LETTERS.index(one) for one in " ".join(letters.split())]) + len(_SPECIAL)
    cut = len(ids) * 9 // 10
    return torch.from_numpy(ids[:cut]), torch.from_numpy(ids[cut:])


def windows(ids: torch.Tensor, length: int, number: int, generator: torch.Generator) -> TokenBatch:
    """Draw windows of a text, with [CLS] before and [SEP] after them."""
    starts = torch.randint(len(ids) - length + 1, (number, 1), generator=generator)
    drawn = functional.pad(ids[starts + torch.arange(length)], (1, 1))
    drawn[:, 0], drawn[:, -1] = _SPECIAL.index("cls"), _SPECIAL.index("sep")
    lengths = torch.full((number,), length + 2)
    return TokenBatch(drawn, torch.zeros_like(drawn), lengths, torch.zeros(number, 1, dtype=torch.long))


@torch.no_grad()
def evaluate(system: Bert, ids: torch.Tensor, left: int, right: int) -> float:
    """Return the mean nats of a masked character with `left` visible ones before it and `right` after it."""
    batch = windows(ids, left + 1 + right, 4000, torch.Generator().manual_seed(1))
    shown = batch.ids.clone()
    shown[:, left + 1] = system.config.mask
    last = system.context(shown, batch.parts, batch.lengths)[-1]
    return float(functional.cross_entropy(system.scores(last[:, left + 1]), batch.ids[:, left + 1]))


def draw(results: dict[str, Any]) -> None:
    """Draw the matrix, and one curve each for context on one side and on both."""
    made, (left, right) = style.figure(3.1, columns=2, width_ratios=[1, 1.05])
    contexts, nats = results["contexts"], np.array(results["nats"])
    left.imshow(nats, cmap=style.HEAT + "_r", vmin=1.2, vmax=results["frequencies_alone"])
    for (row, column), value in np.ndenumerate(nats):
        left.text(
            column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if value > 1.9 else "black"
        )
    left.set_xticks(range(len(contexts)), contexts)
    left.set_yticks(range(len(contexts)), contexts)
    left.set(xlabel="visible on the right", ylabel="visible on the left")
    left.spines[:].set_visible(False)
    left.tick_params(length=0)
    left.set_title("nats per masked character")
    places = range(len(contexts))
    curves = (
        (nats[:, 0], "o-", style.BLUE, "left only"),
        (nats[0], "s-", style.ORANGE, "right only"),
        (np.diag(nats), "D-", style.GREEN, "left and right"),
    )
    for values, line, colour, label in curves:
        right.plot(places, values, line, color=colour, label=label)
    right.axhline(results["frequencies_alone"], color=style.GREY, linewidth=1, linestyle="--")
    right.text(len(contexts) - 1, results["frequencies_alone"] + 0.06, "frequencies alone", fontsize=8.5, ha="right")
    right.set_xticks(places, contexts)
    right.set(ylim=(0, 3.2), xlabel="visible characters on each side", ylabel="nats")
    right.grid(axis="y")
    right.legend(fontsize=8.5, loc="lower left")
    style.save(made, "bert")


def main() -> None:
    """Draw the figure."""
    style.run("bert", draw, measure)


if __name__ == "__main__":
    main()
