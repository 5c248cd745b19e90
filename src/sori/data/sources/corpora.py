"""Read public corpora through Lhotse's recipes (about a hundred), with clearer error messages."""

import difflib
import importlib
import inspect
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sori.data.sources.layouts.parts import is_official
from sori.data.sources.recordings import Excluded, Found, Item


def corpus_names() -> list[str]:
    """Return every name that `read_corpus` accepts."""
    prefix = "prepare_"
    return sorted(name.removeprefix(prefix) for name in dir(_recipes()) if name.startswith(prefix))


def read_corpus(name: str, folder: Path) -> Found:
    """Read the utterances of a public corpus that is on disk as its authors distribute it.

    Args:
        name: the name of Lhotse's recipe, e.g. `librispeech`.
        folder: the corpus; some recipes unpack archives into it.

    Raises:
        ValueError: there is no such recipe or folder, the recipe needs more arguments than the folder, or it does not
            find in the folder what it expects.
    """
    known = corpus_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
        raise ValueError(f"no corpus recipe is named {name!r}; {hint}")
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected the {name} corpus there, as its authors distribute it")
    recipe = getattr(_recipes(), f"prepare_{name}")
    with _scratch(recipe) as options:
        manifests = _run(recipe, name, folder, options)
        found = Found([], [], Counter(), [])
        for split, part in _parts(manifests, None):
            _add(part, split, found)
    if not found.items:
        raise ValueError(
            f"Lhotse's recipe {name} found no recordings in {folder}; is it the top folder of the corpus, unpacked?"
        )
    return found


def _recipes() -> Any:
    return importlib.import_module("lhotse.recipes")  # takes over a second, so it is imported only if needed


@contextmanager
def _scratch(recipe: Any) -> Iterator[dict[str, str]]:
    """Give the arguments of a recipe that writes its manifests: a temporary folder, made only if it is needed."""
    if "output_dir" not in _needed(recipe):
        yield {}
        return
    with tempfile.TemporaryDirectory() as folder:
        yield {"output_dir": folder}


def _needed(recipe: Any) -> list[str]:
    """Return the arguments without default, but for the first one, the folder of the corpus."""
    others = list(inspect.signature(recipe).parameters.values())[1:]
    return [one.name for one in others if one.default is one.empty and one.kind is not one.VAR_KEYWORD]


def _run(recipe: Any, name: str, folder: Path, options: dict[str, str]) -> Any:
    needed, first = _needed(recipe), next(iter(inspect.signature(recipe).parameters))
    if set(needed) - set(options):
        raise ValueError(
            f"Lhotse's recipe {name} needs more than a folder ({', '.join(needed)}); run `lhotse prepare` yourself, "
            "make cuts from its manifests and save them as OUT/cuts.jsonl.gz: every command can then read OUT"
        )
    try:
        return recipe(**{first: folder}, **options)
    except Exception as error:  # each recipe raises its own kinds of errors
        raise ValueError(
            f"Lhotse's recipe {name} cannot read {folder} ({type(error).__name__}: {error}); is it the top folder of "
            "the corpus, unpacked and complete?"
        ) from error


def _parts(manifests: Any, split: str | None) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield the innermost dictionaries of a recipe's result, each with its key (`train`, `dev-clean`)."""
    if isinstance(manifests, dict) and "recordings" in manifests:
        yield split, manifests
    elif isinstance(manifests, dict):
        for key, inner in manifests.items():
            yield from _parts(inner, str(key))


def _add(part: dict[str, Any], split: str | None, found: Found) -> None:
    recordings = {recording.id: recording for recording in part["recordings"]}
    supervised = set()
    for one in part.get("supervisions") or []:
        recording = recordings.get(one.recording_id)
        if recording is None:
            found.excluded.append(Excluded(one.id, one.recording_id, "missing", "its recording is not in the corpus"))
            continue
        supervised.add(recording.id)
        path = _path(recording, found)
        channels = one.channel if isinstance(one.channel, list) else [one.channel]
        if path and 1 < len(channels) < recording.num_channels:
            detail = f"channels {channels} of {recording.num_channels}; save them as a separate file"
            found.excluded.append(Excluded(one.id, path, "some channels of several", detail))
        elif path:
            channel = channels[0] if len(channels) < recording.num_channels else None
            is_whole = one.start == 0 and one.duration >= recording.duration - 0.01
            start, duration = (0.0, None) if is_whole else (one.start, one.duration)
            known = (one.text, one.speaker, one.language, split)
            official = is_official((split or "").lower())
            found.items.append(Item(one.id, path, start, duration, *known, is_official=official, channel=channel))
    for name, recording in recordings.items():
        path = _path(recording, found) if name not in supervised else None
        if path:
            found.items.append(Item(name, path, split=split, is_official=is_official((split or "").lower())))


def _path(recording: Any, found: Found) -> str | None:
    """Return the file of a recording; a recording that is not one file is excluded."""
    if len(recording.sources) == 1 and recording.sources[0].type == "file":
        return str(recording.sources[0].source)
    kinds = ", ".join(source.type for source in recording.sources)
    found.excluded.append(
        Excluded(recording.id, recording.id, "unsupported format", f"expected one file, got: {kinds}")
    )
    return None
