"""`sori select`: which utterances to transcribe next."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sori.cli.output import write
from sori.inference import selection, selection_files


def select(
    *data: Path,
    minutes: float = 10.0,
    by: selection.By | None = None,
    model: str | None = None,
    into: Path | None = None,
    form: Annotated[Literal["table", "eaf", "TextGrid"], Parameter(name="--format")] = "table",
    transcribed: Path | None = None,
    left_out: Path | None = None,
    seed: int = 0,
    hours: float = selection.MOST_HOURS,
) -> None:
    """Choose the utterances to transcribe next: by chance, for varied sounds, or where a recogniser is unsure.

    Utterances with a transcript, and splits that are held out for evaluation, are left out.

    Args:
        data: Prepared folders.
        minutes: Maximum length of the chosen utterances together, in minutes.
        by: `chance`: at random among suitable utterances; `sounds`: so that sounds and speakers are covered. By
            default, chance without a model, and sounds with one.
        model: Encoder, whose discrete units then stand for sounds, or recogniser, which then prefers what it is least
            confident of. Without one, sounds are clusters of MFCC.
        into: File of the table, or folder of the annotation files. By default, the table is printed.
        form: table: id, path, start, end, speaker, text (to fill in), why. eaf (ELAN) or TextGrid (Praat): annotation
            files with empty segments. `sori prepare` reads all of them when they are filled in.
        transcribed: Table of utterances that have been transcribed since, with the columns `id` and `text`.
        left_out: Table of utterances that are not to be chosen, with the column `id`.
        seed: Random seed.
        hours: Maximum amount of audio to choose from, in hours; a random sample of larger corpora.
    """
    if not data:
        raise ValueError("expected a prepared folder, got none: sori select PREPARED --minutes 10")
    if form != "table" and into is None:
        raise ValueError(f"--format {form} writes a file for each recording: name their folder with --into FOLDER")
    done = () if transcribed is None else selection.read_ids(transcribed)
    skipped = () if left_out is None else selection.read_ids(left_out, "id")
    found = selection.select(
        data, minutes=minutes, by=by, model=model, seed=seed, transcribed=done, left_out=skipped, most_hours=hours
    )
    seconds = sum(one.utterance.duration_seconds for one in found)
    speakers = {one.utterance.speaker for one in found if one.utterance.speaker is not None}
    about = f"{len(found)} utterances, {seconds / 60:.1f} min, {len(speakers)} speakers"
    if form != "table" and into is not None:
        files = selection_files.write_templates(found, into, form)
        write(f"{about}: {len(files)} files in {into}")
    elif into is not None:
        selection_files.write_table(found, into)
        write(f"{about}: {into}")
    else:
        write(selection_files.table(found), end="")
