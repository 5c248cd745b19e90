"""Verbs that read a model or a run out: vectors, other formats, pictures."""

import sys
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
from sori.core import distributed
from sori.core.audio import read
from sori.core.files import atomic_write
from sori.core.run_folder import RunFolder
from sori.data.utterances import utterances_of
from sori.evaluation.recognition import onnx_score
from sori.inference import embed as embed_module
from sori.inference import transcribe
from sori.inference.units import require_quantizer, write_units
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots.features import features
from sori.plots.style import save_figure
from sori.plots.training_curves import curves
from sori.training.metrics import read_metrics


def embed(model: str, *files: Path, into: Path, layer: int | None = None) -> None:
    """Write the vectors of sound files, one `.npz` each with `frames` and `times`.

    Args:
        model: Folder, run folder or name.
        files: Sound files of any kind.
        into: Folder to write to.
        layer: 0 is the input of the first block; without it, the output of the last.
    """
    require_files(files)
    targets = [into / f"{path.stem}.npz" for path in files]
    if twice := {str(target) for target in targets if targets.count(target) > 1}:
        raise ValueError(
            f"several files would be written to {', '.join(sorted(twice))}; embed them into different folders"
        )
    system = store.load(model).to(distributed.device())
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for path, target in zip(files, targets, strict=True):
        try:
            found = embed_module.embed(system, path, layer=layer)
        except (ValueError, OSError) as error:
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
            continue
        with atomic_write(target) as partial:
            np.savez(partial, frames=found.frames.numpy(), times=found.times.numpy())
        print(f"{target}\t{found.frames.shape[0]} frames of {found.frames.shape[1]}", flush=True)
    leave_if(failed)


def units(model: str, *, data: list[Path], into: Path, split: str = "all", overwrite: bool = False) -> None:
    """Write the discrete units of a corpus, a line for each utterance: its id, a tab, and units such as `17-203`.

    Args:
        model: Folder, run folder or name of a model with a quantiser.
        data: Prepared folder; may be given several times.
        into: File to write.
        split: Which utterances, where a folder names splits; `all` for all of them.
        overwrite: Replace the file.
    """
    system = store.load(model).to(distributed.device())
    require_quantizer(system, model)
    utterances = utterances_of(data, None if split == "all" else split)
    num_frames, failed = 0, False
    for found in write_units(system, utterances, into, overwrite=overwrite):
        if isinstance(found, transcribe.Failure):
            failed = True
            print(f"{found.path}: {found.reason}", file=sys.stderr)
        else:
            num_frames += found.num_frames
    print(f"{into}\t{num_frames} units")
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
    """Write a model in another format, and a certificate of what became of every tensor.

    Args:
        source: Folder, run folder, name, folder that transformers wrote, fairseq checkpoint (.pt), or hub name.
        target: Folder to be made.
        to: What to write: sori, huggingface (for transformers), fairseq, or onnx.
        language: Of a source with language adapters (MMS): which one, such as `swh`.
        int8: With onnx: also write 8-bit weights (model.int8.onnx), if they cost no more errors than allowed.
        data: Prepared folder to try the 8-bit weights on; may be given several times.
        split: Which of its utterances; `all` for all of them.
        tolerance: By how much the word and character error rates may rise: 0.005 is one error more among 200.
    """
    if int8 and not data:
        raise ValueError(
            "8-bit weights are kept only if they prove themselves: give transcribed speech with --data DIR"
        )
    score = onnx_score(data or [], None if split == "all" else split) if int8 else None
    wanted = None if score is None else Int8(score, tolerance)
    print(convert_model(source, target, to=to, language=language, int8=wanted).table())


def plot(source: Path, *, into: Path | None = None) -> None:
    """Draw the curves of a run, or the waveform and log-mel features of a sound file.

    Args:
        source: A run folder or a sound file.
        into: Picture to write (.png, .svg, .pdf); by default `curves.png` in the run folder, or beside you.
    """
    if source.is_dir():
        metrics = RunFolder(source).metrics
        rows = read_metrics(metrics)
        if not rows:
            raise ValueError(f"{source} holds no metrics ({metrics.name}); expected the folder of a run that has begun")
        figure, target = curves(rows), into or source / "curves.png"
    else:
        waveform = read(source)
        frames = LogMel(LogMelConfig(stack=1))(waveform[None], torch.tensor([len(waveform)])).data[0]
        figure, target = features(waveform, frames), into or Path(f"{source.stem}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, target)
    print(f"drawn: {target}")
