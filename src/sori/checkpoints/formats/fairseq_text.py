"""Dictionaries of fairseq (`dict.ltr.txt`), to our vocabulary and back."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sori.checkpoints.formats.vocabularies import Classes, from_tokens, to_tokens
from sori.core.user_files import read_text
from sori.text.vocabulary import Vocabulary

DICTIONARY = "dict.ltr.txt"
FIRST = ("<s>", "<pad>", "</s>", "<unk>")
"""What every dictionary begins with; no line of the file says so. CTC's blank is class 0."""
_OVERWRITE, _FILLER, _OVERWRITTEN = " #fairseq:overwrite", "madeupword", "overwritten"


class Written(NamedTuple):
    """A dictionary to be written."""

    lines: list[str]
    order: tuple[int, ...]
    """The class there of each of ours, and then of those of `FIRST` that ours lacks."""
    rest: dict[str, Any] | None
    """The vocabulary, where the dictionary alone would lead to another one (other classes, another order)."""


def read_lines(place: Path, *, needed_by: Path) -> list[str]:
    """The lines of a dictionary.

    Args:
        place: the file.
        needed_by: the checkpoint, for messages.

    Raises:
        ValueError: there is none, or it is no text.
    """
    if not place.is_file():
        raise ValueError(
            f"{needed_by} was fine-tuned, and there is no {place} that tells what its classes stand for; put the "
            f"{DICTIONARY} there that is published with the checkpoint, or lies with the data it was fine-tuned on, or "
            "give the path of the dictionary"
        )
    try:
        text = read_text(place)
    except UnicodeDecodeError:
        raise ValueError(f"{place} is not UTF-8 and no dictionary of fairseq; copy it again") from None
    # Not `splitlines`: that would cut at letters such as U+2028 as well.
    return text.removesuffix("\n").split("\n") if text.strip() else []


def classes_of(lines: Iterable[str], place: Path) -> Classes:
    """The classes of a dictionary: `token count` in each line, the count being of no use here.

    Args:
        lines: of the file.
        place: the file, for messages.

    Raises:
        ValueError: a line is not of this form, or a token stands twice.
    """
    tokens = list(FIRST)
    for number, line in enumerate(lines, start=1):
        entry = line.rstrip()
        overwrites = entry.endswith(_OVERWRITE)
        token, _, count = entry.removesuffix(_OVERWRITE).rpartition(" ")
        if not token or not count.isdecimal():
            raise ValueError(f"{place}, line {number}: expected a token, a space and a count, got {line!r}")
        if token in tokens and not overwrites:
            raise ValueError(
                f"{place}, line {number}: {token!r} has a class already, by an earlier line or by itself "
                f"({', '.join(FIRST)}); likely not a dictionary of fairseq (there, {_OVERWRITE.strip()} would follow)"
            )
        if token in tokens:
            # The class stays, and nothing is written with it.
            earlier = tokens.index(token)
            tokens[earlier] = f"<{_OVERWRITTEN}{_letters(earlier)}>"
        tokens.append(token)
    # As in Hugging Face's conversion, `<pad>` becomes `<s>`: with the blank in its place, `<s>` is free, and `<pad>` is
    # what the blank is called there.
    special = {"<pad>": "<s>", **{token: token for token in tokens if token in FIRST[2:] or _OVERWRITTEN in token}}
    # Rows that make the number of classes a multiple of 8; they must not count as letters.
    fillers = (token for token in tokens if token.startswith(_FILLER) and token.removeprefix(_FILLER).isdecimal())
    special |= {token: f"<{_FILLER}{_letters(int(token.removeprefix(_FILLER)))}>" for token in fillers}
    return from_tokens(tokens, blank=0, boundary="|", special=special, origin=str(place))


def _letters(number: int) -> str:
    """A number in letters, for names in angle brackets may have nothing else."""
    return "".join("abcdefghij"[int(figure)] for figure in str(number))


def dictionary_of(vocabulary: Vocabulary, lines: list[str] | None = None) -> Written:
    """A dictionary for a vocabulary.

    Args:
        vocabulary: ours.
        lines: of the dictionary that it was read from, which is kept as it was if it still says the same.

    Raises:
        ValueError: two classes would have the same name in a dictionary.
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
    told = order == tuple(range(len(vocabulary))) and classes_of(lines, Path(DICTIONARY)).vocabulary == vocabulary
    return Written(lines, order, None if told else vocabulary.model_dump(mode="json"))


def classes_before(lines: list[str], rest: Any) -> Classes | None:
    """The classes of a model that we wrote ourselves, as they were before; None for any other model.

    Args:
        lines: of the dictionary.
        rest: what `Written.rest` was.
    """
    if not isinstance(rest, dict):
        return None
    vocabulary = Vocabulary.from_data(rest, origin="the vocabulary in the checkpoint")
    written = dictionary_of(vocabulary)
    return Classes(vocabulary, written.order[: len(vocabulary)]) if written.lines == lines else None
