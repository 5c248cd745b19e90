"""Convert tokenizer files of a Wav2Vec2CTCTokenizer to sori's vocabulary and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_schemas import AddedToken, Languages, Numbers, Token, TokenizerFields, Tokens
from sori.checkpoints.formats.origin import HuggingFaceOrigin, TokenizerFile
from sori.checkpoints.formats.vocabularies import Classes, from_tokens, to_tokens
from sori.core.foreign_values import shortened
from sori.text.vocabulary import Vocabulary

VOCAB: TokenizerFile = "vocab.json"
TOKENIZER: TokenizerFile = "tokenizer_config.json"
SPECIAL: TokenizerFile = "special_tokens_map.json"
ADDED: TokenizerFile = "added_tokens.json"
_NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
_LIKE_UNKNOWN = {"[UNK]": "<unk>", "[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>"}


class Read(NamedTuple):
    """A vocabulary read from the tokenizer's files."""

    classes: Classes
    remarks: list[str]


def read_tokenizer(folder: Path, *, num_classes: int, blank: int | None, language: str | None) -> Read:
    """Read the vocabulary from the tokenizer files.

    Args:
        folder: Folder with vocab.json and the other tokenizer files.
        num_classes: Number of rows of the output layer.
        blank: Class of the blank (pad_token_id of config.json); None: that of the tokenizer's pad token.
        language: Language to select from a vocabulary of several.

    Raises:
        ValueError: There is no vocabulary, the language is not in it, or it does not match the output layer.
    """
    vocab = read_if_there(folder / VOCAB)
    if vocab is None:
        raise ValueError(
            f"{folder} has no {VOCAB}, which defines its {num_classes} classes; copy it there from the source of the "
            "model"
        )
    about, special_tokens = _settings(folder)
    ids = vocabulary_of(vocab, language or about.target_lang, folder)
    remarks = []
    for token, number in _added(folder, about).items():
        if token in ids:
            continue
        if number < num_classes:
            ids[token] = number
        else:
            remarks.append(f"token {token!r} ({number}) has no class in the output layer and is left out")
    names = {number: token for token, number in ids.items()}
    if sorted(names) != list(range(num_classes)) or len(names) != len(ids):
        lacking = sorted(set(range(num_classes)) - names.keys())[:8]
        beyond = sorted(number for number in names if not 0 <= number < num_classes)[:8]
        raise ValueError(
            f"{folder / VOCAB} does not match the model: its output layer has {num_classes} classes, the file has "
            f"{len(ids)} tokens (classes without a token: {lacking}; tokens without a class: {beyond}); likely the "
            "vocabulary of another model"
        )
    tokens = [names[number] for number in range(num_classes)]
    special = {token: _NAMES[field] for field, token in special_tokens.items()}
    special |= {name: name for name in _NAMES.values()} | _LIKE_UNKNOWN
    pad = special_tokens.get("pad_token")
    if blank is None:
        blank = _blank_of(ids, pad or "<pad>", folder)
        remarks.append(f"the blank is class {blank}, the tokenizer's pad token; config.json names none")
    elif pad is not None and ids.get(pad) != blank:
        at = tokens[blank] if blank < num_classes else None
        remarks.append(f"the blank is class {blank} ({at!r}, config.json), not the tokenizer's pad token")
    boundary = _text(about.word_delimiter_token) or "|"
    origin = str(folder / VOCAB)
    return Read(from_tokens(tokens, blank=blank, boundary=boundary, special=special, origin=origin), remarks)


def _settings(folder: Path) -> tuple[TokenizerFields, dict[str, str]]:
    """Return the settings of the tokenizer, and its special tokens by field; those of the special file count first."""
    about = checked(TokenizerFields, read_if_there(folder / TOKENIZER) or {}, folder / TOKENIZER)
    special = checked(Tokens, read_if_there(folder / SPECIAL) or {}, folder / SPECIAL)
    found = {}
    for field in _NAMES:
        file = special if field in special.model_fields_set else about
        if text := _text(getattr(file, field)):
            found[field] = text
    return about, found


def _added(folder: Path, about: TokenizerFields) -> dict[str, int]:
    """Return the tokens that a tokenizer has besides its vocabulary: newer versions list them among their settings."""
    listed = {token.content: int(number) for number, token in about.added_tokens_decoder.items()}
    return listed | checked(Numbers, read_if_there(folder / ADDED) or {}, folder / ADDED).root


def _blank_of(ids: Mapping[str, int], pad: str, folder: Path) -> int:
    if pad in ids:
        return ids[pad]
    raise ValueError(
        f"{folder}: expected the class of the CTC blank, got null as pad_token_id in config.json and no class for the "
        f"tokenizer's pad token {pad!r}; likely the model is not finished: set pad_token_id to the class of the blank"
    )


def target_language(folder: Path) -> str | None:
    """Return the language that a tokenizer is set to, for a model of several."""
    return checked(TokenizerFields, read_if_there(folder / TOKENIZER) or {}, folder / TOKENIZER).target_lang


def tokenizer_files(folder: Path, language: str | None) -> dict[TokenizerFile, Any]:
    """Return the contents of the tokenizer files by name, unchanged except for the selected language."""
    files = {name: read_if_there(folder / name) for name in (VOCAB, TOKENIZER, SPECIAL, ADDED)}
    found = {name: content for name, content in files.items() if content is not None}
    if language is not None and TOKENIZER in found:
        found[TOKENIZER] = {**found[TOKENIZER], "target_lang": language}
    return found


def vocabulary_of(vocab: Any, language: str | None, folder: Path) -> dict[str, int]:
    """Return the vocabulary of one language if the file has several (MMS), else the vocabulary."""
    path = folder / VOCAB
    if not isinstance(vocab, dict) or not any(isinstance(value, dict) for value in vocab.values()):
        return checked(Numbers, vocab, path).root
    if language is None or language not in vocab:
        known = ", ".join(map(shortened, sorted(vocab)[:20])) + (" ..." if len(vocab) > 20 else "")
        raise ValueError(
            f"{folder} has {len(vocab)} languages: select one with `--language` (three letters, ISO 639-3); got "
            f"{language!r}. It has {known}"
        )
    return checked(Languages, vocab, path).root[language]


def write_tokenizer(vocabulary: Vocabulary, origin: HuggingFaceOrigin | None) -> dict[TokenizerFile, Any]:
    """Return the contents of the tokenizer files by name.

    Args:
        vocabulary: Vocabulary to write.
        origin: Origin of a model read from a Hugging Face folder; its files are restored unchanged.
    """
    if origin is not None and origin.tokenizer:
        return dict(origin.tokenizer)
    tokens = to_tokens(vocabulary, blank="<pad>", boundary="|")
    has = {field: name if name in tokens else None for field, name in _NAMES.items()}
    return {
        VOCAB: {token: number for number, token in enumerate(tokens)},
        TOKENIZER: {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "word_delimiter_token": "|",
            "replace_word_delimiter_char": " ",
            "do_lower_case": False,
            **has,
        },
        SPECIAL: {field: name for field, name in has.items() if name},
    }


def _text(token: Token) -> str | None:
    return token.content if isinstance(token, AddedToken) else token
