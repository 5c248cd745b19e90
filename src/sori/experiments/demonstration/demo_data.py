"""Recordings of the demonstration: synthetic speech, or those of the user, divided into training, dev and test."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sori.core.files import write_text
from sori.core.folders import whole_folder
from sori.core.log import logger
from sori.core.seeds import derive
from sori.data.labels import choose_minutes
from sori.data.manifest import CUTS, Utterance, read_manifest, read_with_headers, write_manifest
from sori.data.preparation.prepare import prepare
from sori.synth import CorpusSize, corpus_texts, sentences, speak_corpus

MIN_LABELLED_MINUTES = 0.5
MAX_TEST_MINUTES = 10.0
HELD_OUT = 0.2
"""Fraction of the transcribed speech held out for the test if the recordings have no split `test`."""
SYNTHETIC_MINUTES = 1.0
"""Labels of the synthetic corpus: with five minutes, its clean voices are recognised as well without pre-training."""
NUM_TEXTS = 4000
"""Sentences of the grammar for the language model, beside the transcripts."""
TEXTS = "texts.txt"

_SMOKE = CorpusSize(4, 8, 2, 8, 2, 3, 1, 4)
_SMOKE_TEXTS = 100


class DemoData(NamedTuple):
    """Prepared folders of the demonstration."""

    train: Path
    test: Path
    dev: Path | None
    """Transcribed recordings to tune the language model on; None: they are in `train` if there are any."""
    texts: tuple[str, ...]
    """Further texts for the language model."""

    @property
    def corpora(self) -> list[Path]:
        """Return what the recognisers are trained and tuned on."""
        return [self.train] if self.dev is None else [self.train, self.dev]


def synthetic(into: Path, *, smoke: bool) -> DemoData:
    """Synthesise speech of sentences, and write those that the language model learns from."""
    recordings, size = into / "recordings", _SMOKE if smoke else CorpusSize()
    if recordings.exists():
        logger.info(f"already synthesised: {recordings}")
    else:
        with whole_folder(recordings) as fresh:
            speak_corpus(fresh, size)
        logger.info(f"synthesised: {recordings}")
    if not (recordings / "dev").is_dir():
        raise ValueError(
            f"expected recordings of an earlier call in {recordings}, got a folder without `dev`; likely an earlier "
            "version of sori made it: choose another folder with --into"
        )
    if not (into / TEXTS).is_file():
        spoken = frozenset(text for part in corpus_texts(size) for text in part)
        texts = sentences(_SMOKE_TEXTS if smoke else NUM_TEXTS, seed=derive(0, "texts"), avoid=spoken)
        write_text(into / TEXTS, "\n".join(texts) + "\n")
    train, test = (_prepared(recordings / name, into / name) for name in ("train", "test"))
    dev = _prepared(recordings / "dev", into / "prepared")
    _write_part(into / "dev", read_manifest(dev), of=dev, split="dev")
    return DemoData(train, test, into / "dev", (str(into / TEXTS),))


def own(into: Path, data: Path) -> DemoData:
    """Divide the user's recordings; the language model learns from the transcripts, and is tuned on a split `dev`."""
    prepared = data if (data / CUTS).is_file() else _prepared(data, into / "prepared")
    utterances = read_manifest(prepared)
    train, test = hold_out(utterances)
    dev = _dev_of(utterances, {u.speaker for u in test} if _has_speakers(test) else set())
    parts = {"train": train, "test": test} | ({"dev": dev} if dev else {})
    for name, part in parts.items():
        _write_part(into / name, part, of=prepared, split="dev" if name == "dev" else None)
    return DemoData(into / "train", into / "test", into / "dev" if dev else None, ())


def _dev_of(utterances: Sequence[Utterance], test_speakers: set[str | None]) -> list[Utterance]:
    """Return the transcribed utterances of the split `dev`, without those of speakers of the test set."""
    found = [u for u in utterances if u.split == "dev" and u.text and u.text.strip()]
    return [u for u in found if u.speaker not in test_speakers]


def _write_part(folder: Path, utterances: Sequence[Utterance], *, of: Path, split: str | None) -> None:
    """Write utterances of a prepared folder as one of their own, as a split."""
    headers = {u.path: about for u, about in read_with_headers(of)}
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, ((u._replace(split=split), headers[u.path]) for u in utterances))


def _prepared(source: Path, folder: Path) -> Path:
    if (folder / CUTS).is_file():
        logger.info(f"already prepared: {folder}")
    else:
        logger.info(str(prepare(source, folder, overwrite=folder.exists())))
    return folder


def hold_out(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Divide recordings into a training set and a transcribed test set.

    The test set is the split `test` if there is one; otherwise a fifth of the transcribed speech: whole speakers if at
    least four are known, else single utterances. Speakers of the test set and the splits `test` and `dev` are not
    trained on. The test set is at most ten minutes long.

    Raises:
        ValueError: there is too little transcribed speech.
    """
    spoken = sorted((u for u in utterances if u.text and u.text.strip()), key=lambda u: u.id)
    test = [u for u in spoken if u.split == "test"] or _draw_test(spoken)
    speakers, ids = {u.speaker for u in test} if _has_speakers(spoken) else set(), {u.id for u in test}
    train = [u for u in utterances if u.id not in ids and u.speaker not in speakers and u.split not in ("test", "dev")]
    found = [transcribed_minutes(part) for part in (train, test)]
    if found[0] < MIN_LABELLED_MINUTES or not test:
        raise ValueError(
            f"expected transcribed recordings to train and to test on, got {found[0]:.1f} and {found[1]:.1f} min; put "
            "the text of speech.wav into speech.txt beside it, for at least a few minutes of speech"
        )
    return train, list(choose_minutes(test, min(MAX_TEST_MINUTES, found[1]), seed=0))


def _draw_test(spoken: list[Utterance]) -> list[Utterance]:
    groups: dict[str, list[Utterance]] = {}
    for u in spoken:
        groups.setdefault((u.speaker or "") if _has_speakers(spoken) else u.id, []).append(u)
    names = random.Random(0).sample(sorted(groups), len(groups))  # noqa: S311 - not for secrets
    wanted, test = HELD_OUT * sum(u.duration_seconds for u in spoken), list[Utterance]()
    while names and sum(u.duration_seconds for u in test) < wanted:
        test += groups[names.pop()]
    return test


def _has_speakers(spoken: Sequence[Utterance]) -> bool:
    return all(u.speaker for u in spoken) and len({u.speaker for u in spoken}) >= 4


def transcribed_minutes(utterances: Sequence[Utterance]) -> float:
    """Return how much of the speech has a transcript."""
    return sum(u.duration_seconds for u in utterances if u.text and u.text.strip()) / 60
