"""Split utterances into the train, dev and test parts of a probe."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sori.core.seeds import derive
from sori.data.manifest import Utterance

SplitBy = Literal["speaker", "utterance"]
_DEV_NAMES = ("dev", "valid", "eval")
_TEST_FRACTION, _DEV_FRACTION = 0.2, 0.1


class Split(NamedTuple):
    """Utterance indices of each part, and a description of the split."""

    train: list[int]
    dev: list[int]
    test: list[int]
    about: str


def split(utterances: Sequence[Utterance], chosen: Sequence[int], *, by: SplitBy, seed: int = 0) -> Split:
    """Split utterances into train, dev and test.

    `speaker`: the parts share no speakers. If the utterances name splits `train` and `test` (and `dev`) without common
    speakers, these are used; without a `dev`, a tenth of the training utterances is. Otherwise speakers are drawn: a
    fifth for test, a tenth for dev, at least one each.
    `utterance`: all speakers are in all parts: a fifth of each speaker's utterances for test, a tenth for dev, at least
    one each. Speakers with fewer than three utterances are left out.

    Args:
        utterances: all utterances.
        chosen: indices of the utterances to split.
        by: see above.
        seed: seed of the random draws.

    Raises:
        ValueError: an utterance has no speaker, or there are too few speakers.
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
                f"utterance {utterances[index].id!r} has no speaker, but the split is by speaker; name "
                "speakers or splits in the table that the folder was prepared from"
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
        num_dev = max(1, round(_DEV_FRACTION * len(mixed)))
        dev, train = sorted(mixed[:num_dev]), sorted(mixed[num_dev:])
        words = f"{len(speakers[0])} and {len(speakers[2])} speakers of train and test, dev from train"
    return Split(train, dev, test, words)


def _by_speaker(rows: dict[str, list[int]], random: np.random.Generator) -> Split:
    names = sorted(rows)
    if len(names) < 3:
        raise ValueError(
            f"expected at least three speakers to split, got {len(names)}; use other utterances of the same "
            "speakers as test with --split-by utterance"
        )
    mixed = [names[i] for i in random.permutation(len(names))]
    num_test, num_dev = (max(1, round(fraction * len(names))) for fraction in (_TEST_FRACTION, _DEV_FRACTION))
    parts = (mixed[num_test + num_dev :], mixed[num_test : num_test + num_dev], mixed[:num_test])
    train, dev, test = (sorted(index for name in part for index in rows[name]) for part in parts)
    return Split(train, dev, test, f"{len(parts[0])}, {len(parts[1])} and {len(parts[2])} speakers, drawn at random")


def _by_utterance(rows: dict[str, list[int]], random: np.random.Generator) -> Split:
    train, dev, test = list[int](), list[int](), list[int]()
    left_out = 0
    for name in sorted(rows):
        mixed = random.permutation(rows[name]).tolist()
        if len(mixed) < 3:
            left_out += 1
            continue
        num_test, num_dev = (max(1, round(fraction * len(mixed))) for fraction in (_TEST_FRACTION, _DEV_FRACTION))
        test += mixed[:num_test]
        dev += mixed[num_test : num_test + num_dev]
        train += mixed[num_test + num_dev :]
    kept = len(rows) - left_out
    if not kept:
        raise ValueError("expected speakers with at least three utterances each, got none; give more utterances")
    about = f"the same {kept} speakers in all parts, different utterances"
    about += f"; {left_out} with fewer than three utterances left out" if left_out else ""
    return Split(sorted(train), sorted(dev), sorted(test), about)
