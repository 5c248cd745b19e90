"""Convert tokenizer files of a BertTokenizer to sori's WordPiece vocabulary and back."""

from pathlib import Path
from typing import Any

from sori.checkpoints.formats.foreign_json import checked, read_if_there
from sori.checkpoints.formats.hf_schemas import Normalizer, Step, TokenizerFields, WholeTokenizer
from sori.core.foreign_values import shown
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
    whole = read_if_there(folder / ALL)
    about = checked(TokenizerFields, read_if_there(folder / ABOUT) or {}, folder / ABOUT)
    if whole is not None:
        found = checked(WholeTokenizer, whole, folder / ALL)
        numbers = found.model.vocab | {added.content: added.id for added in found.added_tokens}
        tokens = sorted(numbers, key=numbers.__getitem__)
        if [numbers[token] for token in tokens] != list(range(len(tokens))):
            raise ValueError(f"{folder / ALL}: expected token ids 0, 1, 2, ..., got others; likely it is damaged")
        spelling = _spelling(found.normalizer, folder)
    elif (folder / LIST).is_file():
        tokens = read_text(folder / LIST).removesuffix("\n").split("\n")
        spelling = _spelling_of(
            lower=about.do_lower_case is not False,
            strip=about.strip_accents,
            chinese=about.tokenize_chinese_chars is not False,
            compose=False,
        )
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


def _spelling(normalizer: Normalizer | None, folder: Path) -> Spelling:
    steps: list[Step] = [] if normalizer is None else [normalizer]
    if normalizer is not None and normalizer.normalizers is not None:
        steps = normalizer.normalizers
    match [step.type for step in steps]:
        case ["BertNormalizer"]:
            compose = False
        case ["BertNormalizer", "NFC"]:
            compose = True
        case kinds:
            raise ValueError(
                f"expected BERT's normaliser in {folder / ALL}, got {shown(kinds)}: sori would normalise text "
                "differently from the model's training data"
            )
    first = steps[0]
    return _spelling_of(
        lower=first.lowercase, strip=first.strip_accents, chinese=first.handle_chinese_chars, compose=compose
    )


def _spelling_of(*, lower: bool, strip: bool | None, chinese: bool, compose: bool) -> Spelling:
    return Spelling(
        case="lower" if lower else "keep",
        accents="strip" if (lower if strip is None else strip) else "keep",
        chinese=chinese,
        compose=compose,
    )
