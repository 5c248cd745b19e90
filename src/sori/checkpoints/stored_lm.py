"""The language model of a recogniser, stored in its model folder: `lm.arpa.gz`, and `lm.json` with how it is used.

`runs/language_model.py` makes it when a recogniser is trained; `evaluation/stored_decoder.py` decodes with it.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import Field
from torch import nn

from sori.core.config import Config
from sori.core.files import read_json, write_text
from sori.core.user_files import open_bytes
from sori.lm.fusion import FusionConfig
from sori.lm.ngram import NgramModel

ARPA, SETTINGS = "lm.arpa.gz", "lm.json"
_MAX_BEAM = 10_000


class LmSources(Config):
    """Text that a language model was estimated from."""

    transcripts: int = Field(ge=0)
    """Number of training transcripts."""
    texts: tuple[str, ...]
    """Names of further text files."""
    sentences: int = Field(ge=0)
    """Sentences of all of them."""
    words: int = Field(ge=0)
    distinct_words: int = Field(ge=0)
    """Words in the model."""


class LmTuning(Config):
    """Result of tuning the weights; error rates are fractions."""

    split: str
    utterances: int = Field(ge=0)
    recogniser: str
    """Digest of the recogniser that they were tuned for."""
    wer_without: float = Field(ge=0)
    """Word error rate of greedy decoding."""
    cer_without: float = Field(ge=0)
    wer: float = Field(ge=0)
    """Word error rate with the language model and these weights."""
    cer: float = Field(ge=0)


class LmSettings(Config):
    """Content of `lm.json`."""

    format_version: Literal[1] = 1
    used: bool
    """Whether decoding uses it unless another language model, or none, is chosen."""
    reason: str = Field(max_length=1000)
    """Why it is used, or is not."""
    fusion: FusionConfig
    beam_size: int = Field(ge=1, le=_MAX_BEAM)
    arpa_digest: str
    """BLAKE2b digest of the ARPA file."""
    sources: LmSources
    tuning: LmTuning | None = None
    """None: not tuned, because there was no speech to tune on."""


class StoredLm(NamedTuple):
    """A language model in a folder, not yet read."""

    folder: Path
    settings: LmSettings

    def ngrams(self) -> NgramModel:
        """Read the n-grams.

        Raises:
            ValueError: The file is damaged, or not the one that the settings belong to.
            FileNotFoundError: It has been removed.
        """
        path = self.folder / ARPA
        if (found := arpa_digest(path)) != self.settings.arpa_digest:
            raise ValueError(
                f"{path}: expected the file that {SETTINGS} beside it belongs to, got another one (digest {found}, "
                f"expected {self.settings.arpa_digest[:64]!r}); likely it was damaged or exchanged: copy the model "
                "folder again, or give a language model of your own with `--lm FILE`"
            )
        return NgramModel.read(path)


def read(folder: Path) -> StoredLm | None:
    """Read the settings of the language model in a folder; None if it has none.

    Raises:
        ValueError: They are invalid, or one of the two files is missing.
    """
    missing = [name for name in (ARPA, SETTINGS) if not (folder / name).is_file()]
    if len(missing) == 2:
        return None
    if missing:
        other = {ARPA: SETTINGS, SETTINGS: ARPA}[missing[0]]
        raise ValueError(
            f"{folder / missing[0]} is missing, which belongs to {other} beside it; copy the model folder again, or "
            f"remove {other} to use the recogniser without its language model"
        )
    path = folder / SETTINGS
    return StoredLm(folder, LmSettings.from_data(read_json(path), origin=str(path)))


def write(stored: StoredLm, folder: Path) -> None:
    """Write a language model into another folder."""
    shutil.copyfile(stored.folder / ARPA, folder / ARPA)
    write_settings(stored.settings, folder)


def write_settings(settings: LmSettings, folder: Path) -> None:
    """Write the settings of the language model in a folder."""
    write_text(folder / SETTINGS, settings.model_dump_json(indent=1) + "\n")


def arpa_digest(path: Path) -> str:
    """Return the digest of an ARPA file that its settings name."""
    with open_bytes(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


_ATTACHED: WeakKeyDictionary[nn.Module, StoredLm] = WeakKeyDictionary()
"""The language models of loaded recognisers, which know only acoustics."""


def attach(system: nn.Module, stored: StoredLm) -> None:
    """Remember the language model that was stored with a loaded recogniser."""
    _ATTACHED[system] = stored


def attached(system: nn.Module) -> StoredLm | None:
    """Return the language model that was stored with a loaded recogniser, or None."""
    return _ATTACHED.get(system)
