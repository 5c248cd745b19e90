"""Score one or two systems on the same utterances, for `sori score` and `sori evaluate`."""

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
from sori.text.normalise import Casing, casing_of_language
from sori.text.vocabulary import BLANK, Vocabulary

Case = Literal["keep", "lower", "upper"]
Punctuation = Literal["keep", "drop"]


class Scores(NamedTuple):
    """The error rates of one or two systems."""

    names: tuple[str, ...]
    reports: tuple[ErrorReport, ...]
    """One for each name, on the same utterances in the same order."""
    ids: tuple[str, ...]
    """Ids of the utterances."""
    recordings: tuple[Utterance, ...]
    """Recordings of the utterances; empty if only texts were scored."""
    difference: dict[Literal["wer", "cer"], Difference] | None
    """Differences of the first and the second system; None for one system."""
    notes: tuple[str, ...]
    """Remarks, such as on normalisation of the texts."""

    @property
    def num_drawn(self) -> int:
        """Return the number of speakers, or utterances, in a bootstrap draw."""
        report = self.reports[0]
        return len(report.speakers) if report.unit == "speakers" else len(report.utterances)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels of the systems: the name of a single one, A and B for two."""
        return self.names if len(self.names) == 1 else ("A", "B")

    def verdicts(self) -> list[Verdict]:
        """Return the result of the comparison, by words and by characters; empty for one system."""
        if self.difference is None:
            return []
        drawn = f"{self.num_drawn:,} {self.reports[0].unit}"
        found = (("word", self.difference["wer"]), ("character", self.difference["cer"]))
        return [verdict(one, what=what, names=("A", "B"), drawn=drawn) for what, one in found]

    def table(self) -> str:
        """Return the scores as text."""
        parts = [f"note: {note}" for note in self.notes]
        for label, name, report in zip(self.labels, self.names, self.reports, strict=True):
            parts.append(report.table() if len(self.names) == 1 else f"{label}: {name}\n{report.table()}\n")
        warning = caution(self.reports[0].unit, self.num_drawn)
        return "\n".join([*parts, *map(str, self.verdicts()), *([f"\n{warning}"] if warning else [])])

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON: one report, or two with their difference; every utterance with its id."""
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
    language: str | None = None,
) -> Scores:
    """Return the error rates of text files from any recogniser.

    Args:
        reference: file with reference texts.
        hypothesis: file with hypotheses for the same utterances.
        against: file with hypotheses of another system, to compare with.
        form: format of the files; None: by their suffixes.
        speaker_of: regular expression that matches the speaker in an id (first group, or whole match), so that
            intervals are over speakers.
        case: keep the case, or convert to one case.
        punctuation: keep punctuation, or drop it as `Vocabulary` does.
        language: language of the texts, which decides on the case of i in Turkish and Azerbaijani.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file cannot be read, the files have different utterances, or an id has no speaker.
    """
    paths = [hypothesis] if against is None else [hypothesis, against]
    if len({_counts_lines(path, form) for path in (reference, *paths)}) > 1:
        raise ValueError(
            f"expected files that all have ids, or all have none, got {reference} and "
            f"{' and '.join(map(str, paths))}; convert them to one format"
        )
    references = read_texts(reference, form)
    hypotheses = [_matched(references, read_texts(path, form), reference, path) for path in paths]
    if speaker_of is not None and _counts_lines(reference, form):
        raise ValueError(
            "expected files with ids that contain the speakers, got files without ids; convert them to .tsv"
        )
    speakers = [None if speaker_of is None else _speaker(key, speaker_of) for key in references]
    texts = [list(references.values()), *hypotheses]
    notes = []
    if case != "keep" or punctuation != "keep":
        casing = casing_of_language(language)
        rules = Vocabulary(symbols=(BLANK,), case=case, casing=casing, punctuation=punctuation)
        texts = [[rules.normalise(text) for text in side] for side in texts]
        notes.append(f"before scoring, case: {case}, punctuation: {punctuation}")
    reports = tuple(error_rates(texts[0], side, speakers) for side in texts[1:])
    return _scores(_names([str(path.with_suffix("")) for path in paths]), reports, list(references), notes=notes)


