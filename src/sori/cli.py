"""The `sori` command: verbs to functions; whatever it can do, the package can do without it."""

import difflib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from cyclopts import App, Parameter

from sori import distributed, hub, infer, language, recipes, run
from sori.audio import SAMPLE_RATE, info, read
from sori.data.prepare import prepare as prepare_folder
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.formats import Format, Transcribed, render
from sori.decoding.kneser_ney import build as build_lm
from sori.demo import demo as demonstrate
from sori.exchange import Format as ModelFormat
from sori.exchange import Int8
from sori.exchange import convert as convert_model
from sori.nn.spectral import LogMel, LogMelConfig
from sori.plots.features import features
from sori.plots.training import curves
from sori.recipes.recipe import Recipe
from sori.training.log import METRICS, read_metrics
from sori.transcripts import STDIN, plan, standard_input
from sori.transcripts import show as show_transcripts
from sori.transcripts import write as write_transcripts

app = App(
    name="sori",
    help="Self-supervised speech representations: from a folder of recordings to a recogniser.",
    help_epilogue="With --debug, any verb shows where in the program an error arose.",
    version_flags=["--version"],
)


lm = App(name="lm", help="Language models: build one from text, find its weight.")
app.command(lm)


@app.command
def prepare(
    source: str,
    *more: str,
    language: str | None = None,
    min_seconds: float = 0.025,
    max_seconds: float = 30.0,
    num_workers: int | None = None,
    overwrite: bool = False,
) -> None:
    """Look into recordings and list those that can be used; the recordings are only read.

    Args:
        source: A folder of recordings, a table (.tsv, .csv, .jsonl), or CORPUS:FOLDER with a corpus that Lhotse knows.
        more: Further sources, and last the folder to write: the list, `report.md`, and `excluded.jsonl` with the reason
            for each file left out.
        language: Of recordings whose source does not say, such as `eng`.
        min_seconds: Shorter recordings are left out.
        max_seconds: Longer ones are cut at silences.
        num_workers: Processes that decode; by default one for each core.
        overwrite: Replace the lists of an already prepared folder.
    """
    if not more:
        raise ValueError(f"expected where to write as well: sori prepare {source} OUT")
    print(
        prepare_folder(
            [source, *more[:-1]],
            more[-1],
            language=language,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            num_workers=num_workers,
            overwrite=overwrite,
        )
    )


@app.command
def train(
    recipe: str,
    *changes: Annotated[str, Parameter(allow_leading_hyphen=True)],
    into: Path,
    data: list[Path] | None = None,
    init: str | None = None,
) -> None:
    """Pre-train or fine-tune; the same command again continues an interrupted run.

    Args:
        recipe: Built-in name (`sori list`), YAML file (`sori show NAME > mine.yaml`), or file.py:function.
        changes: Any setting that `sori show RECIPE` lists, such as `--train.num-steps 100` or `--optim.lr 3e-4`.
        into: Run folder; the finished model is its subfolder `model`.
        data: Prepared folder; may be given several times.
        init: Model to start from: folder, run folder or name.
    """
    settings = recipes.by_name(recipe).override(_changes(changes))
    run.train(settings, into=into, data=data, init=init)


@Parameter(name="*")
@dataclass(frozen=True)
class Search:
    """How a language model is used, for every verb that writes text."""

    lm: Path | None = None
    """Language model over words (.arpa, .arpa.gz), from `sori lm build` or elsewhere; without it, the likeliest symbol
    of each frame is written."""
    lm_weight: float = BeamConfig().lm_weight
    """Weight of the language model; `sori lm tune` finds it."""
    word_score: float = BeamConfig().word_score
    """Bonus for each word; likewise."""
    beam_size: int = BeamConfig().beam_size
    """Texts that are kept in mind."""
    unknown_words: bool = False
    """Also write words that the language model does not know."""

    def decoder(self, model: hub.System) -> BeamDecoder | None:
        """For `infer.transcribe` and `run.evaluate`."""
        if self.lm is None:
            return None
        config = BeamConfig(lm_weight=self.lm_weight, word_score=self.word_score, beam_size=self.beam_size)
        return language.decoder(model, self.lm, config, known_words_only=not self.unknown_words)


@app.command
def transcribe(
    model: str,
    *files: Path,
    to: Annotated[Format, Parameter(name="--format")] = "txt",
    into: Path | None = None,
    overwrite: bool = False,
    times: bool = False,
    search: Search = Search(),
) -> None:
    """Write down what is said in sound files, however long.

    Args:
        model: Folder, run folder or name of a recogniser.
        files: Sound files of any kind, folders of them, or `-` for standard input.
        to: What to write: txt, json, srt or vtt (captions), TextGrid (Praat), eaf (ELAN), or ctm (scoring).
        into: Folder for one transcript a recording, NAME.txt and so on; by default they go to the screen.
        overwrite: Replace transcripts that exist in that folder.
        times: On the screen: one line for each word, with begin and end in seconds.
        search: Language model.
    """
    _needs_files(files)
    system = hub.load(model).to(distributed.device())
    decoder = search.decoder(system)
    with standard_input(files) as sources:
        if into is not None:
            jobs = plan(sources, into=into, to=to)
            found = write_transcripts(system, jobs, to=to, overwrite=overwrite, decoder=decoder)
        else:
            found = show_transcripts(system, sources, to=to, times=times, decoder=decoder)
        failed = False
        for one in found:
            failed |= isinstance(one, infer.Failure)
            if isinstance(one, infer.Failure):
                print(f"{one.path}: {one.reason}", file=sys.stderr)
            else:
                print(one, flush=True)
    _leave_if(failed)


