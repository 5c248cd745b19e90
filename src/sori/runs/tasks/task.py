"""What every kind of training hands to the loop."""

import sys
from typing import NamedTuple

from sori.core import distributed
from sori.data import fingerprint
from sori.data.batches.loader import Batches
from sori.models import factory
from sori.training import loop

DATA = "data.json"
"""Of a run folder: what was trained on."""


class Parts(NamedTuple):
    """A system, and what it is trained on."""

    system: factory.System
    batches: Batches
    evaluations: list[loop.Evaluation]
    about: fingerprint.Account
    """What it is trained on."""


def say(text: str) -> None:
    """A line on the screen, of the first process."""
    if distributed.rank() == 0:
        print(text, file=sys.stderr, flush=True)
