"""Decode class scores with CTC prefix beam search, optionally with lexicon, language model and hot words.

Sources: Graves (2012), prefix search; Hannun, Maas, Jurafsky, Ng (2014), arXiv 1408.2873, language model at word ends;
Pratap et al. (2019), arXiv 1812.07625, lexicon as a trie with unigram look-ahead; Bisani and Ney (2005), "Open
Vocabulary Speech Recognition with Flat Hybrid Models", unknown words by a model of their spelling.

The probability of a text is the sum over all alignments that collapse to it. As in `Vocabulary.decode`, leading,
trailing and repeated word boundaries are not part of the text, so they are summed over like blanks. The score adds
`lm_weight` times the log-probability of the language model and the bonuses of `BeamConfig`. All scores are in nats.
"""

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, final

import numpy as np
import regex
from numpy.typing import NDArray
from pydantic import Field

from sori.core.shapes import Frames
from sori.decoding.best_path import align
from sori.decoding.greedy import Path, greedy
from sori.decoding.search import NO_LM, SYMBOLS, WORDS, Model, empty_beam, empty_prefixes, search
from sori.decoding.trie import build_trie, look_ahead, spell
from sori.lm.fusion import FusionConfig
from sori.lm.ngram import NgramModel, empty
from sori.lm.word_spelling import spelling_model
from sori.text.vocabulary import SPECIAL, WORD_BOUNDARY, Vocabulary

_PLAIN = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}]")  # letters that are always one grapheme


class BeamConfig(FusionConfig):
    """Settings of the search, in nats."""

    beam_size: int = Field(100, ge=1, le=100_000)
    """Maximal number of prefixes kept after each frame."""
    beam_threshold: float = Field(25.0, gt=0, allow_inf_nan=True)
    """Prefixes this far below the best are dropped; `inf`: none are dropped."""
    symbol_threshold: float = Field(12.0, gt=0, allow_inf_nan=True)
    """Symbols this far below the likeliest class of a frame (12 nats: 6e-6 of its probability) extend no prefix there,
    which makes frames that are almost certainly blank fast; `inf`: exact search."""
    hot_word_score: float = Field(5.0, ge=-1e6, le=1e6)
    """Added for each hot word."""
    log_add: bool = True
    """Sum over the alignments of a text, as CTC defines it; False: use only the best one (flashlight's default)."""
    num_best: int = Field(1, ge=1, le=100_000)
    """Number of texts to return for each utterance."""


class Hypothesis(NamedTuple):
    """A decoded text with its scores."""

    text: str
    path: Path
    """Symbols with single word boundaries, as `greedy.words` expects them; spans of the best alignment."""
    score: float
    """acoustic + lm_weight * lm + bonuses."""
    acoustic: float
    """Log-probability of the text given the audio, over the alignments that the search kept."""
    lm: float
    """Log-probability of the language model, end of sentence included; 0 without one."""
    complete: bool
    """Whether the text consists of whole words; False: no such text was left, and the last word is incomplete."""


