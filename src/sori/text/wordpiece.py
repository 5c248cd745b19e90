"""WordPiece tokenisation: a subword vocabulary learnt from text, and conversion of text to token ids and back.

Wu et al. 2016 (arXiv 1609.08144), section 4.1, as BERT uses it: text is split at spaces and punctuation, then each word
from the left into the longest pieces of the vocabulary; `##` marks a piece that continues a word. The library
`tokenizers` does the training and the tokenisation.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sori.core.config import Config
from sori.core.files import read_json, write_json
from sori.core.foreign_values import shown

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION = "##"
_LONGEST_WORD = 100
_TEXTS_PER_CHUNK = 1000


class Spelling(Config):
    """Normalisation of text before it is tokenised."""

    case: Literal["lower", "keep"] = "lower"
    """`lower`: an uncased model."""
    accents: Literal["strip", "keep"] = "strip"
    """`strip` removes accents (é becomes e), as BERT's uncased models do; use `keep` for scripts whose marks are
    letters of their own (Devanagari, Thai, voiced kana)."""
    compose: bool = True
    """Whether to compose decomposed letters again (NFC); without it, stripping accents leaves Hangul as single jamo.
    The published models do not compose; an imported model keeps its own setting."""
    chinese: bool = True
    """Whether to put spaces around every Chinese character."""


class WordPieceConfig(Config):
    """Settings for learning a vocabulary."""

    spelling: Spelling = Spelling()
    num_tokens: int = Field(default=30_000, ge=10)
    """Maximum number of tokens, special tokens included."""
    min_count: int = Field(default=2, ge=1)
    """Minimum count of a pair of pieces that is joined into one."""


@final
class WordPiece:
    """A WordPiece vocabulary with its normalisation.

    Args:
        tokens: tokens in the order of their ids; among them `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]`.
        spelling: normalisation of text before it is tokenised.

    Raises:
        ValueError: if a special token is missing, or a token occurs twice.
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

        Letters are the most frequent ones, at most a third of the vocabulary. The same texts give the same vocabulary.

        Args:
            texts: function that returns all texts; called twice.
            config: size and normalisation.

        Raises:
            ValueError: if there is no word in the texts.
        """
        tokenizer = _tokenizer({}, config.spelling)
        letters = _letters(texts(), tokenizer.normalizer, most=config.num_tokens // 3)
        if not letters:
            raise ValueError(
                "expected texts with words, got none; likely the files are empty or hold nothing but special characters"
            )
        # The library numbers pieces in arbitrary order, and that order decides between pairs of equal frequency. Tokens
        # passed as special keep the order given here.
        continuing = [CONTINUATION + letter for letter in letters if not _is_split_off(letter)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=config.num_tokens,
            min_frequency=config.min_count,
            limit_alphabet=len(letters),
            initial_alphabet=letters,
            special_tokens=[*SPECIAL, *letters, *continuing],
            show_progress=False,
        )
        tokenizer.train_from_iterator(_chunks(texts()), trainer)
        found = tokenizer.get_vocab()
        return cls(sorted(found, key=found.__getitem__), config.spelling)

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, without [CLS] and [SEP]; special tokens in the text are recognised."""
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def join(self, numbers: Iterable[int]) -> str:
        """Return the text of token ids, with spaces between words."""
        words: list[str] = []
        for number in numbers:
            piece = self.tokens[number]
            if piece.startswith(CONTINUATION) and words:
                words[-1] += piece.removeprefix(CONTINUATION)
            else:
                words.append(piece)
        return " ".join(words)

    def to_tokenizers(self) -> str:
        """Return the vocabulary as `tokenizer.json` of the library `tokenizers`, which adds [CLS] and [SEP]."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}",
            pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
            special_tokens=[(CLS, self.cls), (SEP, self.sep)],
        )
        whole.decoder = decoders.WordPiece(prefix=CONTINUATION)
        return whole.to_str(pretty=True) + "\n"

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        data = {"unit": "wordpiece", **self.spelling.model_dump(mode="json"), "tokens": self.tokens}
        write_json(path, data, indent=0)

    @classmethod
    def from_data(cls, data: Any, *, origin: str) -> "WordPiece":
        """Build a vocabulary from data written by `save`.

        Raises:
            ValueError: if the data are not a WordPiece vocabulary.
        """
        unit = data.get("unit") if isinstance(data, dict) else shown(data)
        if unit != "wordpiece" or not isinstance(data.get("tokens"), list):
            raise ValueError(f"{origin}: expected a WordPiece vocabulary, got one of unit {shown(unit)}")
        rest = {name: value for name, value in data.items() if name not in ("unit", "tokens")}
        return cls(data["tokens"], Spelling.from_data(rest, origin=origin))

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Read a vocabulary written by `save`.

        Raises:
            ValueError: if the file is missing, damaged, or not a WordPiece vocabulary.
        """
        try:
            data = read_json(path)
        except FileNotFoundError:
            raise ValueError(f"{path} is missing; without it the token ids cannot be converted to text") from None
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
    """Return the most frequent letters, in code point order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(spelling.normalize_str(text))
    seen = sorted((letter for letter in counts if not letter.isspace()), key=lambda letter: (-counts[letter], letter))
    return sorted(seen[:most])


def _is_split_off(letter: str) -> bool:
    """Return whether a character is punctuation, which is split off and thus never continues a word."""
    return unicodedata.category(letter).startswith("P") or (letter.isascii() and not letter.isalnum())


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of texts: the library has an overhead for each item it is given."""
    waiting: list[str] = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == _TEXTS_PER_CHUNK:
            yield waiting
            waiting = []
    yield waiting