def evaluate(
    recognisers: Sequence[tuple[str, System, BeamDecoder | None]],
    *,
    data: str | Path | Sequence[str | Path],
    split: str | None = "test",
) -> Scores:
    """Return the error rates of one or two recognisers on transcribed recordings.

    Two recognisers with different spelling are compared in lower case without punctuation.

    Args:
        recognisers: name, model and optional decoder (with a language model) of one or two recognisers.
        data: prepared folder or folders.
        split: split to use, for folders that name splits; None: all utterances.

    Raises:
        ValueError: a model is not a recogniser, or there are no transcribed utterances of that split.
    """
    systems = [(recognition.require_recogniser(system, name), decoder) for name, system, decoder in recognisers]
    recordings = transcribed(data, split)
    reports = [recognition.evaluate(system, data=data, split=split, decoder=decoder) for system, decoder in systems]
    spellings = {tuple(one.reference for one in report.utterances) for report in reports}
    notes = []
    if len(spellings) > 1:
        casings = {system.vocabulary.casing for system, _ in systems if system.vocabulary}
        casing: Casing = "turkic" if "turkic" in casings else "root"
        reports = [_in_one_spelling(report, recordings, casing) for report in reports]
        notes.append("the two recognisers spell differently: both are compared in lower case without punctuation")
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


def _in_one_spelling(report: ErrorReport, recordings: Sequence[Utterance], casing: Casing) -> ErrorReport:
    rules = Vocabulary(symbols=(BLANK,), case="lower", casing=casing, punctuation="drop")
    references = [rules.normalise(one.text or "") for one in recordings]
    hypotheses = [rules.normalise(one.hypothesis) for one in report.utterances]
    return error_rates(references, hypotheses, [one.speaker for one in report.utterances])


def _matched(references: dict[str, str], hypotheses: dict[str, str], reference: Path, hypothesis: Path) -> list[str]:
    """Return the hypotheses in the order of the references."""
    pairs = ((references, hypotheses), (hypotheses, references))
    missing, extra = ([key for key in one if key not in other] for one, other in pairs)
    if missing or extra:
        parts = [
            f"{len(keys):,} {what}, such as {keys[0]!r}"
            for keys, what in ((missing, "missing"), (extra, "without a reference"))
            if keys
        ]
        raise ValueError(
            f"{hypothesis}: expected the {len(references):,} utterances of {reference}, got {len(hypotheses):,}: "
            f"{'; '.join(parts)}. Was recognition interrupted, or run on other data? An utterance without recognised "
            "words must be in the file, with an empty text"
        )
    return [hypotheses[key] for key in references]


def _counts_lines(path: Path, form: Format | None) -> bool:
    return (form or path.suffix.lower().removeprefix(".")) == "txt"


def _speaker(key: str, pattern: str) -> str:
    try:
        found = re.search(pattern, key)
    except re.error as error:
        raise ValueError(
            f"expected a regular expression that matches the speaker in an id, got {pattern!r}: {error}"
        ) from None
    name = found and (found[1] if found.re.groups else found[0])
    if not name:
        raise ValueError(
            f"expected a speaker in every id, got none in {key!r} with {pattern!r}; the expression may match "
            "anywhere in the id; for example, ^[^-]+ matches everything before the first hyphen"
        )
    return name


def _names(given: list[str]) -> tuple[str, ...]:
    """Return the last parts of the paths if they are distinct, otherwise the whole paths."""
    short = [Path(name).name or name for name in given]
    return tuple(short if len(set(short)) == len(short) else given)


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN by None, because JSON has no NaN."""
    return {
        key: tuple(None if math.isnan(number) else number for number in value) if isinstance(value, tuple) else value
        for key, value in data.items()
    }
