"""One or two systems scored on the same utterances: what `sori score` and `sori evaluate` print, store and draw."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sori.data.manifest import Utterance
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamDecoder
from sori.evaluation import recognition
from sori.evaluation.error_rate import Difference, ErrorReport, compare, error_rates
from sori.evaluation.report.transcript_pairs import Format, read_texts
from sori.evaluation.report.verdict import Verdict, caution, verdict
from sori.models.factory import System
from sori.text.vocabulary import BLANK, Vocabulary

Case = Literal["keep", "lower", "upper"]
Punctuation = Literal["keep", "drop"]


class Scores(NamedTuple):
    """The error rates of one or two systems."""

    names: tuple[str, ...]
    reports: tuple[ErrorReport, ...]
    """One for each name, on the same utterances in the same order."""
    ids: tuple[str, ...]
    """Of the utterances."""
    recordings: tuple[Utterance, ...]
    """Likewise; empty where only texts were scored."""
    difference: dict[Literal["wer", "cer"], Difference] | None
    """The first against the second."""
    notes: tuple[str, ...]
    """What was done to the texts that may surprise."""

    @property
    def num_drawn(self) -> int:
        """How many speakers, or utterances, a draw of the bootstrap takes."""
        report = self.reports[0]
        return len(report.speakers) if report.unit == "speakers" else len(report.utterances)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the systems are called: by name where there is one, A and B where there are two."""
        return self.names if len(self.names) == 1 else ("A", "B")

    def verdicts(self) -> list[Verdict]:
        """What the comparison found, by words and by characters; empty for one system."""
        if self.difference is None:
            return []
        drawn = f"{self.num_drawn:,} {self.reports[0].unit}"
        found = (("word", self.difference["wer"]), ("character", self.difference["cer"]))
        return [verdict(one, what=what, names=("A", "B"), drawn=drawn) for what, one in found]

    def table(self) -> str:
        """For the screen."""
        parts = [f"note: {note}" for note in self.notes]
        for label, name, report in zip(self.labels, self.names, self.reports, strict=True):
            parts.append(report.table() if len(self.names) == 1 else f"{label}: {name}\n{report.table()}\n")
        warning = caution(self.reports[0].unit, self.num_drawn)
        return "\n".join([*parts, *map(str, self.verdicts()), *([f"\n{warning}"] if warning else [])])

    def to_data(self) -> dict[str, Any]:
        """For JSON: the report of a single system, or both with their difference; every utterance with its id."""
        found = []
        for name, report in zip(self.names, self.reports, strict=True):
            data = report.to_data()
            rows = [{"id": key} | row for key, row in zip(self.ids, data["utterances"], strict=True)]
            found.append({"name": name} | data | {"utterances": rows})
        if self.difference is None:
            return found[0]
        difference = {key: _finite(asdict(one)) for key, one in self.difference.items()}
        return {"first": found[0], "second": found[1], "difference": difference}


def score(
    reference: Path,
    hypothesis: Path,
    *,
    against: Path | None = None,
    form: Format | None = None,
    speaker_of: str | None = None,
    case: Case = "keep",
    punctuation: Punctuation = "keep",
) -> Scores:
    """Error rates of texts that were written by anything.

    Args:
        reference: file with what was said.
        hypothesis: file with what was written, for the same utterances.
        against: file with what another system wrote, to compare with.
        form: how the files are written; None: each as its ending says.
        speaker_of: regular expression that finds the speaker in an id (its first group, or all of it), so that
            intervals are over speakers.
        case: letters as they are, or all in one case.
        punctuation: as it is, or dropped as `text.Vocabulary` does.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read, the files are not of the same utterances, or an id names no speaker.
    """
    paths = [hypothesis] if against is None else [hypothesis, against]
    if len({_counts_lines(path, form) for path in (reference, *paths)}) > 1:
        raise ValueError(
            f"expected files that all name their utterances, or none that does, got {reference} and "
            f"{' and '.join(map(str, paths))}; write them in one way"
        )
    said = read_texts(reference, form)
    written = [_matched(said, read_texts(path, form), reference, path) for path in paths]
    if speaker_of is not None and _counts_lines(reference, form):
        raise ValueError("expected files with ids to find the speakers in, got files without; write them as .tsv")
    speakers = [None if speaker_of is None else _speaker(key, speaker_of) for key in said]
    texts = [list(said.values()), *written]
    notes = []
    if case != "keep" or punctuation != "keep":
        rules = Vocabulary(symbols=(BLANK,), case=case, punctuation=punctuation)
        texts = [[rules.normalise(text) for text in side] for side in texts]
        notes.append(f"before scoring, case: {case}, punctuation: {punctuation}")
    reports = tuple(error_rates(texts[0], side, speakers) for side in texts[1:])
    return _scores(_names([str(path.with_suffix("")) for path in paths]), reports, list(said), notes=notes)


