"""Synthetic speech for demonstrations and tests: espeak-ng speaks invented sentences in many voices."""

from sori.synth.room import record
from sori.synth.sentences import sentences
from sori.synth.voice import Voice, speak, voices

__all__ = ["Voice", "record", "sentences", "speak", "voices"]
