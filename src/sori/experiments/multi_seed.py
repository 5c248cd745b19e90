"""Train one recipe with several seeds: the spread over seeds, and the best one as the model.

The output folder contains a run folder for each seed (`seed_0`, ...; each with its scores in `dev.json`),
`recipe.yaml`, `seeds.json` (scores, comparisons, choice) and `model/`, a copy of the best, so that it can be used like
a run folder.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sori.checkpoints import resolve, store
from sori.core import distributed
from sori.core.counts import require_count
from sori.core.files import read_json, write_text
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data.manifest import Utterance, read_manifest
from sori.evaluation import recognition
from sori.evaluation.error_rate import Difference, ErrorReport, compare, error_rates
from sori.evaluation.seed_spread import SeedScores
from sori.recipes.recipe import LabelConfig, Recipe, RecogniserRecipe
from sori.runs import run
from sori.text.vocabulary import BLANK, Vocabulary
from sori.training.watch import Diverged

SUMMARY, SCORE, FAILED = "seeds.json", "dev.json", "failed.txt"

_MARK = "seeds: several, each in its folder seed_N\n"
"""Line in `recipe.yaml` that keeps single runs and multi-seed runs from using each other's folders."""


def train_seeds(
    recipe: Recipe,
    *,
    seeds: int,
    into: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
) -> SeedScores | None:
    """Train a recogniser with the seeds `train.seed`, `train.seed + 1`, ..., and choose the best by CER on dev.

    `labels.seed` is not changed, so that all seeds train on the same utterances and the spread is that of training
    alone. Each seed is a separate run, equal to a single run with that `train.seed`. All are scored on the whole dev
    split. The same call continues an interrupted experiment; with more seeds, it adds the missing ones. A seed whose
    training diverged is listed and not chosen; remove its folder to train it again.

    Args:
        recipe: recipe of a recogniser; see `recipes`.
        seeds: number of seeds, at least 2.
        into: output folder, created if absent.
        data: prepared folder or folders, instead of the recipe's `corpora`; at least one with a dev split.
        init: model to start from, as for `run.train`.

    Returns:
        None if training was interrupted (Ctrl-C, SIGTERM), and in every process but the first.

    Raises:
        ValueError: fewer than two seeds, or fewer than are in the folder; no criterion to choose by (not a recogniser,
            or no transcribed dev split); the folder contains another run, or a single one.
        FileNotFoundError: there is no such data folder or starting model.
        RuntimeError: every seed diverged.
    """
    into = Path(into)
    recipe = run.complete(_choosable(recipe, seeds), data, init)
    require_count("seeds", seeds, least=2, most=1000)
    labels = recipe.labels
    dev = _dev_folders(recipe, labels)
    wanted = range(recipe.train.seed, recipe.train.seed + seeds)
    with distributed.process_group(), RunFolder(into).locked():
        is_first = distributed.rank() == 0
        failed = _train_each(recipe, into, wanted)
    if failed is None:
        return None
    if len(failed) == seeds:
        reasons = "\n".join(f"  seed {seed}: {reason}" for seed, reason in failed.items())
        raise RuntimeError(
            f"all {seeds} seeds failed, so there is no model to choose:\n{reasons}\nChange the recipe as suggested "
            "above and train into a new folder"
        )
    # Outside the process group, because the other processes would time out while waiting for the scores.
    if not is_first:
        return None
    with RunFolder(into).locked():
        return _choose(into, dev, labels.dev_split, wanted, failed)


def compare_runs(
    first: str | Path, second: str | Path, *, num_draws: int = 1000, seed: int = 0
) -> dict[Literal["wer", "cer"], Difference]:
    """Compare two recipes, each trained with several seeds, by their mean error rates on dev over all finished seeds.

    Each bootstrap sample draws, with replacement, speakers (or utterances), the same for both recipes, and the seeds of
    each. With only two or three seeds, the spread is underestimated. The means do not depend on the chosen seeds.

    Args:
        first: folder of `train_seeds`.
        second: another such folder, scored on the same dev split.
        num_draws: number of bootstrap samples.
        seed: random seed of the bootstrap.

    Returns:
        First minus second; `is_clear` is False if the difference is not significant.

    Raises:
        ValueError: a folder does not contain several seeds, or they were scored on other utterances.
    """
    return compare(_reports(Path(first)), _reports(Path(second)), num_draws=num_draws, seed=seed)