@final
class BeamDecoder:
    """Beam search for one recogniser, lexicon and language model.

    Without a lexicon any word is possible; with a word language model, the words of the model then count as known.

    Args:
        vocabulary: Vocabulary of the recogniser.
        config: Settings of the search; None: the defaults.
        lm: Language model over words or over the vocabulary's symbols (`|` between words).
        lm_unit: Unit of the language model.
        lexicon: Allowed words (others at `unknown_score`); those that the vocabulary cannot spell are left out and
            listed in `unspelled`.
        hot_words: Words to prefer; added to the lexicon.
        spelling: Whether the spelling of unknown words is scored by an n-gram of the symbols of the known words, with
            the weight `spelling_weight`: words that look like those of the language are likelier.

    Raises:
        ValueError: Words are required but the vocabulary has no word boundary, no word of the lexicon can be spelled, a
            hot word is not a single word, or language model and recogniser have no word or symbol in common.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        config: BeamConfig | None = None,
        *,
        lm: NgramModel | None = None,
        lm_unit: Literal["word", "symbol"] = "word",
        lexicon: Iterable[str] | None = None,
        hot_words: Sequence[str] = (),
        spelling: bool = False,
    ) -> None:
        self.vocabulary, self.lm, self.lm_unit = vocabulary, lm, lm_unit
        self._lm_kind = NO_LM if lm is None else WORDS if lm_unit == "word" else SYMBOLS
        self._closed = lexicon is not None
        self.hot_words = tuple(hot_words)
        classes_of = _Speller(vocabulary)
        listed = list(lexicon) if lexicon is not None else list(lm.words) if lm and lm_unit == "word" else []
        # words of equal spelling count as one: the first of them that is in the language model
        spelled: dict[tuple[int, ...], str] = {}
        keys = [classes_of(word) for word in listed]
        for word, key in zip(listed, keys, strict=True):
            if key and (key not in spelled or (lm is not None and spelled[key] not in lm and word in lm)):
                spelled[key] = word
        self.unspelled = [
            word for word, key in zip(listed, keys, strict=True) if not key and not SPECIAL.fullmatch(word)
        ]
        """Words of the lexicon without symbols, or with symbols that the vocabulary lacks."""
        if listed and not spelled:
            raise ValueError(
                f"expected words that the recogniser can spell, got none among {len(listed)}, for example "
                f"{listed[0]!r}; "
                "likely another script or language, or a lexicon with pronunciations: give a list of words"
            )
        hot = {classes_of(word): word for word in hot_words}
        if () in hot:
            raise ValueError(
                f"expected single words that the recogniser can spell as hot words, got {hot[()]!r}; give each word of "
                "a phrase separately, without symbols that the vocabulary lacks"
            )
        self.spelling = spelling_model(spelled) if spelling and spelled else None
        spelled = {**hot, **spelled}
        self._hot = np.array([key in hot for key in spelled], bool)
        self._trie = build_trie(list(spelled), len(vocabulary))
        if (spelled or self._lm_kind == WORDS) and WORD_BOUNDARY not in vocabulary.symbols:
            raise ValueError(
                f"expected the word boundary {WORD_BOUNDARY} among the symbols, got a vocabulary without it; likely a "
                'phone recogniser: search without lexicon, hot words and word language model (use lm_unit="symbol")'
            )
        self._word_lm = self._lm_ids(list(spelled.values()), lm_unit == "word", "words")
        self._symbol_lm = self._lm_ids(list(vocabulary.symbols), lm_unit == "symbol", "symbols")
        self.config = config or BeamConfig()
        self._model = self._search_model(self.config)

    def with_config(self, config: BeamConfig) -> "BeamDecoder":
        """Return a decoder with the same lexicon and language model but other settings, at almost no cost."""
        other = object.__new__(BeamDecoder)
        other.__dict__.update(self.__dict__)
        other.config, other._model = config, self._search_model(config)
        return other

    @property
    def scores_spelling(self) -> bool:
        """Whether the spelling of unknown words affects the result."""
        return self.spelling is not None and not self.only_known_words and self.config.spelling_weight > 0

    @property
    def only_known_words(self) -> bool:
        """Whether only words of the lexicon are possible."""
        return self._closed and self.config.unknown_score is None

    def decode(self, logits: Frames, *, num_threads: int | None = None) -> list[list[Hypothesis]]:
        """Return the best texts of each utterance, best first, at least one.

        Args:
            logits: Class scores, normalised or not; frames beyond an utterance's length are ignored.
            num_threads: Number of utterances processed in parallel; None: number of cores.

        Raises:
            ValueError: The number of classes differs from the vocabulary's, or a score is NaN.
        """
        if logits.data.shape[-1] != len(self.vocabulary):
            raise ValueError(
                f"expected {len(self.vocabulary)} classes as in the vocabulary, got {logits.data.shape[-1]}; likely "
                "another recogniser's vocabulary: take both from the same model"
            )
        scores = logits.data.detach().float().log_softmax(-1).cpu().numpy()
        rows = [row[:length] for row, length in zip(scores, logits.lengths.tolist(), strict=True)]
        if any(np.isnan(row).any() for row in rows):
            raise ValueError("expected class scores, got NaN; likely the model's training diverged: check its losses")
        with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
            return list(pool.map(self._decode, rows))

    def _decode(self, row: NDArray[np.float32]) -> list[Hypothesis]:
        model = self._model
        prefixes, size = empty_prefixes(len(row) * model.beam_size + 1), model.beam_size
        keys, acoustic, lm, extra, complete = search(
            model, row, prefixes, empty_beam(size), empty_beam(size * (row.shape[1] + 1))
        )
        total = acoustic + model.lm_weight * lm + extra
        found = []
        for place in np.argsort(-total, kind="stable")[: self.config.num_best]:
            ids, prefix = [], int(keys[place])
            while prefix > 0:
                ids.append(int(prefixes.symbol[prefix]))
                prefix = int(prefixes.parent[prefix])
            ids.reverse()
            spans = align(row, np.array(ids, np.int32), model.bar)
            path = Path(ids, [(int(start), int(end)) for start, end in spans])
            parts = (float(total[place]), float(acoustic[place]), float(lm[place]))
            found.append(Hypothesis(self.vocabulary.decode(ids), path, *parts, bool(complete)))
        return found

    def _lm_ids(self, names: list[str], used: bool, what: str) -> NDArray[np.int32]:
        """Return the ids of words or symbols in the language model, as they are or in the recogniser's spelling."""
        if self.lm is None or not used or not names:
            return np.zeros(max(len(names), 1), np.int32)
        lm, spell = self.lm, _Speller(self.vocabulary).normalise
        ids = np.array([lm.word_id(name) for name in names], np.int32)
        if what == "words" and (missing := np.flatnonzero(ids == lm.unknown)).size:
            other = {spell(word): number for number, word in reversed(list(enumerate(lm.words)))}
            ids[missing] = [other.get(spell(names[number]), lm.unknown) for number in missing]
        if (ids == lm.unknown).all():
            raise ValueError(
                f"expected a language model over the {what} of the recogniser, got one that contains none of "
                f"{len(names)}, for example {names[-1]!r}; likely another language, or the other lm_unit is needed"
            )
        return ids

    def _search_model(self, config: BeamConfig) -> Model:
        lm, trie = self.lm, self._trie
        ngrams = lm.ngrams if lm else empty()
        weight = config.lm_weight if lm else 0.0
        is_open = not self._closed or config.unknown_score is not None
        has_known = self._closed or self._lm_kind == WORDS  # otherwise no word counts as known or unknown
        unknown, each = (config.unknown_score or 0.0, config.unknown_symbol_score) if has_known else (0.0, 0.0)
        word_score = config.word_score + config.hot_word_score * self._hot
        unigram = np.zeros(max(len(self._hot), 1))
        ahead_unknown = config.word_score
        if lm and self._lm_kind == WORDS:
            unigram = weight * ngrams.log_prob[1:][self._word_lm].astype(np.float64)
            ahead_unknown += weight * float(ngrams.log_prob[1:][lm.unknown])
        symbols = self.vocabulary.symbols
        leave, state = unknown + each * trie.depth.astype(np.float64), np.zeros(len(trie.parent), np.int32)
        spelling, spelling_ids = self.spelling if is_open else None, np.zeros(len(symbols), np.int32)
        if spelling is not None:
            spelling_ids = np.array([spelling.word_id(str(number)) for number in range(len(symbols))], np.int32)
            log_prob, state = spell(trie, spelling.ngrams, spelling.start, spelling_ids)
            leave += config.spelling_weight * log_prob
        ahead = look_ahead(
            trie,
            unigram + config.word_score,
            config.hot_word_score * self._hot,
            ahead_unknown + leave if is_open else np.full(len(leave), -math.inf),
        )
        return Model(
            trie=trie,
            ahead=ahead,
            ahead_unknown=ahead_unknown,
            word_lm=self._word_lm,
            word_score=np.append(word_score, 0.0),
            lm=ngrams,
            lm_kind=self._lm_kind,
            lm_start=lm.start if lm else 0,
            lm_end=lm.end if lm else -1,
            lm_unknown=lm.unknown if lm else 0,
            symbol_lm=self._symbol_lm,
            writable=np.array([not SPECIAL.fullmatch(symbol) for symbol in symbols]),
            bar=symbols.index(WORD_BOUNDARY) if WORD_BOUNDARY in symbols else -1,
            is_open=is_open,
            lm_weight=weight,
            any_word_score=config.word_score,
            unknown_symbol_score=each,
            leave=leave,
            spelling=spelling.ngrams if spelling else empty(),
            spelling_weight=config.spelling_weight if spelling else 0.0,
            spelling_symbol=spelling_ids,
            spelling_end=spelling.end if spelling else -1,
            spelling_state=state,
            beam_size=config.beam_size,
            beam_threshold=config.beam_threshold,
            symbol_threshold=config.symbol_threshold,
            log_add=config.log_add,
        )


