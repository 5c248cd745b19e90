"""Synthesise a small speech corpus in folders like those of real recordings."""

from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from rich.console import Console
from rich.progress import track

from sori.core.seeds import derive
from sori.synth.room import SAMPLE_RATE, record
from sori.synth.sentences import sentences
from sori.synth.voice import Voice, speak, voices


class CorpusSize(NamedTuple):
    """Size of a corpus; the first voices have transcripts for their first sentences."""

    num_voices: int = 24
    num_sentences: int = 62
    """Sentences of each voice."""
    num_labelled_voices: int = 6
    """How many of `num_voices` have transcripts."""
    num_labelled_sentences: int = 14
    """Transcribed sentences of each of these."""
    num_test_voices: int = 8
    num_test_sentences: int = 14
    """Sentences of each test voice."""
    num_dev_voices: int = 4
    num_dev_sentences: int = 12
    """Sentences of each voice of the development set."""


def speak_corpus(folder: Path, size: CorpusSize = CorpusSize(), *, seed: int = 0) -> None:  # noqa: B008 - immutable
    """Write `train/VOICE/000.wav` and so on, likewise `test/` and `dev/`, and a `.txt` beside each transcribed file.

    The three have no voices or sentences in common; all files of test and dev are transcribed.

    Args:
        folder: folder to write to; it is created if necessary, and must be empty.
        size: amount of speech; a sentence takes about 3 s.
        seed: decides voices, sentences and rooms.
    """
    num_voices = size.num_test_voices + size.num_voices
    all_voices = voices(num_voices + size.num_dev_voices, seed=seed, dialects=("sw",))
    test_texts, texts, dev_texts = corpus_texts(size, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sentences are too short for several threads
    for number, voice in enumerate(
        track(all_voices, "synthesising speech", console=Console(stderr=True), transient=True)
    ):
        generator = torch.Generator().manual_seed(derive(seed, "rooms", number))
        rank = number - size.num_test_voices
        if number >= num_voices:
            own_texts = _part(dev_texts, number - num_voices, size.num_dev_sentences)
            _write(folder / "dev" / voice.name, voice, own_texts, num_labelled=len(own_texts), generator=generator)
        elif rank < 0:
            own_texts = _part(test_texts, number, size.num_test_sentences)
            _write(folder / "test" / voice.name, voice, own_texts, num_labelled=len(own_texts), generator=generator)
        else:
            own_texts = _part(texts, rank, size.num_sentences)
            num_labelled = size.num_labelled_sentences if rank < size.num_labelled_voices else 0
            _write(folder / "train" / voice.name, voice, own_texts, num_labelled=num_labelled, generator=generator)
    torch.set_num_threads(num_threads)


def corpus_texts(size: CorpusSize = CorpusSize(), *, seed: int = 0) -> tuple[list[str], list[str], list[str]]:  # noqa: B008
    """Return the sentences of `speak_corpus` for test, training and dev, none of which occurs twice."""
    test = sentences(size.num_test_voices * size.num_test_sentences, seed=derive(seed, "test"))
    train = sentences(size.num_voices * size.num_sentences, seed=derive(seed, "train"), avoid=frozenset(test))
    num_dev = size.num_dev_voices * size.num_dev_sentences
    return test, train, sentences(num_dev, seed=derive(seed, "dev"), avoid=frozenset((*test, *train)))


def _part(texts: list[str], number: int, size: int) -> list[str]:
    return texts[number * size : (number + 1) * size]


def _write(folder: Path, voice: Voice, texts: list[str], *, num_labelled: int, generator: torch.Generator) -> None:
    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        sound = record(speak(text, voice), generator)
        soundfile.write(folder / f"{number:03}.wav", sound.numpy(), SAMPLE_RATE, subtype="PCM_16")
        if number < num_labelled:
            (folder / f"{number:03}.txt").write_text(text + "\n", encoding="utf-8")
