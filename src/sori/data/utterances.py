"""Select utterances of prepared folders."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sori.data import utterance_columns
from sori.data.manifest import open_manifest
from sori.data.utterance import Utterance


def transcribed(data: str | Path | Sequence[str | Path], split: str | None) -> Sequence[Utterance]:
    """Return the transcribed utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: name of the split, ignored for folders without splits; None: all utterances.

    Raises:
        ValueError: there are none.
    """
    return with_text(utterances_of(data, split))


def utterances_of(data: str | Path | Sequence[str | Path], split: str | None) -> Sequence[Utterance]:
    """Return the utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: name of the split, ignored for folders without splits; None: all utterances.

    Raises:
        ValueError: a folder has no such split.
    """
    return utterance_columns.joined(
        _of_split(open_manifest(Path(folder)), split, folder) for folder in folders_of(data)
    )


def training_utterances(corpora: Sequence[str], held_out: tuple[str, ...]) -> Sequence[Utterance]:
    """Return the utterances that may be trained on.

    Args:
        corpora: prepared folders.
        held_out: splits whose names begin with one of these are held out for evaluation.

    Raises:
        ValueError: nothing is left.
    """
    found = utterance_columns.joined(open_manifest(Path(folder)) for folder in corpora)
    kept = utterance_columns.where(
        found, "split", lambda split: not (split or "").startswith(held_out), key=f"not {held_out}"
    )
    if found and not kept:
        splits = ", ".join(sorted({split or "none" for split in _splits(found)}))
        raise ValueError(
            f"all {len(found)} utterances are held out for evaluation (splits: {splits}; held_out: "
            f"{', '.join(held_out)}); give data with other splits, or `--held-out []`"
        )
    return kept


def folders_of(data: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return one folder or several as a sequence."""
    return [data] if isinstance(data, str | Path) else data


def with_text(utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """Return the utterances that have a transcript.

    Raises:
        ValueError: there are none.
    """
    found = utterance_columns.with_text(utterances)
    if not found:
        raise ValueError(
            f"expected transcribed utterances, got {len(utterances)} utterances without a transcript; put the text of "
            "speech.wav into speech.txt beside it and run `sori prepare` again"
        )
    return found


def _of_split(utterances: Sequence[Utterance], split: str | None, folder: str | Path) -> Sequence[Utterance]:
    """Return the utterances of a split, or all utterances if the folder has no splits."""
    if split is None:
        return utterances
    named = {name for name in _splits(utterances) if name is not None}
    if not named:
        return utterances
    if split not in named:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(sorted(named))}")
    return utterance_columns.where(utterances, "split", lambda name: name == split, key=f"is {split!r}")


def _splits(utterances: Sequence[Utterance]) -> set[str | None]:
    codes, names = utterance_columns.categories_of(utterances, "split")
    return {names[code] for code in np.unique(codes)}
