"""A small corpus of synthetic speech as somebody's recordings might lie on a disk."""

from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from rich.progress import track

from sori.core.seeds import derive
from sori.synth.room import SAMPLE_RATE, record
from sori.synth.sentences import sentences
from sori.synth.voice import Voice, speak, voices


class CorpusSize(NamedTuple):
    """Who says how much; the first voices have transcripts for their first sentences."""

    num_voices: int = 24
    num_sentences: int = 62
    """Of each voice."""
    num_labelled_voices: int = 6
    """Of `num_voices`."""
    num_labelled_sentences: int = 14
    """Of each of these."""
    num_test_voices: int = 8
    num_test_sentences: int = 14
    """Of each of these."""


def speak_corpus(folder: Path, size: CorpusSize = CorpusSize(), *, seed: int = 0) -> None:  # noqa: B008 - immutable
    """Write `train/VOICE/000.wav` and so on, `test/` alike, and a `.txt` beside what is transcribed.

    Voices and sentences of the test are none of the training's; all of the test is transcribed.

    Args:
        folder: is made where there is none, and must be empty.
        size: how much, about 3 s a sentence.
        seed: decides voices, sentences and rooms.
    """
    everybody = voices(size.num_test_voices + size.num_voices, seed=seed, dialects=("sw",))
    test_texts = sentences(size.num_test_voices * size.num_test_sentences, seed=derive(seed, "test"))
    texts = sentences(size.num_voices * size.num_sentences, seed=derive(seed, "train"), avoid=frozenset(test_texts))
    folder.mkdir(parents=True, exist_ok=True)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sentences are too short to be shared: threads would mostly wait for each other
    for number, voice in enumerate(track(everybody, description="speaking", transient=True)):
        generator = torch.Generator().manual_seed(derive(seed, "rooms", number))
        rank = number - size.num_test_voices
        if rank < 0:
            mine = _share(test_texts, number, size.num_test_sentences)
            _write(folder / "test" / voice.name, voice, mine, num_labelled=len(mine), generator=generator)
        else:
            mine = _share(texts, rank, size.num_sentences)
            num_labelled = size.num_labelled_sentences if rank < size.num_labelled_voices else 0
            _write(folder / "train" / voice.name, voice, mine, num_labelled=num_labelled, generator=generator)
    torch.set_num_threads(num_threads)


def _share(texts: list[str], number: int, size: int) -> list[str]:
    return texts[number * size : (number + 1) * size]


def _write(folder: Path, voice: Voice, texts: list[str], *, num_labelled: int, generator: torch.Generator) -> None:
    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        sound = record(speak(text, voice), generator)
        soundfile.write(folder / f"{number:03}.wav", sound.numpy(), SAMPLE_RATE, subtype="PCM_16")
        if number < num_labelled:
            (folder / f"{number:03}.txt").write_text(text + "\n", encoding="utf-8")
