"""One recipe with several seeds: how far the seed alone moves the result, and the best of them as the model.

The folder holds a run folder for each seed (`seed_0`, ...; in each `dev.json`, its score with every utterance),
`recipe.yaml`, `seeds.json` (scores, comparisons, choice) and `model/`, a copy of the best, so that it is used like any
run folder.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sori.checkpoints import resolve, store
from sori.core import distributed
from sori.core.counts import require_count
from sori.core.files import write_text
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
"""Stands in the folder's `recipe.yaml`, so that neither a plain run nor several seeds take the other's folder."""


def train_seeds(
    recipe: Recipe,
    *,
    seeds: int,
    into: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
) -> SeedScores | None:
    """Train a recogniser with the seeds `train.seed`, `train.seed + 1`, ..., and choose the best by CER on dev.

    `labels.seed` stays, so that all learn from the same utterances and the spread is that of training alone. Each seed
    is a run of its own, equal to a single one with that `train.seed`. All are scored on the whole dev split. The same
    call again continues; with more seeds it adds those that are missing. A seed whose training diverged is listed and
    not chosen; remove its folder to train it again.

    Args:
        recipe: of a recogniser; see `recipes`.
        seeds: how many, at least 2.
        into: folder, made where there is none.
        data: prepared folder or folders, in place of the recipe's `corpora`; one of them with a dev split.
        init: model to start from, as for `run.train`.

    Returns:
        None if training was interrupted (Ctrl-C, SIGTERM), and in every process but the first.

    Raises:
        ValueError: fewer than two seeds, or fewer than the folder holds; nothing to choose by (no recogniser, no
            transcribed dev split); the folder holds another run, or a single one.
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
            f"all {seeds} seeds failed, so there is nothing to choose from:\n{reasons}\nChange the recipe as said "
            "above and train into a new folder"
        )
    # Outside the group: the others would wait for the scores longer than their patience.
    if not is_first:
        return None
    with RunFolder(into).locked():
        return _judge(into, dev, labels.dev_split, wanted, failed)


def compare_runs(
    first: str | Path, second: str | Path, *, num_draws: int = 1000, seed: int = 0
) -> dict[Literal["wer", "cer"], Difference]:
    """Two recipes, each trained with several seeds, compared on dev: means over all seeds that finished.

    Each draw of the bootstrap takes speakers (or utterances), the same for both, and seeds of each with replacement.
    From two or three seeds, it underestimates how far others would lie. No choice among seeds enters the means.

    Args:
        first: folder of `train_seeds`.
        second: another one, measured on the same dev split.
        num_draws: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        First minus second; `is_clear` is False where they cannot be told apart.

    Raises:
        ValueError: a folder does not hold several seeds, or they were measured on other utterances.
    """
    return compare(_reports(Path(first)), _reports(Path(second)), num_draws=num_draws, seed=seed)


def _train_each(recipe: RecogniserRecipe, into: Path, wanted: range) -> dict[int, str] | None:
    """One run after the other; why some came to nothing, or None after an interruption."""
    # Read before the folder is claimed: there all processes wait for each other, so they read the same.
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
            f"expected at least 2 seeds, got {seeds}: fewer have no spread and leave nothing to choose; for a single "
            "run leave `--seeds` out"
        )
    if not isinstance(recipe, RecogniserRecipe):
        raise ValueError(  # noqa: TRY004 - whoever calls names a recipe, not a type
            f"{recipe.name} pre-trains without transcripts, so there are no error rates to choose a seed by; leave "
            "`--seeds` out (another seed: `--train.seed 1` into another folder), and give it to the recipe that "
            "learns from transcripts, such as ctc_10min"
        )
    return recipe


def _dev_folders(recipe: RecogniserRecipe, labels: LabelConfig) -> list[str]:
    """Those of the recipe's folders that have a dev split, looked through before anything is trained.

    Raises:
        ValueError: there is nothing to choose by.
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
    num_written = sum(bool(rules.normalise(u.text or "")) for u in _with_text(folders, split))
    if num_written < 2:
        raise ValueError(
            f"expected a split {split!r} with at least two transcribed utterances to choose the best seed by, got "
            f"{num_written}; put the text of speech.wav into speech.txt beside it and run `sori prepare` again"
        )
    return folders


def _with_text(folders: Sequence[str], split: str) -> list[Utterance]:
    found = [u for folder in folders for u in read_manifest(Path(folder)) if u.split == split]
    return [u for u in found if u.text and u.text.strip()]


def _begin(into: Path, recipe: RecogniserRecipe, wanted: range) -> None:
    """Take the folder for several seeds of this recipe.

    Raises:
        ValueError: it holds something else, or more seeds.
    """
    folder = RunFolder(into)
    path = folder.recipe
    if path.exists() and _MARK not in path.read_text(encoding="utf-8"):
        raise ValueError(
            f"{into} holds a single run, which is left as it is; choose another folder for several seeds, or make it "
            f"the first of them: `mkdir NEW; mv {into} NEW/seed_{wanted[0]}`, then `--into NEW`"
        )
    if not path.exists() and any(place.exists() for place in (folder.checkpoint, folder.model, into / resolve.CARD)):
        raise ValueError(f"{into} holds a model already, which is left as it is; choose another folder")
    folder.check_free([into / SUMMARY])
    store.check_place(folder.model)
    folder.begin(recipe.to_yaml() + _MARK)
    begun = [folder.parent.name for folder in into.glob(f"seed_*/{path.name}")]
    if more := sorted(set(begun) - {_home(into, seed).name for seed in wanted}):
        raise ValueError(
            f"{into} also holds {', '.join(more)}, and --seeds {len(wanted)} asks for seeds {wanted[0]} to "
            f"{wanted[-1]}; leaving out seeds afterwards would flatter the spread: repeat the command with as many "
            "seeds as there are, or choose another folder"
        )


def _with_seed(recipe: RecogniserRecipe, seed: int) -> RecogniserRecipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})


def _judge(into: Path, dev: Sequence[str], split: str, wanted: range, failed: dict[int, str]) -> SeedScores:
    """Score what is not scored yet, choose, and write the choice down."""
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
    """Error rates on the dev split; those in the folder, where model and split are still the same."""
    path, of = folder / SCORE, {"model": _model_digest(RunFolder(folder).model), "data": _data_digest(dev, split)}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored.get("of") == of:
            return _report(stored)
    logger.info(f"scoring {folder} on {split}")
    report = recognition.evaluate(folder, data=dev, split=split)
    write_text(path, json.dumps({"of": of, **report.to_data()}, ensure_ascii=False, indent=1) + "\n")
    return report


def _report(stored: dict[str, Any]) -> ErrorReport:
    columns = ([one[key] for one in stored["utterances"]] for key in ("reference", "hypothesis", "speaker"))
    return error_rates(*columns)


def _reports(into: Path) -> list[ErrorReport]:
    """Of all seeds that finished."""
    if not (into / SUMMARY).is_file():
        raise ValueError(
            f"expected a folder of several seeds, got {into} without {SUMMARY}; `sori train RECIPE --seeds 3 --into "
            f"{into}` makes one, or repeat its command to finish it"
        )
    rows = json.loads((into / SUMMARY).read_text(encoding="utf-8"))["seeds"]
    paths = [_home(into, row["seed"]) / SCORE for row in rows if "failed" not in row]
    if missing := [path for path in paths if not path.is_file()]:
        raise ValueError(
            f"{missing[0]} is missing, which {into / SUMMARY} speaks of; repeat its command to score again"
        )
    return [_report(json.loads(path.read_text(encoding="utf-8"))) for path in paths]


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
