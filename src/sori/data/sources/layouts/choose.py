"""Choose the layout of a folder of recordings, and read the folder in it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sori.core.sound.sound_suffixes import is_sound_name
from sori.core.walk import listings
from sori.data.sources.layouts import (
    audiofolder,
    common_voice,
    espnet,
    fleurs,
    kaldi,
    librispeech,
    ljspeech,
    mls,
    nemo,
    saymore,
    speech_accent_archive,
    st_cmds,
    timit,
    transcript_lists,
    vctk,
    voxforge,
)
from sori.data.sources.layouts.parts import Entry, Note
from sori.data.sources.recordings import Excluded, Found

PLAIN = "folder"
"""Name of the layout without tables: sound files with transcripts or annotations of the same name beside them."""


class Layout(NamedTuple):
    """A layout that is recognised by itself."""

    name: str
    """Name for `--layout`."""
    title: str
    """Name in the report."""
    recognise: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Entry]] | None
    """None: `read_layout` calls it with further arguments."""


LAYOUTS = (
    Layout("common_voice", "Common Voice", common_voice.recognise, common_voice.read),
    Layout("librispeech", "LibriSpeech", librispeech.recognise, librispeech.read),
    Layout("mls", "Multilingual LibriSpeech", mls.recognise, mls.read),
    Layout("ljspeech", "LJSpeech", ljspeech.recognise, ljspeech.read),
    Layout("vctk", "VCTK", vctk.recognise, vctk.read),
    Layout("fleurs", "FLEURS", fleurs.recognise, fleurs.read),
    Layout("voxforge", "VoxForge", voxforge.recognise, voxforge.read),
    Layout("timit", "TIMIT", timit.recognise, timit.read),
    Layout("saymore", "a SayMore project", saymore.recognise, None),
    Layout(
        "speech_accent_archive",
        "the Speech Accent Archive",
        speech_accent_archive.recognise,
        speech_accent_archive.read,
    ),
    Layout("st_cmds", "Free ST Chinese Mandarin", st_cmds.recognise, st_cmds.read),
    Layout("kaldi", "Kaldi data folders", kaldi.recognise, kaldi.read),
    Layout("nemo", "NeMo manifests", nemo.recognise, nemo.read),
    Layout("espnet", "ESPnet data.json", espnet.recognise, espnet.read),
    Layout("audiofolder", "a Hugging Face dataset", audiofolder.recognise, None),
    Layout("transcript_lists", "lists of transcripts", transcript_lists.recognise, transcript_lists.read),
)
"""In the order in which they are tried: those that few other folders resemble first."""

NAMES = (PLAIN, *(layout.name for layout in LAYOUTS))


def find_layout(folder: Path, name: str | None) -> Layout | None:
    """Return the layout of a folder, or None for a plain one.

    Args:
        folder: the folder.
        name: the name of a layout, or None to recognise it.

    Raises:
        ValueError: there is no layout of this name.
    """
    if name is not None and name not in NAMES:
        raise ValueError(f"expected a layout of {', '.join(NAMES)}; got {name!r}")
    if name is not None:
        return next((layout for layout in LAYOUTS if layout.name == name), None)
    return next((layout for layout in LAYOUTS if layout.recognise(folder)), None)


def read_layout(folder: Path, layout: Layout, extract_into: Path, tiers: Sequence[str] = ()) -> Found:
    """Read a folder in a layout; sound files that the layout does not use are counted in a note.

    Args:
        folder: the folder.
        layout: its layout.
        extract_into: folder for sound files that are embedded in the dataset.
        tiers: names, types or speakers of tiers with transcripts, for layouts with annotations.

    Raises:
        ValueError: the folder has another layout, or one of its tables cannot be read.
    """
    if not layout.recognise(folder):
        raise ValueError(
            f"{folder} is not in the layout {layout.name} ({layout.title}); likely it is the folder above or below: "
            "name that one, or leave out --layout"
        )
    match layout.name:
        case "audiofolder":
            entries = audiofolder.read(folder, extract_into)
        case "saymore":
            entries = saymore.read(folder, tiers)
        case _:
            assert layout.read is not None  # noqa: S101
            entries = layout.read(folder)
    found = _found(entries, f"{folder}: read as {layout.title} (--layout {layout.name})")
    _note_unused(folder, found)
    return found


def read_json(path: Path) -> Found:
    """Read a JSON file that NeMo or ESPnet wrote.

    Raises:
        ValueError: it is neither.
    """
    if nemo.is_manifest(path):
        return _found(nemo.read_manifest_file(path), f"{path}: read as a NeMo manifest")
    if espnet.is_data_json(path):
        return _found(espnet.read_json_file(path), f"{path}: read as ESPnet's data.json")
    raise ValueError(f"{path}: expected a manifest of NeMo or a data.json of ESPnet; write a .jsonl table instead")


def _found(entries: Iterator[Entry], note: str) -> Found:
    found = Found([], [], Counter(), [note])
    for entry in entries:
        if isinstance(entry, Note):
            found.notes.append(entry.text)
        elif isinstance(entry, Excluded):
            found.excluded.append(entry)
        else:
            found.items.append(entry)
    return found


def _note_unused(folder: Path, found: Found) -> None:
    used = {os.path.normpath(item.path) for item in found.items}
    used |= {os.path.normpath(row.path) for row in found.excluded}
    unused = [
        path
        for listing in listings(folder)
        for name in listing.names
        if is_sound_name(name) and (path := os.path.normpath(listing.folder / name)) not in used
    ]
    if unused:
        found.notes.append(
            f"{folder}: {len(unused)} sound files do not belong to this layout and were not used, such as {unused[0]}; "
            f"to use all sound files without tables, give --layout {PLAIN}"
        )
