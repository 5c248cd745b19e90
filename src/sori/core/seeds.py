"""Named random generators, each a pure function of (seed, step, part).

No random state is carried from one step to the next, so a resumed run needs no generator state, and the random numbers
of a micro-batch do not depend on the process that computes it.
"""

import hashlib
from typing import final

import torch


def derive(*parts: int | str) -> int:
    """Derive a 63-bit seed from numbers and names; unlike `hash`, the same on every machine and run."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@final
class Rng:
    """Generators by name for one micro-batch, so that a change in one kind of draw does not affect another.

    Args:
        seed: seed of the run.
        step: optimiser update.
        part: index of the micro-batch within the update, counted over all processes.
        device: device of the generators.
    """

    def __init__(self, seed: int, step: int = 0, part: int = 0, device: torch.device | str = "cpu") -> None:
        self.key = (seed, step, part)
        self.device = torch.device(device)
        self._made: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        """Return the generator `name` ("mask", "negatives", "gumbel", ...); repeated look-ups continue one stream."""
        if name not in self._made:
            self._made[name] = torch.Generator(self.device).manual_seed(derive(*self.key, name))
        return self._made[name]
