"""Which utterances a probe learns from, chooses by and is scored on."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sori.core.seeds import derive
from sori.data.manifest import Utterance

SplitBy = Literal["speaker", "utterance"]
_DEV_NAMES = ("dev", "valid", "eval")
_TEST_SHARE, _DEV_SHARE = 0.2, 0.1


class Split(NamedTuple):
    """Indices of utterances, and in words how they were chosen."""

    train: list[int]
    dev: list[int]
    test: list[int]
    about: str


def split(utterances: Sequence[Utterance], chosen: Sequence[int], *, by: SplitBy, seed: int = 0) -> Split:
    """Divide some utterances.

    `speaker`: nobody is in two parts. Where the utterances name `train` and `test` (and `dev`) that share no speakers,
    these are the parts; without a `dev`, a tenth of the training utterances is. Otherwise speakers are drawn: a fifth
    for the test, a tenth for dev, at least one each.
    `utterance`: everybody is in all parts; a fifth of each speaker's utterances for the test, a tenth for dev, at least
    one each. Speakers with fewer than three utterances are left out.

    Args:
        utterances: all.
        chosen: indices of those to be divided.
        by: see above.
        seed: of the draws.

    Raises:
        ValueError: a speaker is unknown, or there are too few of them.
    """
    random = np.random.default_rng(derive(seed, "split", by))
    if by == "speaker":
        named = _named(utterances, chosen, random)
        if named is not None:
            return named
    rows: dict[str, list[int]] = defaultdict(list)
    for index in chosen:
        speaker = utterances[index].speaker
        if speaker is None:
            raise ValueError(
                f"utterance {utterances[index].id!r} has no speaker, and parts are made by speakers; name them in the "
                "table that the folder was prepared from, or name splits there"
            )
        rows[speaker].append(index)
    return _by_speaker(rows, random) if by == "speaker" else _by_utterance(rows, random)


def _named(utterances: Sequence[Utterance], chosen: Sequence[int], random: np.random.Generator) -> Split | None:
    parts: dict[str, list[int]] = defaultdict(list)
    for index in chosen:
        parts[utterances[index].split or ""].append(index)
    if not parts["train"] or not parts["test"]:
        return None
    train, test = parts["train"], parts["test"]
    dev = next((parts[name] for name in _DEV_NAMES if parts[name]), [])
    speakers = [{utterances[i].speaker for i in part} for part in (train, dev, test)]
    if len(set().union(*speakers)) < sum(map(len, speakers)):
        return None
    words = f"{len(speakers[0])}, {len(speakers[1])} and {len(speakers[2])} speakers of the named splits"
    if not dev:
        mixed = random.permutation(train).tolist()
        num_dev = max(1, round(_DEV_SHARE * len(mixed)))
        dev, train = sorted(mixed[:num_dev]), sorted(mixed[num_dev:])
        words = f"{len(speakers[0])} and {len(speakers[2])} speakers of train and test, dev from train"
    return Split(train, dev, test, words)


def _by_speaker(rows: dict[str, list[int]], random: np.random.Generator) -> Split:
    names = sorted(rows)
    if len(names) < 3:
        raise ValueError(
            f"expected at least three speakers to keep apart, got {len(names)}; score other utterances of the same "
            "speakers with --split-by utterance"
        )
    mixed = [names[i] for i in random.permutation(len(names))]
    num_test, num_dev = (max(1, round(share * len(names))) for share in (_TEST_SHARE, _DEV_SHARE))
    parts = (mixed[num_test + num_dev :], mixed[num_test : num_test + num_dev], mixed[:num_test])
    train, dev, test = (sorted(index for name in part for index in rows[name]) for part in parts)
    return Split(train, dev, test, f"{len(parts[0])}, {len(parts[1])} and {len(parts[2])} speakers, drawn")


def _by_utterance(rows: dict[str, list[int]], random: np.random.Generator) -> Split:
    train, dev, test = list[int](), list[int](), list[int]()
    left_out = 0
    for name in sorted(rows):
        mixed = random.permutation(rows[name]).tolist()
        if len(mixed) < 3:
            left_out += 1
            continue
        num_test, num_dev = (max(1, round(share * len(mixed))) for share in (_TEST_SHARE, _DEV_SHARE))
        test += mixed[:num_test]
        dev += mixed[num_test : num_test + num_dev]
        train += mixed[num_test + num_dev :]
    kept = len(rows) - left_out
    if not kept:
        raise ValueError("expected speakers with at least three utterances each, got none; give more utterances")
    about = f"the same {kept} speakers in all parts, other utterances"
    about += f"; {left_out} with fewer than three utterances left out" if left_out else ""
    return Split(sorted(train), sorted(dev), sorted(test), about)