def _train_each(recipe: RecogniserRecipe, into: Path, wanted: range) -> dict[int, str] | None:
    """Train one run after the other; return the failures with their reasons, or None after an interruption."""
    # Read before `_begin`, which synchronises all processes, so that all read the same.
    failed = {seed: path.read_text("utf-8") for seed in wanted if (path := _home(into, seed) / FAILED).exists()}
    _begin(into, recipe, wanted)
    for seed in wanted:
        home = _home(into, seed)
        logger.info(f"\n== seed {seed} ({seed - wanted[0] + 1} of {len(wanted)}), {home}")
        if seed in failed:
            logger.info(f"failed before: {failed[seed]} Remove {home} to train it again")
            continue
        try:
            if not run.train(_with_seed(recipe, seed), into=home).finished:
                return None
        except Diverged as error:
            failed[seed] = str(error)
            logger.info(f"seed {seed} failed: {error}")
            if distributed.rank() == 0:
                write_text(home / FAILED, str(error))
    return dict(sorted(failed.items()))


def _choosable(recipe: Recipe, seeds: int) -> RecogniserRecipe:
    if seeds < 2:
        raise ValueError(
            f"expected at least 2 seeds, got {seeds}: with fewer there is no spread and no choice; for a single run "
            "leave `--seeds` out"
        )
    if not isinstance(recipe, RecogniserRecipe):
        raise ValueError(  # noqa: TRY004 - the caller passes the name of a recipe, not a type
            f"{recipe.name} pre-trains without transcripts, so there are no error rates to choose a seed by; leave "
            "`--seeds` out (another seed: `--train.seed 1` into another folder), and use it with a recipe that trains "
            "on transcripts, such as ctc_10min"
        )
    return recipe


def _dev_folders(recipe: RecogniserRecipe, labels: LabelConfig) -> list[str]:
    """Return those of the recipe's folders that have a dev split; called before training.

    Raises:
        ValueError: there is no usable dev split.
    """
    split = labels.dev_split
    if not split.startswith(recipe.held_out):
        raise ValueError(
            f"the split {split!r} is trained on, so no seed can be chosen by it; add it to held_out "
            f"({', '.join(recipe.held_out) or 'now empty'}) or name another split with `--labels.dev-split`"
        )
    splits = {folder: {u.split for u in read_manifest(Path(folder))} for folder in recipe.corpora}
    folders = [folder for folder, names in splits.items() if split in names]
    if not folders:
        known = ", ".join(sorted({name or "none" for names in splits.values() for name in names}))
        raise ValueError(
            f"expected a split called {split!r} to choose the best seed by, got {', '.join(recipe.corpora)} with "
            f"splits: {known}; name the split in the table that `sori prepare` reads (column `split`), or another one "
            "with `--labels.dev-split`"
        )
    rules = Vocabulary(case=labels.case, punctuation=labels.punctuation, symbols=(BLANK,))
    num_transcribed = sum(bool(rules.normalise(u.text or "")) for u in _with_text(folders, split))
    if num_transcribed < 2:
        raise ValueError(
            f"expected a split {split!r} with at least two transcribed utterances to choose the best seed by, got "
            f"{num_transcribed}; put the text of speech.wav into speech.txt beside it and run `sori prepare` again"
        )
    return folders


def _with_text(folders: Sequence[str], split: str) -> list[Utterance]:
    found = [u for folder in folders for u in read_manifest(Path(folder)) if u.split == split]
    return [u for u in found if u.text and u.text.strip()]


