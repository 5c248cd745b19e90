"""Synthetic speech for demonstrations and tests: invented sentences, synthesised by espeak-ng in many voices."""

from sori.synth.corpus import CorpusSize, corpus_texts, speak_corpus
from sori.synth.room import record
from sori.synth.sentences import sentences
from sori.synth.voice import Voice, speak, voices

__all__ = ["CorpusSize", "Voice", "corpus_texts", "record", "sentences", "speak", "speak_corpus", "voices"]
