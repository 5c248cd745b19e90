"""Convert tokenizer files of a BertTokenizer to sori's WordPiece vocabulary and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sori.checkpoints.formats.hf_text import read_json
from sori.core.user_files import read_text
from sori.text.wordpiece import CLS, MASK, PAD, SEP, UNK, Spelling, WordPiece

LIST, ALL, ABOUT = "vocab.txt", "tokenizer.json", "tokenizer_config.json"


def read_wordpiece(folder: Path, *, num_tokens: int) -> WordPiece:
    """Read the vocabulary of a BERT, and its text normalisation.

    Args:
        folder: Folder with tokenizer.json, or vocab.txt and tokenizer_config.json.
        num_tokens: Number of rows of the embedding.

    Raises:
        ValueError: There is no vocabulary, it is of another kind, or it does not match the embedding.
    """
    whole, about = read_json(folder / ALL), read_json(folder / ABOUT) or {}
    if whole is not None:
        if whole.get("model", {}).get("type", "WordPiece") != "WordPiece" or "vocab" not in whole.get("model", {}):
            raise ValueError(
                f"expected a WordPiece vocabulary in {folder / ALL}, got {whole.get('model', {}).get('type')}"
            )
        numbers = whole["model"]["vocab"] | {added["content"]: added["id"] for added in whole.get("added_tokens", ())}
        tokens = sorted(numbers, key=numbers.__getitem__)
        if [numbers[token] for token in tokens] != list(range(len(tokens))):
            raise ValueError(f"{folder / ALL}: expected token ids 0, 1, 2, ..., got others; likely it is damaged")
        spelling = _spelling(whole.get("normalizer"), folder)
    elif (folder / LIST).is_file():
        tokens = read_text(folder / LIST).removesuffix("\n").split("\n")
        spelling = _spelling_of(about, compose=False)
    else:
        raise ValueError(
            f"{folder} has neither {ALL} nor {LIST}, which define its {num_tokens} tokens; copy one there from the "
            "source of the model"
        )
    # Some published embeddings have rows that no token uses.
    tokens += [f"[unused {number}]" for number in range(len(tokens), num_tokens)]
    if len(tokens) != num_tokens:
        raise ValueError(
            f"expected a vocabulary of {num_tokens} tokens, the number of rows of the embedding, got {len(tokens)} in "
            f"{folder}; likely that of another model"
        )
    return WordPiece(tokens, spelling)


def write_wordpiece(wordpiece: WordPiece) -> dict[str, Any]:
    """Return the contents of the tokenizer files by name."""
    spelling = wordpiece.spelling
    about = {
        # BertTokenizer builds its own normaliser, without NFC; the generic class uses that of tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast" if spelling.compose else "BertTokenizer",
        "do_lower_case": spelling.case == "lower",
        "strip_accents": spelling.accents == "strip",
        "tokenize_chinese_chars": spelling.chinese,
        "pad_token": PAD,
        "unk_token": UNK,
        "cls_token": CLS,
        "sep_token": SEP,
        "mask_token": MASK,
    }
    return {LIST: "".join(f"{token}\n" for token in wordpiece.tokens), ABOUT: about, ALL: wordpiece.to_tokenizers()}


def _spelling(normalizer: Mapping[str, Any] | None, folder: Path) -> Spelling:
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    match [step.get("type") for step in steps]:
        case ["BertNormalizer"]:
            compose = False
        case ["BertNormalizer", "NFC"]:
            compose = True
        case kinds:
            raise ValueError(
                f"expected BERT's normaliser in {folder / ALL}, got {kinds}: sori would normalise text differently "
                "from the model's training data"
            )
    first = steps[0]
    return _spelling_of(
        {
            "do_lower_case": first["lowercase"],
            "strip_accents": first["strip_accents"],
            "tokenize_chinese_chars": first["handle_chinese_chars"],
        },
        compose=compose,
    )


def _spelling_of(about: Mapping[str, Any], *, compose: bool) -> Spelling:
    lower = bool(about.get("do_lower_case", True))
    strip = about.get("strip_accents")
    return Spelling(
        case="lower" if lower else "keep",
        accents="strip" if (lower if strip is None else strip) else "keep",
        chinese=bool(about.get("tokenize_chinese_chars", True)),
        compose=compose,
    )
