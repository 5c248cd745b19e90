"""Self-training: what a recogniser writes for untranscribed speech becomes transcripts of the next recogniser.

Kahn, Lee, Hannun 2020 (arXiv 1909.09116): decode with a language model, keep what is trusted, train again, some rounds.
Xu et al. 2021 (arXiv 2010.11430): the gain adds to that of pre-training.

The output folder contains a run folder for each round (`round_0` on the transcripts alone, `round_1`, ...), the
prepared folders `written_1`, ... with what the round before has written, `self_training.json` (what was kept, and how
right it was where that is known), and `model/`, a copy of the best round on dev, so that it can be used like a run
folder.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from sori.checkpoints import store, stored_lm
from sori.core import distributed
from sori.core.audio import AudioInfo
from sori.core.config import Config
from sori.core.files import read_json, write_text
from sori.core.folders import whole_folder
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.core.seeds import derive
from sori.data.labels import MACHINE
from sori.data.manifest import CUTS, Utterance, read_with_headers, write_manifest
from sori.data.utterances import folders_of, transcribed
from sori.decoding.confidence import ACOUSTIC, Confidence
from sori.evaluation.error_rate import error_rates
from sori.evaluation.stored_decoder import STORED, resolved
from sori.inference import calibrate, transcribe
from sori.models.ctc import Ctc
from sori.recipes.recipe import RecogniserRecipe
from sori.runs import run
from sori.training.metrics import read_metrics

REPORT, ABOUT = "self_training.json", "about.json"
TRUSTED = 0.5
"""Mean confidence of the words of the kept texts below which a warning is given."""


class SelfTrainingConfig(Config):
    """Settings of self-training; those of each training are in the recipe."""

    rounds: int = Field(default=2, ge=1, le=100)
    """Number of trainings after the first."""
    hours: float | None = Field(default=10.0, gt=0)
    """Most hours of untranscribed speech to transcribe in a round, chosen at random; None: all."""
    kept: float = Field(default=0.6, gt=0, le=1)
    """Fraction of it that is kept, by its duration: what the recogniser is most confident of."""
    updates: int = Field(default=2, ge=1, le=1000)
    """Factor on the number of updates and on the batch of the recipe, for there is more to learn from."""


class NothingWrittenError(ValueError):
    """A recogniser wrote no text for the speech that the next one should learn from."""


class Written(NamedTuple):
    """An utterance with the text that a recogniser has written for it."""

    utterance: Utterance
    text: str
    confidence: float
    """Mean probability that a word is right; without a dev split to fit it on, mean posterior of the symbols."""


def self_train(
    recipe: RecogniserRecipe,
    *,
    into: str | Path,
    unlabelled: str | Path | Sequence[str | Path],
    data: str | Path | Sequence[str | Path] | None = None,
    init: str | Path | None = None,
    settings: SelfTrainingConfig = SelfTrainingConfig(),  # noqa: B008 - frozen
    first: str | Path | None = None,
) -> run.Run:
    """Train a recogniser, let it transcribe speech without transcripts, train again on both; some rounds.

    Every round starts from `init`, as the first one does. The same call continues an interrupted experiment.

    Args:
        recipe: recipe of a recogniser; see `recipes`.
        into: output folder, created if absent.
        unlabelled: prepared folder or folders of speech; dev and test splits are left out, and transcripts are used
            only to report how right the kept texts are.
        data: prepared folder or folders with transcripts, instead of the recipe's `corpora`.
        init: model to start from, as for `run.train`.
        settings: rounds, and what is kept.
        first: run folder of a training with the same recipe on the transcripts alone, in place of `round_0`.

    Raises:
        FileNotFoundError, RuntimeError, ValueError: as for `run.train`; there is nothing to transcribe; the folder was
            begun with other settings; or there are several processes.
        NothingWrittenError: a recogniser wrote no text.
    """
    into = Path(into)
    rounds = [into / f"round_{number}" for number in range(settings.rounds + 1)]
    rounds[0] = rounds[0] if first is None else Path(first)
    with distributed.process_group():
        if distributed.world_size() > 1:
            raise ValueError(
                "expected one process, got several (torchrun?): the transcribing between the trainings is not divided "
                "among processes; start it without torchrun"
            )
    recipe = run.complete(recipe, data, init)
    speech = _speech(unlabelled, recipe)
    done = run.train(recipe, into=rounds[0])
    for number in range(1, settings.rounds + 1):
        if not done.finished:
            return run.Run(into, finished=False)
        target = into / f"written_{number}"
        if (target / CUTS).is_file():
            _require_same(target, settings)
        else:
            logger.info(f"\n== round {number} of {settings.rounds}: transcribing")
            _write(target, rounds[number - 1], speech, recipe, settings, number)
        done = run.train(_of_round(recipe, settings, target), into=rounds[number])
    if done.finished:
        _choose(into, rounds)
    return run.Run(into, done.finished)


def _of_round(recipe: RecogniserRecipe, settings: SelfTrainingConfig, written: Path) -> RecogniserRecipe:
    """Return the recipe with further transcripts, and more updates of larger batches."""
    changes = {
        "train.num_steps": recipe.train.num_steps * settings.updates,
        "data.batch_seconds": recipe.data.batch_seconds * settings.updates,
    }
    return recipe.override(changes).model_copy(update={"corpora": (*recipe.corpora, str(written.resolve()))})


def _speech(
    unlabelled: str | Path | Sequence[str | Path], recipe: RecogniserRecipe
) -> list[tuple[Utterance, AudioInfo]]:
    """Return the speech to transcribe, in random order, with unique names.

    Raises:
        ValueError: there is none.
    """
    folders = [Path(folder) for folder in folders_of(unlabelled)]
    rows = [
        (u._replace(id=f"{number}/{u.id}"), file)  # two folders may use the same names
        for number, folder in enumerate(folders, 1)
        for u, file in read_with_headers(folder)
        if not (u.split or "").startswith(recipe.held_out)
    ]
    if not rows:
        raise ValueError(
            f"expected speech to transcribe in {', '.join(map(str, folders))}, got dev and test splits only; prepare "
            "recordings without splits, or name others"
        )
    order = np.random.default_rng(derive(recipe.train.seed, "self-training")).permutation(len(rows))
    return [rows[i] for i in order]


def _write(
    target: Path,
    teacher: Path,
    speech: Sequence[tuple[Utterance, AudioInfo]],
    recipe: RecogniserRecipe,
    settings: SelfTrainingConfig,
    number: int,
) -> None:
    """Transcribe speech and write the most confident part as a prepared folder."""
    system = store.load(teacher).to(distributed.device())
    assert isinstance(system, Ctc)  # noqa: S101 - the recipe trains one
    files = {u.id: file for u, file in speech}
    part, confidence = _part([u for u, _ in speech], settings.hours, number), _confidence(system, recipe)
    found = _transcribe(system, part, confidence)
    kept = keep(found, settings.kept)
    if not kept:
        raise NothingWrittenError(
            f"expected texts of {teacher} to learn from, got none for {len(part)} utterances; likely it is not trained "
            "enough, or the speech is of another language"
        )
    about = {"settings": settings.model_dump(exclude={"rounds"})} | _about(found, kept, system)
    logger.info(
        f"kept {about['kept_hours']:.2f} of {about['hours']:.2f} h, the most confident"
        + (f"; CER of the kept texts {about['cer']:.1%}" if "cer" in about else "")
    )
    right = np.average([one.confidence for one in kept], weights=[len(one.text.split()) for one in kept])
    if confidence is not None and right < TRUSTED:
        logger.warning(
            f"only {right:.0%} of the words of the kept texts are expected to be right: the next recogniser will "
            "likely be worse than this one (docs/results/ten-minutes.md). More transcripts, more pre-training or more "
            "text for the language model will help more; of all rounds, the best on dev becomes the model"
        )
    with whole_folder(target) as fresh:
        write_text(fresh / ABOUT, json.dumps(about, indent=1) + "\n")
        rows = ((one.utterance._replace(text=one.text, split=MACHINE), files[one.utterance.id]) for one in kept)
        write_manifest(fresh, rows)


def _require_same(written: Path, settings: SelfTrainingConfig) -> None:
    """Refuse what was written with other settings; only the number of rounds may change."""
    before = read_json(written / ABOUT).get("settings")
    if before != settings.model_dump(exclude={"rounds"}):
        raise ValueError(
            f"{written} was written with other settings of self-training ({before}); use these, or another folder"
        )


def _part(speech: list[Utterance], hours: float | None, number: int) -> list[Utterance]:
    """Return other speech in each round, as far as there is enough."""
    if hours is None:
        return speech
    ends = np.cumsum([u.duration_seconds for u in speech])
    num = min(int(np.searchsorted(ends, hours * 3600)) + 1, len(speech))
    first = (number - 1) * num % len(speech)
    return (speech[first:] + speech[:first])[:num]


def _confidence(system: Ctc, recipe: RecogniserRecipe) -> Confidence | None:
    """Fit word confidence on dev; None if that is not possible."""
    split = recipe.labels.dev_split
    try:
        decoder = resolved(system, STORED)
        words = calibrate.recognise(system, transcribed(recipe.corpora, split), decoder)
        return calibrate.fit(words, decoder, {"split": split})
    except ValueError as error:
        logger.info(f"no calibrated confidence ({error}); the posteriors of the symbols decide what is kept")
        return None


def _transcribe(system: Ctc, speech: Sequence[Utterance], confidence: Confidence | None) -> list[Written]:
    """Transcribe utterances; those in which no word is found, or too short for a frame, are left out."""
    found, decoder = list[Written](), resolved(system, STORED)
    for utterance, chunks in transcribe.transcribe_utterances(system, speech, decoder=decoder):
        each = [chunk.features for chunk in chunks if chunk.features is not None and len(chunk.features)]
        if not each:
            continue
        words = np.concatenate(each)
        right = np.exp(words[:, ACOUSTIC.index("symbols")]) if confidence is None else confidence.probability(words)
        text = " ".join(chunk.text for chunk in chunks if chunk.text)
        found.append(Written(utterance, text, float(np.mean(right))))
    return found


def keep(written: Sequence[Written], fraction: float) -> list[Written]:
    """Return the most confident utterances that together have a fraction of the duration, in their order."""
    order = sorted(range(len(written)), key=lambda i: -written[i].confidence)
    left, chosen = fraction * sum(one.utterance.duration_seconds for one in written), set[int]()
    for i in order:
        left -= written[i].utterance.duration_seconds
        if left < 0:
            break
        chosen.add(i)
    return [one for i, one in enumerate(written) if i in chosen]


def _about(found: Sequence[Written], kept: Sequence[Written], system: Ctc) -> dict[str, Any]:
    """Return what was kept, and error rates where the speech has transcripts."""
    hours = [sum(one.utterance.duration_seconds for one in some) / 3600 for some in (found, kept)]
    about: dict[str, Any] = {"hours": hours[0], "kept_hours": hours[1], "kept": len(kept)}
    about["least_confidence"] = min((one.confidence for one in kept), default=None)
    vocabulary = system.vocabulary
    assert vocabulary is not None  # noqa: S101 - every loaded recogniser has one
    for prefix, some in (("all_", found), ("", kept)):
        known = [one for one in some if one.utterance.text and one.utterance.text.strip()]
        if known:
            references = [vocabulary.normalise(one.utterance.text or "") for one in known]
            report = error_rates(references, [vocabulary.normalise(one.text) for one in known], None)
            about |= {f"{prefix}cer": report.cer.rate, f"{prefix}wer": report.wer.rate, f"{prefix}known": len(known)}
    return about


def _choose(into: Path, rounds: Sequence[Path]) -> None:
    """Copy the best round on dev, without dev the last one; write the report.

    The best one has the lowest error rate as it will be used: of words with the language models, if every round uses
    one, else of the characters of greedy decoding.
    """
    rows = []
    for number, home in enumerate(rounds):
        about = into / f"written_{number}" / ABOUT
        row: dict[str, Any] = {"round": number, "written": read_json(about) if number else None}
        rows.append(row | _dev_rates(home))
    by = "lm_wer" if all("lm_wer" in row for row in rows) else "dev_cer"
    best = min(rows, key=lambda row: row.get(by, -row["round"]))["round"]
    write_text(into / REPORT, json.dumps({"chosen": best, "by": by, "rounds": rows}, indent=1) + "\n")
    stored = store.read(rounds[best])
    store.save(store.load(rounds[best]), into / "model", provenance=stored.provenance)
    for row in rows:
        written = row["written"]
        source = f", {written['kept_hours']:.2f} h written by round {row['round'] - 1}" if written else ""
        dev = f": dev CER {row['dev_cer']:.1%}, WER {row['dev_wer']:.1%}" if "dev_cer" in row else ""
        dev += f", with its language model {row['lm_cer']:.1%} and {row['lm_wer']:.1%}" if "lm_wer" in row else ""
        logger.info(f"round {row['round']}{source}{dev}{' (chosen)' if row['round'] == best else ''}")


def _dev_rates(home: Path) -> dict[str, float]:
    """Return the error rates of a run on dev, greedy and with its language model, as far as they are known."""
    scores = [row for row in read_metrics(RunFolder(home).metrics) if "dev_cer" in row]
    found = {name: scores[-1][name] for name in ("dev_cer", "dev_wer")} if scores else {}
    stored = stored_lm.read(RunFolder(home).model)
    if stored is not None and stored.settings.used and stored.settings.tuning is not None:
        found |= {"lm_cer": stored.settings.tuning.cer, "lm_wer": stored.settings.tuning.wer}
    return found
