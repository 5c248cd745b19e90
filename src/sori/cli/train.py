"""Commands that lead to a model: prepare, manifest, shards, plan, train, list, show, demo."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sori.cli.exit_codes import leave_if
from sori.cli.output import write
from sori.data.sources.reading import Reading


@Parameter(name="*")
@dataclass(frozen=True)
class ReadingOptions:
    """Options of how folders of recordings are read."""

    layout: str | None = None
    """Layout of the folders, such as common_voice, or folder for none. By default it is recognised."""
    tier: Annotated[list[str] | None, Parameter(negative=())] = None
    """Name, type or speaker of a tier with transcripts in ELAN and Praat files; may be given several times."""
    transcript_rules: Path | None = None
    """File of rules (.toml) for conventions of annotators such as [laughs], instead of the built-in ones."""
    audio_root: Path | None = None
    """Folder of the recordings that tables name, if it is not that of the table."""
    channels: Literal["average", "separate"] = "average"
    """separate makes each channel a recording of its own: telephone calls, interviews with one speaker on each."""
    keep_truncated: bool = False
    """Keep what is there of recordings that are cut off, instead of excluding them."""

    def reading(self) -> Reading:
        """Return the settings of the library."""
        return Reading(
            layout=self.layout,
            tier=tuple(self.tier or ()),
            transcript_rules=self.transcript_rules,
            audio_root=self.audio_root,
            channels=self.channels,
            keep_truncated=self.keep_truncated,
        )


READING = ReadingOptions()


def prepare(
    source: str,
    *more: str,
    language: str | None = None,
    min_seconds: float = 0.025,
    max_seconds: float = 30.0,
    num_workers: int | None = None,
    overwrite: bool = False,
    relative_to: Path | None = None,
    scheduler: str | None = None,
    check: Annotated[bool, Parameter(negative=())] = False,
    options: ReadingOptions = READING,
) -> None:
    """Check recordings and write a prepared folder that lists the usable ones; recordings are never changed.

    The same command continues where it was interrupted.

    Args:
        source: Folder of recordings, table (.tsv, .csv, .jsonl), or CORPUS:FOLDER with a corpus supported by Lhotse.
        more: Further sources and, last, the folder to write: the list of utterances, `report.md`, and `excluded.jsonl`
            with the reason for each excluded file.
        language: Language of recordings whose source does not name one, such as `eng`.
        min_seconds: Minimum length in seconds; shorter recordings are excluded.
        max_seconds: Maximum length of an utterance in seconds; longer recordings are cut at silences.
        num_workers: Number of decoding processes. By default one per core.
        overwrite: Replace the lists of a folder that is already prepared.
        relative_to: Folder above all recordings, to which paths are relative, for recordings that are elsewhere on
            other machines; there, set SORI_RECORDINGS. By default, paths are relative to the output folder.
        scheduler: Address of a Dask scheduler, such as tcp://host:8786, whose workers decode instead of this machine.
        check: Only check whether the recordings of prepared folders exist, and list missing ones.
        options: How folders are read.
    """
    from sori.data.preparation.check_folder import check_folder
    from sori.data.preparation.prepare import prepare as prepare_folder

    if check:
        checks = [check_folder(Path(folder)) for folder in (source, *more)]
        write("\n".join(map(str, checks)))
        leave_if(any(one.missing for one in checks))
        return
    if not more:
        raise ValueError(f"expected an output folder as the last argument: sori prepare {source} OUT")
    write(
        prepare_folder(
            [source, *more[:-1]],
            more[-1],
            language=language,
            min_seconds=min_seconds,
            max_seconds=max_seconds,
            num_workers=num_workers,
            overwrite=overwrite,
            reading=options.reading(),
            relative_to=relative_to,
            scheduler=scheduler,
        )
    )


def manifest(folder: Path, *, root: str | None = None) -> None:
    """Write the table of a prepared folder from its Lhotse cuts, or the reverse; or let it find moved recordings.

    Args:
        folder: Prepared folder, or one with a list `cuts.jsonl.gz` of Lhotse. The table is written if there is none,
            or if the cuts were changed since; the cuts if there are none.
        root: Folder that holds the recordings now, at the same paths below it as before; both lists are rewritten once
            all recordings were found there. For shards in object storage, the URL that replaces `folder`.
    """
    if root is not None:
        from sori.data.moved_root import move_root

        write(f"{folder}: recordings of {move_root(folder, root)} are now read from {root}")
        return
    from sori.data.manifest_forms import write_missing

    write(f"wrote {write_missing(folder)}")


def shards(
    prepared: Path, into: Path, *, shard_format: Literal["flac", "opus"] = "flac", shard_mb: float = 64.0, seed: int = 0
) -> None:
    """Write the sound of a prepared folder into tar files, for clusters and object storage.

    Args:
        prepared: Prepared folder.
        into: New prepared folder, with the tar files and their Lhotse cuts in its folder `shards` (Lhotse Shar). The
            tar files can be copied into object storage: set SORI_RECORDINGS to the URL that replaces this folder.
        shard_format: flac keeps samples of 16 bits at 16 kHz as they are; opus takes a sixth of the space.
        shard_mb: Size of a tar file in megabytes.
        seed: Decides the order, which is random: neighbours come from different recordings.
    """
    from sori.data.shards import write_shards

    write(write_shards(prepared, into, shard_format=shard_format, shard_mb=shard_mb, seed=seed))


def plan(
    *,
    hours: float,
    device: str = "here",
    devices: int = 1,
    deadline: str | None = None,
    minutes_of_labels: float | None = None,
    recipe: str | None = None,
    data: Path | None = None,
) -> None:
    """Plan training: recipe, settings, time, memory and disk for some hours of speech and a deadline.

    Args:
        hours: Hours of recordings to pre-train on; with ctc_10min_xlsr_laptop, all there are.
        device: here, to measure updates on this machine for less than a minute, or a GPU: h100, h200, a100, l40s, l4,
            rtx4090, estimated from its maker's figures.
        devices: Number of devices.
        deadline: Time for training, such as 90min, 48h or 3d. By default as long as the recipe takes.
        minutes_of_labels: Minutes of transcribed speech to fine-tune a recogniser on. By default pre-training only.
        recipe: Pre-training recipe, or ctc_10min_xlsr_laptop to fine-tune a public model. By default the largest for
            pre-training that fits.
        data: Prepared folder to train on; updates are then measured with audio of the lengths of its utterances.
    """
    from sori.experiments.planning.plan import plan as plan_training

    write(
        plan_training(
            hours,
            device=device,
            devices=devices,
            deadline_hours=None if deadline is None else _hours(deadline),
            minutes_of_labels=minutes_of_labels,
            recipe=recipe,
            data=data,
        )
    )


def _hours(text: str) -> float:
    """Return the hours of `90min`, `48h` or `3d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(min|h|d)", text.strip())
    if found is None:
        raise ValueError(f"expected a time such as 90min, 48h or 3d for --deadline, got {text!r}")
    return float(found[1]) * {"min": 1 / 60, "h": 1.0, "d": 24.0}[found[2]]


def train(
    recipe: str,
    *changes: Annotated[str, Parameter(allow_leading_hyphen=True)],
    into: Path,
    data: list[Path] | None = None,
    init: str | None = None,
    seeds: int | None = None,
    unlabelled: list[Path] | None = None,
) -> None:
    """Pre-train or fine-tune a model; the same command continues an interrupted run.

    Args:
        recipe: Built-in recipe (`sori list`), YAML file (`sori show NAME > mine.yaml`), or file.py:function.
        changes: Any setting that `sori show RECIPE` lists, such as `--train.num-steps 100` or `--optim.lr 3e-4`.
        into: Run folder; the trained model is in its subfolder `model`.
        data: Training data; may be given several times. A prepared folder for speech; text files or folders for
            Word2Vec and BERT; tables for text classifiers; images for SimCLR. By default, the recipe's `corpora`.
        init: Model to start from: folder, run folder, name, or hf://OWNER/NAME on the Hugging Face hub. By default,
            random weights.
        seeds: Number of times (at least 2) to train a recogniser, with the seeds `train.seed`, `train.seed + 1`, ... on
            the same transcripts, each in its folder `seed_N`. The best on the split `dev` becomes the model, and the
            spread over seeds is reported. The same command with more seeds adds the missing ones.
        unlabelled: Prepared folder of speech without transcripts, for a recogniser; may be given several times. The
            recogniser transcribes it, what it is most confident of is added to the transcripts, and it is trained
            again, twice (self-training). The best on the split `dev` becomes the model.
    """
    from sori import recipes
    from sori.experiments import multi_seed, self_training
    from sori.recipes.recipe import RecogniserRecipe
    from sori.recipes.word2vec import WordRecipe
    from sori.runs import run

    settings = recipes.by_name(recipe).override(_changes(changes))
    if unlabelled:
        if seeds is not None or not isinstance(settings, RecogniserRecipe):
            raise ValueError(
                f"--unlabelled is for a single recogniser, got {settings.name}"
                + (f" with --seeds {seeds}" if seeds is not None else "")
                + "; leave one of them out, or use a recipe such as ctc_10min"
            )
        self_training.self_train(settings, into=into, data=data, init=init, unlabelled=unlabelled)
        return
    if seeds is None or isinstance(settings, WordRecipe):
        if seeds is not None:
            raise ValueError(f"--seeds compares recognisers, but {settings.name} trains word vectors: leave it out")
        run.train(settings, into=into, data=data, init=init)
        return
    scores = multi_seed.train_seeds(settings, seeds=seeds, into=into, data=data, init=init)
    if scores is not None:
        write(scores.table())


def list_() -> None:
    """List the built-in recipes, and the models in ./runs."""
    from sori import recipes
    from sori.checkpoints import resolve

    write("Recipes (sori show NAME, sori train NAME ...)")
    for recipe in recipes.RECIPES:
        write(f"  {recipe.__name__:20} {(recipe.__doc__ or '').splitlines()[0]}")
    write("\nModels in runs/ (sori show NAME)")
    for name in resolve.list_models() or ["(none yet)"]:
        write(f"  {name}")


def show(name: str) -> None:
    """Print a recipe as YAML, which can be edited and trained from, or describe a model.

    Args:
        name: Recipe (as for `sori train`) or model (folder, run folder or name).
    """
    from sori import recipes
    from sori.checkpoints import store

    try:
        recipe = recipes.by_name(name)
    except ValueError as unknown_recipe:
        if name.endswith((".yaml", ".yml")) or ".py:" in name:  # a recipe file: what is wrong with it
            raise
        try:
            write(store.describe(name), end="")
        except FileNotFoundError as unknown_model:
            raise ValueError(f"{unknown_recipe}\n{unknown_model}") from None
    else:
        write(recipe.to_yaml(), end="")


def demo(
    *, into: Path = Path("sori-demo"), data: Path | None = None, minutes: float = 10.0, smoke: bool = False
) -> None:
    """Train recognisers without and with pre-training and self-training, and compare them on a web page.

    The same command continues an interrupted demo.

    Args:
        into: Output folder.
        data: Folder or table of your recordings, some of them transcribed. By default, a small corpus is synthesised by
            text to speech.
        minutes: Maximum amount of your transcribed speech to train on, in minutes.
        smoke: Use toy models and a toy corpus, to test in seconds whether everything runs.
    """
    from sori.core.counts import require_amount
    from sori.experiments.demonstration.demo import demo as demonstrate

    require_amount("--minutes", minutes)
    demonstrate(into, data=data, minutes=minutes, smoke=smoke)


def _changes(tokens: Sequence[str]) -> dict[str, str]:
    """Parse `--optim.lr 3e-4` and `--optim.lr=3e-4`; dashes in names become underscores."""
    from sori.recipes.recipe import Recipe
    from sori.recipes.word2vec import WordRecipe

    changes: dict[str, str] = {}
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        name, equals, value = token.removeprefix("--").partition("=")
        if not token.startswith("--") or not name:
            raise ValueError(f"unexpected {token!r}; settings are given as --optim.lr 3e-4")
        key = name.replace("-", "_")
        # `--seed` is more likely train.seed, which the recipe suggests.
        options = ["into", "data", "init", "debug"] + ["seeds"] * (key != "seed")
        if key not in Recipe.model_fields | WordRecipe.model_fields and (
            near := difflib.get_close_matches(key, options, n=1)
        ):
            raise ValueError(f"unknown option --{name}; did you mean --{near[0]}?")
        if not equals and not rest:
            raise ValueError(f"--{name} needs a value")
        if key in changes:
            raise ValueError(f"--{name} is given twice; give several values as a list: --{name} '[A, B]'")
        changes[key] = value if equals else rest.pop(0)
    return changes
