"""Pieces of words (WordPiece): a vocabulary learnt from text, and text to numbers and back.

Wu et al. 2016 (arXiv 1609.08144), section 4.1, as BERT uses it: words are split at spaces and punctuation, then each is
cut into the longest pieces that the vocabulary holds, from the left; `##` marks a piece that goes on. Learning and
cutting are done by the library `tokenizers`.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sori.core.config import Config
from sori.core.files import write_json
from sori.core.user_files import read_text

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOES_ON = "##"
_LONGEST_WORD = 100
_READ_TOGETHER = 1000


class Spelling(Config):
    """What is done to text before it is cut."""

    case: Literal["lower", "keep"] = "lower"
    """`lower`: an uncased model."""
    accents: Literal["strip", "keep"] = "strip"
    """`strip` removes accents (é becomes e), as BERT's uncased models do; with scripts whose marks are letters of their
    own (Devanagari, Thai, voiced kana), `keep` them."""
    compose: bool = True
    """Put decomposed letters together again (NFC), or Hangul would be left as single jamo by the stripping of accents.
    The published models do not; a model that is read from elsewhere keeps its own way."""
    chinese: bool = True
    """A space around every Chinese character."""


class WordPieceConfig(Config):
    """How a vocabulary is learnt."""

    spelling: Spelling = Spelling()
    num_tokens: int = Field(default=30_000, ge=10)
    """At most so many pieces, special tokens included."""
    min_count: int = Field(default=2, ge=1)
    """A piece of several letters is made of pairs found at least so often."""


@final
class WordPiece:
    """A vocabulary of pieces, and the spelling it was learnt with.

    Args:
        tokens: by number; among them `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]`.
        spelling: what is done to text first.

    Raises:
        ValueError: a special token is missing, or a token stands twice.
    """

    def __init__(self, tokens: Sequence[str], spelling: Spelling = Spelling()) -> None:  # noqa: B008 - frozen
        self.tokens, self.spelling = tuple(tokens), spelling
        numbers = {token: number for number, token in enumerate(tokens)}
        if missing := [token for token in SPECIAL if token not in numbers]:
            raise ValueError(f"expected a WordPiece vocabulary with {', '.join(SPECIAL)}; it has no {missing[0]}")
        if len(numbers) < len(tokens):
            raise ValueError(
                f"the vocabulary has {len(tokens)} lines and {len(numbers)} different tokens; likely damaged"
            )
        self.pad, self.unk, self.cls, self.sep, self.mask = (numbers[token] for token in SPECIAL)
        self._tokenizer = _tokenizer(numbers, spelling)

    @classmethod
    def fit(cls, texts: Callable[[], Iterable[str]], config: WordPieceConfig) -> "WordPiece":
        """Learn a vocabulary: special tokens, letters, then pieces in the order in which they were joined.

        Letters are the most frequent ones, a third of the vocabulary at most. The same texts give the same vocabulary.

        Args:
            texts: gives all texts, and is called twice.
            config: size and spelling.

        Raises:
            ValueError: there is no word in the texts.
        """
        tokenizer = _tokenizer({}, config.spelling)
        letters = _letters(texts(), tokenizer.normalizer, most=config.num_tokens // 3)
        if not letters:
            raise ValueError(
                "expected texts with words, got none; likely the files are empty or hold nothing but special characters"
            )
        # The library numbers the pieces it finds in any order, and the order decides between pairs of equal frequency:
        # what it is given as special it takes as it stands.
        going_on = [GOES_ON + letter for letter in letters if not _stands_alone(letter)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=config.num_tokens,
            min_frequency=config.min_count,
            limit_alphabet=len(letters),
            initial_alphabet=letters,
            special_tokens=[*SPECIAL, *letters, *going_on],
            show_progress=False,
        )
        tokenizer.train_from_iterator(_together(texts()), trainer)
        found = tokenizer.get_vocab()
        return cls(sorted(found, key=found.__getitem__), config.spelling)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Numbers of the pieces of each text, without [CLS] and [SEP]; special tokens may stand in the text."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def join(self, numbers: Iterable[int]) -> str:
        """The pieces as text: words with a space between them."""
        words: list[str] = []
        for number in numbers:
            piece = self.tokens[number]
            if piece.startswith(GOES_ON) and words:
                words[-1] += piece.removeprefix(GOES_ON)
            else:
                words.append(piece)
        return " ".join(words)

    def to_tokenizers(self) -> str:
        """The vocabulary in the format of the library `tokenizers` (tokenizer.json), with [CLS] and [SEP] around."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}",
            pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
            special_tokens=[(CLS, self.cls), (SEP, self.sep)],
        )
        whole.decoder = decoders.WordPiece(prefix=GOES_ON)
        return whole.to_str(pretty=True) + "\n"

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        data = {"unit": "wordpiece", **self.spelling.model_dump(mode="json"), "tokens": self.tokens}
        write_json(path, data, indent=0)

    @classmethod
    def from_data(cls, data: dict[str, Any], *, origin: str) -> "WordPiece":
        """From what `save` writes.

        Raises:
            ValueError: the data are something else.
        """
        rest = {name: value for name, value in data.items() if name not in ("unit", "tokens")}
        if data.get("unit") != "wordpiece" or not isinstance(data.get("tokens"), list):
            raise ValueError(f"{origin}: expected a WordPiece vocabulary, got one of unit {data.get('unit')!r}")
        return cls(data["tokens"], Spelling.from_data(rest, origin=origin))

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Read what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged, or something else.
        """
        try:
            data = json.loads(read_text(path))
        except FileNotFoundError:
            raise ValueError(f"{path} is missing; without it nobody knows what the tokens stand for") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not readable as JSON: {error}") from None
        return cls.from_data(data, origin=str(path))


def _tokenizer(numbers: dict[str, int], spelling: Spelling) -> Tokenizer:
    made = Tokenizer(models.WordPiece(numbers, unk_token=UNK, max_input_chars_per_word=_LONGEST_WORD))
    first = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=spelling.chinese,
        strip_accents=spelling.accents == "strip",
        lowercase=spelling.case == "lower",
    )
    made.normalizer = normalizers.Sequence([first, normalizers.NFC()]) if spelling.compose else first
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL if token in numbers]
    )
    return made


def _letters(texts: Iterable[str], spelling: normalizers.Normalizer, *, most: int) -> list[str]:
    """The most frequent letters, in code point order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(spelling.normalize_str(text))
    seen = sorted((letter for letter in counts if not letter.isspace()), key=lambda letter: (-counts[letter], letter))
    return sorted(seen[:most])


def _stands_alone(letter: str) -> bool:
    """Punctuation is split off, so that it never goes on."""
    return unicodedata.category(letter).startswith("P") or (letter.isascii() and not letter.isalnum())


def _together(texts: Iterable[str]) -> Iterator[list[str]]:
    """Lists of texts: the library takes its time over each that it is given."""
    waiting: list[str] = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == _READ_TOGETHER:
            yield waiting
            waiting = []
    yield waiting
