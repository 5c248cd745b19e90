"""The input of the training loop."""

from typing import NamedTuple

from sori.data.batches.loader import Batches
from sori.data.fingerprint import Fingerprint
from sori.models import factory
from sori.runs.language_model import LmMaterial
from sori.training.evaluations import Evaluation


class Task(NamedTuple):
    """A system, and the data it is trained and evaluated on."""

    system: factory.System
    batches: Batches
    evaluations: list[Evaluation]
    fingerprint: Fingerprint
    """Fingerprint of the training data."""
    language_model: LmMaterial | None = None
    """What the language model of a recogniser is made from; None: it gets none."""
