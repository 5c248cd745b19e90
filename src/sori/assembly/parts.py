"""What every kind of training hands to the loop."""

import sys
from typing import NamedTuple

from sori import distributed, hub
from sori.data import account
from sori.data.loader import Batches
from sori.training import loop

DATA = "data.json"
"""Of a run folder: what was trained on."""


class Parts(NamedTuple):
    """A system, and what it is trained on."""

    system: hub.System
    batches: Batches
    evaluations: list[loop.Evaluation]
    about: account.Account
    """What it is trained on."""


def say(text: str) -> None:
    """A line on the screen, of the first process."""
    if distributed.rank() == 0:
        print(text, file=sys.stderr, flush=True)
