"""Speech as text: the discrete units of a corpus, one line an utterance.

A line is `id TAB units`; a unit is written as the numbers of its groups with dashes between, `17-203`, and units are
separated by spaces. Baevski et al. 2020 (arXiv 1910.05453), section 4, treat such text as BERT treats words.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.files import atomic_write
from sori.core.shapes import Int, Tensor
from sori.core.user_files import open_bytes
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.inference.transcribe import Failure
from sori.models import factory
from sori.models.encoders import Quantizing, has_units


class Written(NamedTuple):
    """An utterance whose units stand in the file."""

    id: str
    num_frames: int


def require_quantizer(system: factory.System, name: str) -> Quantizing:
    """The encoder of a system, as what it must be.

    Raises:
        ValueError: it has no quantiser.
    """
    encoder = factory.encoder_of(system)
    if not has_units(encoder):
        raise ValueError(
            f"expected a model with a quantiser, got {name} ({encoder.config.kind}), which has none; vq-wav2vec models "
            "have one, and wav2vec 2.0 models as they come from pre-training"
        )
    return encoder


@torch.no_grad()
def write_units(
    model: factory.System, utterances: Sequence[Utterance], into: Path, *, overwrite: bool = False
) -> Iterator[Written | Failure]:
    """Write the units of utterances, one after the other; one that cannot be read does not stop the others.

    Each utterance is heard whole and alone, so that its units do not depend on the others. The file appears under its
    name when it is complete; nothing but the utterance at hand is kept in memory.

    Args:
        model: with a quantiser, from `load`.
        utterances: as `data.manifest.read_manifest` gives them.
        into: file to write.
        overwrite: replace it where it exists.

    Yields:
        For each utterance how many units it has, or why it has none.

    Raises:
        ValueError: the model has no quantiser, or the file exists.
    """
    encoder = require_quantizer(model.eval(), "this model")
    if into.exists() and not overwrite:
        raise ValueError(f"{into} exists; replace it with --overwrite, or write to another file")
    device = next(model.parameters()).device
    reader = FileReader(utterances)
    with atomic_write(into) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row, utterance in enumerate(utterances):
            try:
                waveform = reader(row, 0, utterance.num_samples)
                codes = encoder.units(waveform[None].to(device), torch.tensor([len(waveform)], device=device)).data[0]
            except (ValueError, OSError) as error:
                yield Failure(Path(utterance.path), f"{utterance.id}: {error}")
                continue
            file.write(f"{utterance.id}\t{as_text(codes)}\n")
            yield Written(utterance.id, len(codes))


def as_text(codes: Int[Tensor, "frame group"]) -> str:
    """`17-203 17-9 ...`."""
    return " ".join("-".join(map(str, unit)) for unit in codes.tolist())


def read_units(path: Path) -> Iterator[tuple[str, Int[Tensor, "frame group"]]]:
    """The utterances of a file that `write_units` wrote: id and units.

    Raises:
        ValueError: a line is none of its lines; names it.
    """
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            name, tab, text = line.rstrip("\n").partition("\t")
            try:
                units = torch.tensor([[int(code) for code in unit.split("-")] for unit in text.split()])
            except ValueError:
                units = torch.empty(0)
            if not tab or units.ndim != 2:
                raise ValueError(
                    f"{path}, line {number}: expected `id TAB 17-203 17-9 ...`, got {line[:60]!r}; likely another file"
                )
            yield name, units
