"""What every kind of training gives to the loop."""

from typing import NamedTuple

from sori.data.batches.loader import Batches
from sori.data.fingerprint import Fingerprint
from sori.models import factory
from sori.training import loop


class Task(NamedTuple):
    """A system, and what it is trained on."""

    system: factory.System
    batches: Batches
    evaluations: list[loop.Evaluation]
    fingerprint: Fingerprint
    """Of the training data."""
