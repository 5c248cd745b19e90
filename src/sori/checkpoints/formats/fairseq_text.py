"""Convert dictionaries of fairseq (`dict.ltr.txt`) to sori's vocabulary and back."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sori.checkpoints.formats.vocabularies import Classes, from_tokens, to_tokens
from sori.core.user_files import read_text
from sori.text.vocabulary import Vocabulary

DICTIONARY = "dict.ltr.txt"
FIRST = ("<s>", "<pad>", "</s>", "<unk>")
"""First tokens of every dictionary, not listed in the file. The CTC blank is class 0."""
_OVERWRITE, _FILLER, _OVERWRITTEN = " #fairseq:overwrite", "madeupword", "overwritten"


class Written(NamedTuple):
    """A dictionary to write."""

    lines: list[str]
    order: tuple[int, ...]
    """fairseq's class for each of ours, then for the tokens of `FIRST` that ours lacks."""
    rest: dict[str, Any] | None
    """The vocabulary, if it cannot be restored from the dictionary alone (other classes, another order)."""


def read_lines(path: Path, *, needed_by: Path) -> list[str]:
    """Read the lines of a dictionary.

    Args:
        path: The file.
        needed_by: The checkpoint, for messages.

    Raises:
        ValueError: The file does not exist, or is not text.
    """
    if not path.is_file():
        raise ValueError(
            f"{needed_by} was fine-tuned, and there is no {path}, which defines its classes; copy the {DICTIONARY} "
            "published with the checkpoint, or that of the data it was fine-tuned on, to this path, or give the path "
            "of the dictionary"
        )
    text = read_text(path)
    # Not `splitlines`, which would also split at characters such as U+2028.
    return text.removesuffix("\n").split("\n") if text.strip() else []


def classes_of(lines: Iterable[str], path: Path) -> Classes:
    """Return the classes of a dictionary: `token count` in each line; the count is not used.

    Args:
        lines: Lines of the file.
        path: The file, for messages.

    Raises:
        ValueError: A line is not of this form, or a token occurs twice.
    """
    tokens = list(FIRST)
    for number, line in enumerate(lines, start=1):
        entry = line.rstrip()
        overwrites = entry.endswith(_OVERWRITE)
        token, _, count = entry.removesuffix(_OVERWRITE).rpartition(" ")
        if not token or not count.isdecimal():
            raise ValueError(f"{path}, line {number}: expected a token, a space and a count, got {line!r}")
        if token in tokens and not overwrites:
            raise ValueError(
                f"{path}, line {number}: {token!r} already has a class, from an earlier line or because it is special "
                f"({', '.join(FIRST)}); likely not a dictionary of fairseq (there, {_OVERWRITE.strip()} would follow)"
            )
        if token in tokens:
            # The class is kept but never becomes text.
            earlier = tokens.index(token)
            tokens[earlier] = f"<{_OVERWRITTEN}{_letters(earlier)}>"
        tokens.append(token)
    # As in Hugging Face's conversion, `<pad>` becomes `<s>`: class 0, `<s>`, is the blank, so the name `<s>` is free,
    # and there the blank is named `<pad>`.
    special = {"<pad>": "<s>", **{token: token for token in tokens if token in FIRST[2:] or _OVERWRITTEN in token}}
    # Rows that pad the number of classes to a multiple of 8; they must not count as letters.
    fillers = (token for token in tokens if token.startswith(_FILLER) and token.removeprefix(_FILLER).isdecimal())
    special |= {token: f"<{_FILLER}{_letters(int(token.removeprefix(_FILLER)))}>" for token in fillers}
    return from_tokens(tokens, blank=0, boundary="|", special=special, origin=str(path))


def _letters(number: int) -> str:
    """Write a number in letters, the only characters allowed in names in angle brackets."""
    return "".join("abcdefghij"[int(figure)] for figure in str(number))


def dictionary_of(vocabulary: Vocabulary, lines: list[str] | None = None) -> Written:
    """Return a dictionary for a vocabulary.

    Args:
        vocabulary: Vocabulary to write.
        lines: Lines of the dictionary that it was read from, reused if they still give this vocabulary.

    Raises:
        ValueError: Two classes would have the same token in the dictionary.
    """
    if lines is not None and classes_of(lines, Path(DICTIONARY)).vocabulary == vocabulary:
        return Written(lines, tuple(range(len(vocabulary))), None)
    symbols = vocabulary.symbols
    if "<pad>" not in symbols:
        symbols = tuple("<pad>" if symbol == "<s>" else symbol for symbol in symbols)
    tokens = to_tokens(vocabulary.model_copy(update={"symbols": symbols}), blank="<s>", boundary="|")
    theirs = [*FIRST, *(token for token in tokens if token not in FIRST)]
    lacking = [token for token in FIRST if token not in tokens]
    order = tuple(theirs.index(token) for token in (*tokens, *lacking))
    lines = [f"{token} 1" for token in theirs[len(FIRST) :]]
    lossless = order == tuple(range(len(vocabulary))) and classes_of(lines, Path(DICTIONARY)).vocabulary == vocabulary
    return Written(lines, order, None if lossless else vocabulary.model_dump(mode="json"))


def classes_before(lines: list[str], rest: Any) -> Classes | None:
    """Return the original classes of a model written by sori; None for any other model.

    Args:
        lines: Lines of the dictionary.
        rest: Stored `Written.rest`.
    """
    if not isinstance(rest, dict):
        return None
    vocabulary = Vocabulary.from_stored(rest, origin="the vocabulary in the checkpoint")
    written = dictionary_of(vocabulary)
    return Classes(vocabulary, written.order[: len(vocabulary)]) if written.lines == lines else None