@app.command
def align(
    model: str,
    recording: Path,
    text: Path,
    *,
    to: Annotated[Format | None, Parameter(name="--format")] = None,
    skip_penalty: float | None = None,
) -> None:
    """When each word of a known text is spoken: begin, end, confidence and word, a line each.

    Args:
        model: Folder, run folder or name of a recogniser.
        recording: Sound file, however long.
        text: File with what is said in it.
        to: Print as json, srt, vtt, TextGrid, eaf or ctm instead.
        skip_penalty: Words of the text may be missing in the recording; the price of leaving one out, such as 20.
    """
    system = hub.load(model).to(distributed.device())
    found = infer.align(system, recording, text.read_text(encoding="utf-8"), skip_penalty=skip_penalty)
    if to is None:
        for word, sure in zip(found.words, found.confidence, strict=True):
            print(f"{word.start:.2f}\t{word.end:.2f}\t{sure:.2f}\t{word.text}")
    else:
        said = " ".join(word.text for word in found.words)
        length = info(recording).num_samples / SAMPLE_RATE
        print(render(Transcribed(said, found.words, length, recording.name, found.confidence), to), end="")
    if found.skipped:
        print(f"left out: {' '.join(found.skipped)}", file=sys.stderr)
    if found.unwritable:
        print(f"letters that the recogniser cannot write: {' '.join(found.unwritable)}", file=sys.stderr)


