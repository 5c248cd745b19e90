"""Run folder: every path in it, its creation, its lock and its format version.

A run folder belongs to one run. It holds its recipe, what it was trained on, its checkpoint and metrics, and finally
`model/`. These names are defined here only.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sori.core import distributed
from sori.core.config import load_yaml
from sori.core.files import read_json, remove_partial, write_json, write_text
from sori.core.foreign_values import shown
from sori.core.locks import LockedError, locked
from sori.core.user_files import read_text

FORMAT_VERSION = 1
"""Format version of the whole folder. Folders without `run.json` were made by version 0.1 and have version 0."""

_SHARDED_NAME = re.compile(r"\d{2}-\d{8}")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The complete recipe, from which the run can be repeated."""
        return self.path / "recipe.yaml"

    @property
    def about(self) -> Path:
        """Format version of the folder."""
        return self.path / "run.json"

    @property
    def fingerprint(self) -> Path:
        """Amount and digest of the training data."""
        return self.path / "data.json"

    @property
    def checkpoint(self) -> Path:
        """Weights, optimiser state and counters after the last save."""
        return self.path / "checkpoint.safetensors"

    @property
    def earlier(self) -> Path:
        """Earlier checkpoints: by update (`00000100.safetensors`), the best one, and healthy ones to go back to."""
        return self.path / "checkpoints"

    @property
    def sharded(self) -> Path:
        """Checkpoints of a run whose weights are shared among processes, a folder each (`00-00000100`)."""
        return self.path / "checkpoints.sharded"

    @property
    def has_checkpoint(self) -> bool:
        """Whether a state of the run has been saved."""
        return self.checkpoint.exists() or any(self.sharded_checkpoints())

    def sharded_checkpoints(self) -> list[Path]:
        """Return the complete folders of sharded checkpoints, oldest first.

        A name has the number of times that the run was rolled back, then the update.
        """
        found = self.sharded.iterdir() if self.sharded.is_dir() else ()
        return sorted(path for path in found if _SHARDED_NAME.fullmatch(path.name))

    @property
    def metrics(self) -> Path:
        """Reports, evaluations and warnings, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def board(self) -> Path:
        """TensorBoard event files."""
        return self.path / "board"

    @property
    def model(self) -> Path:
        """The finished model, which `sori.load` takes."""
        return self.path / "model"

    @property
    def vocabulary(self) -> Path:
        """Symbols of a recogniser, or word pieces of a text model, before the model is finished."""
        return self.path / "vocabulary.json"

    @property
    def language_model(self) -> Path:
        """Language model of a recogniser (a folder), before it is stored with the finished model."""
        return self.path / "lm"

    @property
    def excluded(self) -> Path:
        """Utterances that a recogniser cannot learn from, with the reason."""
        return self.path / "excluded.jsonl"

    @property
    def frozen_frames(self) -> Path:
        """Output of the frozen blocks of a recogniser (a folder), while it trains."""
        return self.path / "frozen_frames"

    @property
    def segments(self) -> Path:
        """Word segments that vectors of spoken words are learnt from."""
        return self.path / "segments.jsonl"

    @property
    def tokens(self) -> Path:
        """Tokenised texts of BERT (a folder)."""
        return self.path / "tokens"

    @property
    def words(self) -> Path:
        """Vocabulary and counts of Word2Vec."""
        return self.path / "words.json"

    @property
    def word_ids(self) -> Path:
        """The text of Word2Vec as word numbers."""
        return self.path / "tokens.int32"

    @property
    def lock(self) -> Path:
        """Process that is training here, while it does."""
        return self.path / "sori.lock"

    @property
    def is_begun(self) -> bool:
        """Whether a run has stored its recipe here."""
        return os.path.lexists(self.recipe)

    def recipe_name(self) -> str | None:
        """Return the name in the recipe; None if there is no readable recipe."""
        try:
            recipe = load_yaml(read_text(self.recipe))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        name = recipe.get("name") if isinstance(recipe, dict) else None
        return name if isinstance(name, str) else None

    def check_free(self, others: Iterable[Path] = ()) -> None:
        """Check that a folder without a run has no files that a run would overwrite.

        Args:
            others: further paths that the caller will write.

        Raises:
            ValueError: if there are such files; names them.
        """
        made = (
            self.about,
            self.fingerprint,
            self.checkpoint,
            self.earlier,
            self.sharded,
            self.metrics,
            self.model,
            self.vocabulary,
            self.language_model,
            self.excluded,
            self.frozen_frames,
            self.segments,
            self.tokens,
            self.words,
            self.word_ids,
            *others,
        )
        held = (
            [] if self.is_begun else [path.relative_to(self.path).as_posix() for path in made if os.path.lexists(path)]
        )
        if held:
            raise ValueError(
                f"{self.path} holds {', '.join(held)} and no {self.recipe.name}: expected the folder of a run, or one "
                "where these names are free. Likely they are something of yours, which is left as it is: choose "
                "another folder"
            )

    def begin(self, recipe: str) -> None:
        """Create the folder and store the recipe, or check that the run in it has the same one.

        Args:
            recipe: YAML of everything that decides the result.

        Raises:
            ValueError: if the folder holds a run of another recipe, or of a newer version of sori.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_version()
        if self.recipe.exists():
            _compare(self.path, read_text(self.recipe), recipe)
        elif distributed.rank() == 0:
            write_text(self.recipe, recipe)  # first: a folder with a recipe belongs to a run
            write_json(self.about, {"format_version": FORMAT_VERSION})
        distributed.barrier()

    def _check_version(self) -> None:
        if not self.about.is_file():
            return
        about = read_json(self.about)
        found = about.get("format_version") if isinstance(about, dict) else None
        if found != FORMAT_VERSION:
            raise ValueError(
                f"{self.path} has run format {found!r}, and this version of sori supports {FORMAT_VERSION}; continue "
                "the run with the version that started it, or choose another folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this run; the lock of a process that has ended does not count.

        Of several processes of one run, the first holds the lock for all.

        Raises:
            ValueError: if another run is using the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if distributed.rank() != 0:
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.lock))
            except LockedError as error:
                raise ValueError(
                    f"expected {self.path} for this run alone, but another one is training there now: {error} (the "
                    "same command in another window, in the background, or on another machine?); wait for it, stop it, "
                    "or choose another folder"
                ) from None
            for folder in (self.path, self.earlier):
                remove_partial(folder)
            yield


def _compare(folder: Path, stored: str, given: str) -> None:
    try:
        before = load_yaml(stored)
    except yaml.YAMLError as error:
        raise ValueError(
            f"the recipe of the run in {folder} is not readable as YAML: {error}; likely it was edited or damaged: "
            "restore it, or choose another folder"
        ) from None
    if not isinstance(before, dict):
        raise ValueError(  # noqa: TRY004 - a damaged file
            f"expected settings in the recipe of the run in {folder}, got {shown(before)}; likely it was edited or "
            "damaged: restore it, or choose another folder"
        )
    before, now = _flat(before), _flat(load_yaml(given))
    different = [key for key in {**before, **now} if before.get(key, "absent") != now.get(key, "absent")]
    if different:
        lines = [f"  {key}: {before.get(key, 'absent')!r}, now {now.get(key, 'absent')!r}\n" for key in different]
        raise ValueError(
            f"{folder} holds a run with other settings:\n{''.join(lines)}Repeat the command with the settings of "
            "the run to continue it, or choose another folder"
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries with dotted keys."""
    if not isinstance(data, dict) or not data:
        return {prefix.removesuffix("."): data}
    return {key: value for name, below in data.items() for key, value in _flat(below, f"{prefix}{name}.").items()}