def _begin(into: Path, recipe: RecogniserRecipe, wanted: range) -> None:
    """Begin a multi-seed run of this recipe in the folder, or continue it.

    Raises:
        ValueError: the folder contains something else, or more seeds.
    """
    folder = RunFolder(into)
    path = folder.recipe
    if path.exists() and _MARK not in path.read_text(encoding="utf-8"):
        raise ValueError(
            f"{into} contains a single run, which is not changed; choose another folder for several seeds, or make it "
            f"the first of them: `mkdir NEW; mv {into} NEW/seed_{wanted[0]}`, then `--into NEW`"
        )
    if not path.exists() and any(place.exists() for place in (folder.checkpoint, folder.model, into / resolve.CARD)):
        raise ValueError(f"{into} already contains a model, which is not changed; choose another folder")
    folder.check_free([into / SUMMARY])
    store.check_place(folder.model)
    folder.begin(recipe.to_yaml() + _MARK)
    begun = [folder.parent.name for folder in into.glob(f"seed_*/{path.name}")]
    if more := sorted(set(begun) - {_home(into, seed).name for seed in wanted}):
        raise ValueError(
            f"{into} also contains {', '.join(more)}, but --seeds {len(wanted)} means seeds {wanted[0]} to "
            f"{wanted[-1]}; leaving out finished seeds would bias the spread: repeat the command with at least as many "
            "seeds, or choose another folder"
        )


def _with_seed(recipe: RecogniserRecipe, seed: int) -> RecogniserRecipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})


def _choose(into: Path, dev: Sequence[str], split: str, wanted: range, failed: dict[int, str]) -> SeedScores:
    """Score all finished seeds, choose the best, and store it as the model."""
    reports = {seed: _scored(_home(into, seed), dev, split) for seed in wanted if seed not in failed}
    scores = SeedScores(into, split, reports, failed)
    best = _home(into, scores.chosen)
    choice = {"chosen": scores.chosen, "of": list(wanted), "failed": list(failed), "by": f"cer on {split}, then wer"}
    provenance = store.read_card(RunFolder(best).model).provenance | {"seeds": choice}
    store.save(store.load(best), RunFolder(into).model, provenance=provenance)
    write_text(into / SUMMARY, json.dumps(scores.to_data(), ensure_ascii=False, indent=1) + "\n")
    logger.info(f"\nseed {scores.chosen} is the model in {RunFolder(into).model}; scores in {into / SUMMARY}")
    return scores


def _scored(folder: Path, dev: Sequence[str], split: str) -> ErrorReport:
    """Return error rates on the dev split, from the folder if model and split have not changed since."""
    path, of = folder / SCORE, {"model": _model_digest(RunFolder(folder).model), "data": _data_digest(dev, split)}
    if path.exists():
        stored = read_json(path)
        if stored.get("of") == of:
            return _report(stored)
    logger.info(f"scoring {folder} on {split}")
    report = recognition.evaluate(folder, data=dev, split=split, decoder=None)
    write_text(path, json.dumps({"of": of, **report.to_data()}, ensure_ascii=False, indent=1) + "\n")
    return report


def _report(stored: dict[str, Any]) -> ErrorReport:
    columns = ([one[key] for one in stored["utterances"]] for key in ("reference", "hypothesis", "speaker"))
    return error_rates(*columns)


def _reports(into: Path) -> list[ErrorReport]:
    """Read the error rates of all finished seeds."""
    if not (into / SUMMARY).is_file():
        raise ValueError(
            f"expected a folder of several seeds, got {into} without {SUMMARY}; `sori train RECIPE --seeds 3 --into "
            f"{into}` creates one, or repeat its command to finish it"
        )
    rows = read_json(into / SUMMARY)["seeds"]
    paths = [_home(into, row["seed"]) / SCORE for row in rows if "failed" not in row]
    if missing := [path for path in paths if not path.is_file()]:
        raise ValueError(f"{missing[0]} is missing, but listed in {into / SUMMARY}; repeat its command to score again")
    return [_report(read_json(path)) for path in paths]


def _model_digest(model: Path) -> str:
    digest = hashlib.blake2b((model / store.VOCABULARY).read_bytes(), digest_size=16)
    with (model / store.WEIGHTS).open("rb") as file:
        hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _data_digest(dev: Sequence[str], split: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for u in _with_text(dev, split):
        digest.update(repr((u.id, u.start, u.num_samples, u.text, u.speaker)).encode())
    return digest.hexdigest()


def _home(into: Path, seed: int) -> Path:
    return into / f"seed_{seed}"
