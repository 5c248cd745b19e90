"""Select utterances of prepared folders."""

from collections.abc import Sequence
from pathlib import Path

from sori.data.manifest import Utterance, read_manifest


def transcribed(data: str | Path | Sequence[str | Path], split: str | None) -> list[Utterance]:
    """Return the transcribed utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: name of the split, ignored for folders without splits; None: all utterances.

    Raises:
        ValueError: there are none.
    """
    return with_text(utterances_of(data, split))


def utterances_of(data: str | Path | Sequence[str | Path], split: str | None) -> list[Utterance]:
    """Return the utterances of prepared folders.

    Args:
        data: prepared folder or folders.
        split: name of the split, ignored for folders without splits; None: all utterances.

    Raises:
        ValueError: a folder has no such split.
    """
    return [u for folder in folders_of(data) for u in _of_split(read_manifest(Path(folder)), split, folder)]


def training_utterances(corpora: Sequence[str], held_out: tuple[str, ...]) -> list[Utterance]:
    """Return the utterances that may be trained on.

    Args:
        corpora: prepared folders.
        held_out: splits whose names begin with one of these are held out for evaluation.

    Raises:
        ValueError: nothing is left.
    """
    found = [u for folder in corpora for u in read_manifest(Path(folder))]
    kept = [u for u in found if not (u.split or "").startswith(held_out)]
    if found and not kept:
        splits = ", ".join(sorted({u.split or "none" for u in found}))
        raise ValueError(
            f"all {len(found)} utterances are held out for evaluation (splits: {splits}; held_out: "
            f"{', '.join(held_out)}); give data with other splits, or `--held-out []`"
        )
    return kept


def folders_of(data: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """Return one folder or several as a sequence."""
    return [data] if isinstance(data, str | Path) else data


def with_text(utterances: list[Utterance]) -> list[Utterance]:
    """Return the utterances that have a transcript.

    Raises:
        ValueError: there are none.
    """
    found = [u for u in utterances if u.text and u.text.strip()]
    if not found:
        raise ValueError(
            f"expected transcribed utterances, got {len(utterances)} utterances without a transcript; put the text of "
            "speech.wav into speech.txt beside it and run `sori prepare` again"
        )
    return found


def _of_split(utterances: list[Utterance], split: str | None, folder: str | Path) -> list[Utterance]:
    """Return the utterances of a split, or all utterances if the folder has no splits."""
    named = {u.split for u in utterances if u.split is not None}
    if split is None or not named:
        return utterances
    if split not in named:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(sorted(named))}")
    return [u for u in utterances if u.split == split]
