"""Commands that export from a model or a run: vectors, units, other formats, figures."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter

from sori.checkpoints import store
from sori.checkpoints.convert import Format as ModelFormat
from sori.checkpoints.convert import Int8
from sori.checkpoints.convert import convert as convert_model
from sori.cli.exit_codes import leave_if, require_files
from sori.cli.output import problem, write
from sori.core import distributed
from sori.core.counts import require_amount
from sori.core.files import atomic_write
from sori.core.log import one_line
from sori.core.run_folder import RunFolder
from sori.data.utterances import utterances_of
from sori.evaluation.recognition import onnx_score
from sori.inference import embed as embed_module
from sori.inference import transcribe
from sori.inference.inputs import read_whole, reason_of, recordings_in
from sori.inference.units import require_quantizer, write_units
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots.features import features
from sori.plots.reference_curves import reference_curves
from sori.plots.style import save_figure
from sori.plots.training_curves import curves
from sori.training.metrics import read_metrics

_MOST_PLOTTED_SECONDS = 600.0


def embed(model: str, *files: Path, into: Path, layer: int | None = None) -> None:
    """Write the frame vectors of sound files, one `.npz` file each, with the arrays `frames` and `times` (seconds).

    Args:
        model: Folder, run folder or name of an encoder or recogniser.
        files: Sound files of any format, or folders of them.
        into: Output folder.
        layer: Layer of the encoder; 0 is the input of the first block. By default, the output of the last block.
    """
    require_files(files)
    sources = list(recordings_in(files))
    targets = [into / name.with_suffix(".npz") for _, name in sources]
    if twice := {str(target) for target in targets if targets.count(target) > 1}:
        raise ValueError(
            f"several files would be written to {', '.join(sorted(twice))}; write them into different folders"
        )
    system = store.load(model).to(distributed.device())
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for (path, _), target in zip(sources, targets, strict=True):
        try:
            found = embed_module.embed(system, path, layer=layer)
        except Exception as error:  # noqa: BLE001 - costs this recording only
            failed = True
            problem(f"{path}: {reason_of(error, path)}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as partial:
            np.savez(partial, frames=found.frames.numpy(), times=found.times.numpy())
        write(f"{one_line(str(target))}\t{found.frames.shape[0]} frames of {found.frames.shape[1]}")
    leave_if(failed)


def units(model: str, *, data: list[Path], into: Path, split: str = "all", overwrite: bool = False) -> None:
    """Write the discrete units of a corpus, one line per utterance: id, tab, and units such as `17-203`.

    Args:
        model: Folder, run folder or name of a model with a quantiser.
        data: Prepared folder; may be given several times.
        into: File to write.
        split: Split to use, or `all`. Folders without splits are used as a whole.
        overwrite: Replace an existing file.
    """
    system = store.load(model).to(distributed.device())
    require_quantizer(system, model)
    utterances = utterances_of(data, None if split == "all" else split)
    num_frames, failed = 0, False
    for found in write_units(system, utterances, into, overwrite=overwrite):
        if isinstance(found, transcribe.FailedRecording):
            failed = True
            problem(f"{found.path}: {found.reason}")
        else:
            num_frames += found.num_frames
    write(f"{into}\t{num_frames} units")
    leave_if(failed)


def convert(
    source: str,
    target: Path,
    *,
    to: Annotated[ModelFormat, Parameter(name="--format")] = "sori",
    language: str | None = None,
    int8: bool = False,
    data: list[Path] | None = None,
    split: str = "test",
    tolerance: float = 0.005,
) -> None:
    """Convert a model to another format, with a certificate that lists the source of every tensor.

    Args:
        source: Folder, run folder or name of a model; a transformers folder, a fairseq checkpoint (.pt), or
            hf://OWNER/NAME (optionally with @REVISION) on the Hugging Face hub.
        target: Output folder.
        to: Output format: sori, huggingface (transformers), fairseq, or onnx.
        language: Language adapter to use from a source with several (MMS), such as `swh`.
        int8: With onnx: also write 8-bit weights (model.int8.onnx), if the error rates stay within the tolerance.
        data: Prepared folder to evaluate 8-bit weights on; may be given several times.
        split: Split to evaluate 8-bit weights on, or `all`.
        tolerance: Maximum increase of the word and character error rates with 8-bit weights, as a fraction: 0.005 is
            0.5 percentage points.
    """
    require_amount("--tolerance", tolerance, most=1.0)
    if int8 and not data:
        raise ValueError("8-bit weights are written only after an evaluation: give transcribed speech with --data DIR")
    score = onnx_score(data or [], None if split == "all" else split) if int8 else None
    wanted = None if score is None else Int8(score, tolerance)
    write(convert_model(source, target, to=to, language=language, int8=wanted).table())


def plot(source: Path, *, into: Path | None = None) -> None:
    """Plot the training curves of a run, or the waveform and log-mel features of a sound file.

    Args:
        source: Run folder or sound file.
        into: Figure to write (.png, .svg, .pdf). By default `curves.png` in the run folder, or NAME.png in the current
            folder for a sound file.
    """
    if source.is_dir():
        metrics = RunFolder(source).metrics
        rows = read_metrics(metrics)
        if not rows:
            raise ValueError(f"{source} contains no metrics ({metrics.name}); expected the folder of a run")
        reference = reference_curves(RunFolder(source).recipe_name() or "")
        figure, target = curves(rows, reference=reference), into or source / "curves.png"
    else:
        waveform = read_whole(source, most_seconds=_MOST_PLOTTED_SECONDS)
        frames = LogMel(LogMelConfig(stack=1))(waveform[None], torch.tensor([len(waveform)])).data[0]
        figure, target = features(waveform, frames), into or Path(f"{source.stem}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, target)
    write(f"drawn: {target}")
