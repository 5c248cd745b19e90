"""Set up training of spoken-word vectors (Speech2Vec) on word segments."""

from collections.abc import Sequence
from pathlib import Path

from sori.checkpoints import store
from sori.core import distributed
from sori.core.run_folder import RunFolder
from sori.data.batches.loader import Reader
from sori.data.batches.segment_pairs import Kept, SegmentBatches, SegmentConfig, keep
from sori.data.manifest import Utterance, read_manifest
from sori.data.word_segments import (
    SEGMENTS,
    Segment,
    by_utterance,
    fixed_segments,
    read_segments,
    write_segments,
)
from sori.models import factory
from sori.models.speech2vec import Speech2Vec, Speech2VecConfig
from sori.recipes.recipe import SpokenWordRecipe
from sori.runs.tasks.pretraining import audio, fingerprint_of
from sori.runs.tasks.task import Task


def build(config: Speech2VecConfig, *, init: str | None) -> Speech2Vec:
    """Build the system with random weights or those of a model.

    Raises:
        ValueError: The model holds other tensors.
    """
    system = Speech2Vec(config)
    if init is not None:
        factory.copy_weights(store.read(init).model.weights, system, origin=init)
    return system


def choose(recipe: SpokenWordRecipe, utterances: Sequence[Utterance]) -> Kept:
    """Return the training segments of some utterances of the recipe's folders.

    Args:
        recipe: Gives the folders, the segment file, and which words to use.
        utterances: Utterances of the folders that are not held out.

    Raises:
        FileNotFoundError: There is no segment file.
        ValueError: Segments and utterances do not match, or nothing is left.
    """
    config = recipe.segments
    wanted = {u.id for u in utterances}
    all_utterances, found = locate([Path(folder) for folder in recipe.corpora], config)
    rows = [row for row, u in enumerate(all_utterances) if u.id in wanted]
    return keep([all_utterances[row] for row in rows], [found[row] for row in rows], config)


def batches(recipe: SpokenWordRecipe, kept: Kept, reader: Reader) -> SegmentBatches:
    """Return the batches of segments.

    Raises:
        ValueError: No two segments are neighbours.
    """
    config = recipe.segments
    return SegmentBatches(kept, config, recipe.data, seed=recipe.train.seed, reader=reader)


def locate(folders: Sequence[Path], config: SegmentConfig) -> tuple[list[Utterance], list[list[Segment]]]:
    """Return all utterances of prepared folders, and the segments of each.

    Args:
        folders: Prepared folders.
        config: Segment file, or the length of fixed segments.

    Raises:
        FileNotFoundError: There is no segment file.
        ValueError: Segments and utterances do not match.
    """
    utterances = [u for folder in folders for u in read_manifest(folder)]
    if config.fixed_seconds is not None:
        return utterances, by_utterance(
            fixed_segments(utterances, config.fixed_seconds), utterances, origin="segments.fixed_seconds"
        )
    files = [folder / SEGMENTS for folder in folders] if config.file is None else [Path(config.file)]
    segments = [one for file in files for one in read_segments(file)]
    return utterances, by_utterance(segments, utterances, origin=", ".join(map(str, files)))


def store_segments(kept: Kept, folder: RunFolder) -> None:
    """Store the segments in the run folder, or check that they equal those stored there.

    Raises:
        ValueError: They differ.
    """
    path, segments = folder.segments, [one for own in kept.segments for one in own]
    if path.exists():
        if read_segments(path) != segments:
            raise ValueError(
                f"{folder.path} was started with other segments than the current ones; likely the words were aligned "
                f"again: train into a new folder, or give the old segments with `--segments.file {path}`"
            )
    elif distributed.rank() == 0:
        write_segments(path, segments)
    distributed.barrier()


def word_segments(recipe: SpokenWordRecipe, utterances: Sequence[Utterance], folder: RunFolder) -> Task:
    """Build Speech2Vec, and batches of word segments."""
    system, kept = build(recipe.system, init=recipe.init), choose(recipe, utterances)
    store_segments(kept, folder)
    found = batches(recipe, kept, audio(recipe, kept.utterances, folder))
    return Task(system, found, [], fingerprint_of(recipe, kept.utterances, folder))