def read_out(scores: Sequence[Frames], decoder: BeamDecoder | None) -> list[Path]:
    """Return the best path of each utterance; searches run in parallel on all cores.

    Args:
        scores: Class scores, each a batch of one.
        decoder: Beam search; None: greedy decoding.
    """
    if decoder is None:
        return [path for frames in scores for path in greedy(frames)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # the search releases the GIL
        return list(pool.map(lambda frames: decoder.decode(frames, num_threads=1)[0][0].path, scores))


class _Speller:
    """Convert words to tuples of classes; empty for a word that cannot be spelled or is not a single word."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.index = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
        # most words do not need the Unicode rules, which take ten times as long as the rest
        self.plain = {c for c in vocabulary.symbols if _PLAIN.fullmatch(c) and vocabulary.split(c) == [c]}

    def normalise(self, word: str) -> str:
        cased = self.vocabulary.change_case(word)
        return cased if self.plain.issuperset(cased) else self.vocabulary.normalise(word)

    def __call__(self, word: str) -> tuple[int, ...]:
        if SPECIAL.fullmatch(word):
            return ()
        text = self.normalise(word)
        symbols = list(text) if self.plain.issuperset(text) else self.vocabulary.split(text)
        if WORD_BOUNDARY in symbols or not all(symbol in self.index for symbol in symbols):
            return ()
        return tuple(self.index[symbol] for symbol in symbols)
