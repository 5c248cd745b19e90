"""Discrete units of a corpus as text, one line per utterance.

A line is `id TAB units`. Units are separated by spaces; a unit is the index in each codebook group, joined by dashes,
such as `17-203`. Baevski et al. 2020 (arXiv 1910.05453), section 4, train BERT on such text.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sori.core.files import atomic_write
from sori.core.log import one_line
from sori.core.shapes import Float, Int, Tensor
from sori.core.text_files import lines
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.inference.inputs import reason_of
from sori.inference.transcribe import FailedRecording
from sori.inference.windows import frames_of
from sori.models import factory
from sori.models.encoders import Quantizing, has_units


class UtteranceUnits(NamedTuple):
    """An utterance whose units were written to the file."""

    id: str
    num_frames: int


def require_quantizer(system: factory.System, name: str) -> Quantizing:
    """Return the encoder of a system as a `Quantizing` encoder.

    Raises:
        ValueError: the encoder has no quantiser.
    """
    encoder = factory.encoder_of(system)
    if not has_units(encoder):
        raise ValueError(
            f"expected a model with a quantiser, got {name} ({encoder.config.kind}), which has none; use a vq-wav2vec "
            "model, or a pre-trained wav2vec 2.0 model that was not fine-tuned"
        )
    return encoder


@torch.no_grad()
def write_units(
    model: factory.System, utterances: Sequence[Utterance], into: Path, *, overwrite: bool = False
) -> Iterator[UtteranceUnits | FailedRecording]:
    """Write the units of utterances one by one, continuing after an utterance that cannot be read.

    Each utterance is processed alone, so that its units do not depend on the others, and those of more than 30 s in
    overlapping windows (`windows.py`). The file is renamed
    to its final name when it is complete; only one utterance at a time is kept in memory.

    Args:
        model: model with a quantiser, from `load`.
        utterances: from `data.manifest.read_manifest`.
        into: file to write.
        overwrite: whether to replace an existing file.

    Yields:
        For each utterance, its number of units, or the reason of the failure.

    Raises:
        ValueError: the model has no quantiser, the file exists, or an id has a tab or a line end.
    """
    encoder = require_quantizer(model.eval(), "this model")
    if into.exists() and not overwrite:
        raise ValueError(f"{into} exists; replace it with --overwrite, or write to another file")
    if torn := next((one.id for one in utterances if one_line(one.id) != one.id), None):
        raise ValueError(
            f"expected ids without tabs and line ends, which end a field and a line in {into}, got {torn!r}; likely "
            "the name of its file has them: prepare the recordings again, which replaces them in ids"
        )
    device = next(model.parameters()).device
    reader = FileReader(utterances)
    with atomic_write(into) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row, utterance in enumerate(utterances):
            try:
                units = frames_of(
                    lambda part: encoder.units(part[None].to(device), torch.tensor([len(part)], device=device)).data[0],
                    functools.partial(_part, reader, row),
                    utterance.num_samples,
                    hop_samples=encoder.hop_samples,
                    field_samples=encoder.field_samples,
                )
            except Exception as error:  # noqa: BLE001 - costs this recording only
                yield FailedRecording(Path(utterance.path), f"{utterance.id}: {reason_of(error, utterance.path)}")
                continue
            file.write(f"{utterance.id}\t{as_text(units)}\n")
            yield UtteranceUnits(utterance.id, len(units))


def _part(reader: FileReader, row: int, first: int, stop: int) -> Float[Tensor, " sample"]:
    return reader(row, first, stop - first)


def as_text(units: Int[Tensor, "frame group"]) -> str:
    """Format units as `17-203 17-9 ...`."""
    return " ".join("-".join(map(str, unit)) for unit in units.tolist())


def read_units(path: Path) -> Iterator[tuple[str, Int[Tensor, "frame group"]]]:
    """Read id and units of each utterance from a file of `write_units`.

    Raises:
        ValueError: a line is malformed; the message names it.
    """
    for number, line in enumerate(lines(path), start=1):
        name, tab, text = line.rstrip("\r\n").partition("\t")
        try:
            units = torch.tensor([[int(index) for index in unit.split("-")] for unit in text.split()])
        except ValueError:
            units = torch.empty(0)
        if not tab or units.ndim != 2:
            raise ValueError(
                f"{path}, line {number}: expected `id TAB 17-203 17-9 ...`, got {line[:60]!r}; likely not a file of "
                "`sori units`"
            )
        yield name, units
