"""Convert tokenizer files of a Wav2Vec2CTCTokenizer to sori's vocabulary and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sori.checkpoints.formats.origin import HuggingFaceOrigin, TokenizerFile
from sori.checkpoints.formats.vocabularies import Classes, from_tokens, to_tokens
from sori.core.user_files import read_text
from sori.text.vocabulary import Vocabulary

VOCAB: TokenizerFile = "vocab.json"
TOKENIZER: TokenizerFile = "tokenizer_config.json"
SPECIAL: TokenizerFile = "special_tokens_map.json"
ADDED: TokenizerFile = "added_tokens.json"
_NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
_LIKE_UNKNOWN = {"[UNK]": "<unk>", "[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>"}


def read_json(path: Path) -> Any:
    """Read a JSON file; return None if it does not exist.

    Raises:
        ValueError: The file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable as JSON ({error}); copy the folder again") from None


def read_tokenizer(folder: Path, *, num_classes: int, blank: int, language: str | None) -> tuple[Classes, list[str]]:
    """Read the vocabulary from the tokenizer files; also return remarks.

    Args:
        folder: Folder with vocab.json and the other tokenizer files.
        num_classes: Number of rows of the output layer.
        blank: Class of the blank (pad_token_id of config.json).
        language: Language to select from a vocabulary of several.

    Raises:
        ValueError: There is no vocabulary, the language is not in it, or it does not match the output layer.
    """
    vocab = read_json(folder / VOCAB)
    if vocab is None:
        raise ValueError(
            f"{folder} has no {VOCAB}, which defines its {num_classes} classes; copy it there from the source of the "
            "model"
        )
    about = {**(read_json(folder / TOKENIZER) or {}), **(read_json(folder / SPECIAL) or {})}
    vocab = vocabulary_of(vocab, language or about.get("target_lang"), folder)
    remarks = []
    ids = dict(vocab)
    for token, number in (read_json(folder / ADDED) or {}).items():
        if number < num_classes:
            ids.setdefault(token, number)
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
    special = {_text(about[field]): name for field, name in _NAMES.items() if about.get(field)}
    special |= {name: name for name in _NAMES.values()} | _LIKE_UNKNOWN
    boundary = _text(about.get("word_delimiter_token", "|"))
    if "pad_token" in about and about["pad_token"] and ids.get(_text(about["pad_token"])) != blank:
        remarks.append(f"the blank is class {blank} ({tokens[blank]!r}, config.json), not the tokenizer's pad token")
    return from_tokens(tokens, blank=blank, boundary=boundary, special=special, origin=str(folder / VOCAB)), remarks


def tokenizer_files(folder: Path, language: str | None) -> dict[TokenizerFile, Any]:
    """Return the contents of the tokenizer files by name, unchanged except for the selected language."""
    files = {name: read_json(folder / name) for name in (VOCAB, TOKENIZER, SPECIAL, ADDED)}
    found = {name: content for name, content in files.items() if content is not None}
    if language is not None and TOKENIZER in found:
        found[TOKENIZER] = {**found[TOKENIZER], "target_lang": language}
    return found


def vocabulary_of(vocab: Mapping[str, Any], language: str | None, folder: Path) -> dict[str, int]:
    """Return the vocabulary of one language if the file has several (MMS), else the vocabulary."""
    if not any(isinstance(value, dict) for value in vocab.values()):
        return dict(vocab)
    if language is None or language not in vocab:
        known = ", ".join(sorted(vocab)[:20]) + (" ..." if len(vocab) > 20 else "")
        raise ValueError(
            f"{folder} has {len(vocab)} languages: select one with `--language` (three letters, ISO 639-3); got "
            f"{language!r}. It has {known}"
        )
    return dict(vocab[language])


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


def _text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
