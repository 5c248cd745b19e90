"""Named random generators, each a pure function of (seed, step, part).

Nothing random is carried from one step to the next, so a resumed run needs no generator state, and the draws of a
micro-batch do not depend on which process computes it.
"""

import hashlib
from typing import final

import torch


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any mixture of numbers and names; unlike `hash`, equal on every machine and run."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@final
class Rng:
    """Generators by name for one micro-batch, so that a change in one kind of draw cannot move another.

    Args:
        seed: of the run.
        step: optimiser update.
        part: index of the micro-batch within the update, counted over all processes.
        device: where the draws are made.
    """

    def __init__(self, seed: int, step: int = 0, part: int = 0, device: torch.device | str = "cpu") -> None:
        self.key = (seed, step, part)
        self.device = torch.device(device)
        self._made: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        """The generator called `name` ("mask", "negatives", "gumbel", ...); repeated look-ups continue one stream."""
        if name not in self._made:
            self._made[name] = torch.Generator(self.device).manual_seed(derive(*self.key, name))
        return self._made[name]