@app.command
def evaluate(
    model: str, *, data: list[Path], split: str = "test", save: Path | None = None, search: Search = Search()
) -> None:
    """Word and character error rates on transcribed recordings.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits; `all` for all of them.
        save: Write the report, every utterance in it, as JSON.
        search: Language model.
    """
    system = hub.load(model).to(distributed.device())
    recogniser = run.needs_recogniser(system, model)
    decoder = search.decoder(system)
    report = run.evaluate(recogniser, data=data, split=None if split == "all" else split, decoder=decoder)
    print(report.table())
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(report.to_data(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


@lm.command
def build(
    *texts: Path,
    into: Path,
    order: int = 4,
    prune: list[int] | None = None,
    model: str | None = None,
    unit: Literal["word", "character"] = "word",
) -> None:
    """Make a language model of text: interpolated modified Kneser-Ney, as an ARPA file.

    Args:
        texts: Text files (.txt, .gz, .xz), one sentence or paragraph a line.
        into: File to write: .arpa or .arpa.gz.
        order: Words that are looked at together, 1 to 6.
        prune: By order, drop what occurs at most so often; `--prune 0 --prune 0 --prune 1`: single ones from order 3.
        model: Recogniser it is for: text is normalised as it writes, and what it cannot write is reported.
        unit: Words, or characters for a model over the recogniser's symbols.
    """
    if not texts:
        raise ValueError("expected text files, got none; name them after `sori lm build`")
    vocabulary = hub.read(model).model.vocabulary if model else None
    if model and vocabulary is None:
        raise ValueError(f"{model} is no recogniser; it writes no text that a language model could be made for")
    report = build_lm(texts, order=order, into=into, vocabulary=vocabulary, unit=unit, prune=prune or ())
    print(report.table())


@lm.command
def tune(
    model: str, lm: Path, *, data: list[Path], split: str = "dev", beam_size: int = 50, unknown_words: bool = False
) -> None:
    """Find the weight of a language model, and the bonus for each word, with the fewest word errors.

    Args:
        model: Folder, run folder or name of a recogniser.
        lm: Language model over words (.arpa, .arpa.gz).
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits: not those that errors are reported on.
        beam_size: Texts that are kept in mind.
        unknown_words: Also write words that the language model does not know.
    """
    system = hub.load(model).to(distributed.device())
    decoder = Search(lm=lm, beam_size=beam_size, unknown_words=unknown_words).decoder(system)
    assert decoder is not None  # noqa: S101 - there is a language model
    utterances = run.transcribed(data, None if split == "all" else split)
    print(language.tune(run.needs_recogniser(system, model), decoder, utterances).table())


@app.command
def embed(model: str, *files: Path, into: Path, layer: int | None = None) -> None:
    """Write the vectors of sound files, one `.npz` each with `frames` and `times`.

    Args:
        model: Folder, run folder or name.
        files: Sound files of any kind.
        into: Folder to write to.
        layer: 0 is the input of the first block; without it, the output of the last.
    """
    _needs_files(files)
    targets = [into / f"{path.stem}.npz" for path in files]
    if twice := {str(target) for target in targets if targets.count(target) > 1}:
        raise ValueError(
            f"several files would be written to {', '.join(sorted(twice))}; embed them into different folders"
        )
    system = hub.load(model).to(distributed.device())
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    for path, target in zip(files, targets, strict=True):
        try:
            found = infer.embed(system, path, layer=layer)
        except (ValueError, OSError) as error:
            failed = True
            print(f"{path}: {error}", file=sys.stderr)
            continue
        np.savez(target, frames=found.frames.numpy(), times=found.times.numpy())
        print(f"{target}\t{found.frames.shape[0]} frames of {found.frames.shape[1]}", flush=True)
    _leave_if(failed)


@app.command
def convert(
    source: str,
    target: Path,
    *,
    to: Annotated[ModelFormat, Parameter(name="--format")] = "sori",
    language: str | None = None,
    int8: bool = False,
    data: list[Path] | None = None,
    split: str = "test",
    tolerance: float = Int8(data=[]).tolerance,
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
    wanted = Int8(data or [], None if split == "all" else split, tolerance) if int8 else None
    print(convert_model(source, target, to=to, language=language, int8=wanted).table())


@app.command
def plot(source: Path, *, into: Path | None = None) -> None:
    """Draw the curves of a run, or the waveform and log-mel features of a sound file.

    Args:
        source: A run folder or a sound file.
        into: Picture to write (.png, .svg, .pdf); by default `curves.png` in the run folder, or beside you.
    """
    if source.is_dir():
        rows = read_metrics(source / METRICS)
        if not rows:
            raise ValueError(f"{source} holds no metrics ({METRICS}); expected the folder of a run that has begun")
        figure, target = curves(rows), into or source / "curves.png"
    else:
        wave = read(source)
        frames = LogMel(LogMelConfig(stack=1))(wave[None], torch.tensor([len(wave)])).data[0]
        figure, target = features(wave, frames), into or Path(f"{source.stem}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, facecolor="white", dpi=150)
    print(f"drawn: {target}")


@app.command(name="list")
def list_() -> None:
    """Recipes, and the models in ./runs."""
    print("Recipes (sori show NAME, sori train NAME ...)")
    for recipe in recipes.RECIPES:
        print(f"  {recipe.__name__:20} {(recipe.__doc__ or '').splitlines()[0]}")
    print("\nModels in runs/ (sori show NAME)")
    for name in hub.list_models() or ["(none yet)"]:
        print(f"  {name}")


@app.command
def show(name: str) -> None:
    """A recipe as YAML, to be changed and trained from, or a model's card.

    Args:
        name: A recipe or a model, as `sori train` and `sori transcribe` take them.
    """
    try:
        recipe = recipes.by_name(name)
    except ValueError as unknown_recipe:
        try:
            print(hub.describe(name), end="")
        except FileNotFoundError as unknown_model:
            raise ValueError(f"{unknown_recipe}\n{unknown_model}") from None
    else:
        print(recipe.to_yaml(), end="")


@app.command
def demo(
    *, into: Path = Path("sori-demo"), data: Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> None:
    """Show what pre-training is worth: two recognisers, one report as a web page; repeated, it continues.

    Args:
        into: Folder for everything that is made.
        data: A folder or table of your recordings, some of them transcribed; without it, synthetic voices.
        minutes: Transcribed speech to learn from, of your own recordings.
        smoke: Toy models on a toy corpus, to see in seconds whether everything runs.
    """
    demonstrate(into, data=data, minutes=minutes, smoke=smoke)


def _changes(tokens: Sequence[str]) -> dict[str, str]:
    """`--optim.lr 3e-4` and `--optim.lr=3e-4`, dashes in names as underscores."""
    changes: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not name:
            raise ValueError(f"unexpected {token!r}; settings are given as --optim.lr 3e-4")
        key = name.replace("-", "_")
        options = ["into", "data", "init", "debug"]
        if key not in Recipe.model_fields and (near := difflib.get_close_matches(key, options, n=1)):
            raise ValueError(f"unknown option --{name}; did you mean --{near[0]}?")
        if not equals and not rest:
            raise ValueError(f"--{name} needs a value")
        changes[key] = value if equals else rest.pop(0)
    return changes


def _needs_files(files: Sequence[Path]) -> None:
    if not files:
        raise ValueError("expected sound files, got none; name them after the model")


def _leave_if(failed: bool) -> None:
    if failed:
        sys.exit(1)


def main() -> None:
    """Run the command; what the user can put right is one line on the screen, and exit code 2."""
    words = sys.argv[1:]
    debug = "--debug" in words
    try:
        # A lone dash would be taken for an option.
        app([str(STDIN) if word == "-" else word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ValueError, OSError, RuntimeError) as error:
        if debug:
            traceback.print_exc()
        print(f"sori: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RuntimeError) else 2)