def evaluate(
    recognisers: Sequence[tuple[str, System, BeamDecoder | None]],
    *,
    data: str | Path | Sequence[str | Path],
    split: str | None = "test",
) -> Scores:
    """Error rates of one recogniser, or two, on transcribed recordings.

    Two recognisers that spell differently are compared in lower case, without punctuation.

    Args:
        recognisers: name, model and, with a language model, decoder of one or two.
        data: prepared folder or folders.
        split: which utterances of folders that name splits; None: all.

    Raises:
        ValueError: a model is no recogniser, or there are no transcribed utterances of that split.
    """
    systems = [(recognition.require_recogniser(system, name), decoder) for name, system, decoder in recognisers]
    recordings = transcribed(data, split)
    reports = [recognition.evaluate(system, data=data, split=split, decoder=decoder) for system, decoder in systems]
    spelled = {tuple(one.reference for one in report.utterances) for report in reports}
    notes = []
    if len(spelled) > 1:
        reports = [_in_one_spelling(report, recordings) for report in reports]
        notes.append("the two recognisers spell differently: both are compared in lower case, without punctuation")
    ids = [one.id for one in recordings]
    names = _names([name for name, _, _ in recognisers])
    return _scores(names, tuple(reports), ids, recordings=recordings, notes=notes)


def _scores(
    names: tuple[str, ...],
    reports: tuple[ErrorReport, ...],
    ids: Sequence[str],
    *,
    recordings: Sequence[Utterance] = (),
    notes: Sequence[str] = (),
) -> Scores:
    difference = compare(reports[:1], reports[1:]) if len(reports) > 1 else None
    return Scores(names, reports, tuple(ids), tuple(recordings), difference, tuple(notes))


def _in_one_spelling(report: ErrorReport, recordings: Sequence[Utterance]) -> ErrorReport:
    rules = Vocabulary(symbols=(BLANK,), case="lower", punctuation="drop")
    references = [rules.normalise(one.text or "") for one in recordings]
    hypotheses = [rules.normalise(one.hypothesis) for one in report.utterances]
    return error_rates(references, hypotheses, [one.speaker for one in report.utterances])


def _matched(said: dict[str, str], written: dict[str, str], reference: Path, hypothesis: Path) -> list[str]:
    """The written texts in the order of the references."""
    lost, strange = ([key for key in one if key not in other] for one, other in ((said, written), (written, said)))
    if lost or strange:
        parts = [
            f"{len(keys):,} {what}, such as {keys[0]!r}"
            for keys, what in ((lost, "missing"), (strange, "without a reference"))
            if keys
        ]
        raise ValueError(
            f"{hypothesis}: expected the {len(said):,} utterances of {reference}, got {len(written):,}: "
            f"{'; '.join(parts)}. Was a step cut short, or another part of the data written? An utterance in which "
            "nothing was heard stays in the file, with an empty text"
        )
    return [written[key] for key in said]


def _counts_lines(path: Path, form: Format | None) -> bool:
    return (form or path.suffix.lower().removeprefix(".")) == "txt"


def _speaker(key: str, pattern: str) -> str:
    try:
        found = re.search(pattern, key)
    except re.error as error:
        raise ValueError(
            f"expected a regular expression that finds the speaker in an id, got {pattern!r}: {error}"
        ) from None
    name = found and (found[1] if found.re.groups else found[0])
    if not name:
        raise ValueError(
            f"expected a speaker in every id, got none in {key!r} with {pattern!r}; the expression is searched for "
            "anywhere in the id, such as ^[^-]+ for all before the first hyphen"
        )
    return name


def _names(given: list[str]) -> tuple[str, ...]:
    """The last parts of paths if that tells them apart."""
    short = [Path(name).name or name for name in given]
    return tuple(short if len(set(short)) == len(short) else given)


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Numbers that are none become null, as JSON wants it."""
    return {
        key: tuple(None if math.isnan(number) else number for number in value) if isinstance(value, tuple) else value
        for key, value in data.items()
    }
