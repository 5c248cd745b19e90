"""Build a beam search for a recogniser and a language model."""

from collections.abc import Sequence

from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.lm.ngram import NgramModel
from sori.text.vocabulary import WORD_BOUNDARY, Vocabulary


def lm_decoder(
    vocabulary: Vocabulary, lm: NgramModel, config: BeamConfig, *, hot_words: Sequence[str] = ()
) -> BeamDecoder:
    """Return a decoder whose lexicon are the words of the language model, or without one for a model over symbols.

    Args:
        vocabulary: vocabulary of the recogniser.
        lm: model over words, or over the symbols of the recogniser (one of which is the word boundary `|`).
        config: settings; with an `unknown_score`, words outside the lexicon are spelt by the recogniser.
        hot_words: words that get a bonus.

    Raises:
        ValueError: model and recogniser have no word or symbol in common.
    """
    if WORD_BOUNDARY in lm.words:
        return BeamDecoder(vocabulary, config, lm=lm, lm_unit="symbol", hot_words=hot_words)
    spelling = config.unknown_score is not None
    return BeamDecoder(vocabulary, config, lm=lm, lexicon=lm.words, hot_words=hot_words, spelling=spelling)
