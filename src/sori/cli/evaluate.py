"""Commands for error rates, language models and confidence: evaluate, score, calibrate, lm build, lm tune."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from matplotlib.figure import Figure

from sori.checkpoints import store
from sori.checkpoints.stored_lm import ARPA
from sori.cli.exit_codes import leave_if
from sori.cli.output import write
from sori.cli.transcribe import DEFAULT, Search
from sori.core import distributed
from sori.core.counts import require_amount
from sori.core.files import write_text
from sori.core.precision import Wanted
from sori.data.utterances import transcribed
from sori.decoding.beam import BeamDecoder
from sori.evaluation import lm_tuning, recognition
from sori.evaluation.confidence_fit import NUM_BINS, bins
from sori.evaluation.report import scores
from sori.evaluation.report.error_page import page
from sori.evaluation.report.transcript_pairs import Format
from sori.evaluation.report.utterance_table import AUDIO_MINUTES
from sori.inference import calibrate as calibrate_module
from sori.inference import int8_test
from sori.inference.lower_precision import set_precision
from sori.lm.kneser_ney import build as build_lm
from sori.plots.reliability import reliability
from sori.plots.style import save_figure


def evaluate(
    model: str,
    *,
    data: list[Path],
    split: str = "test",
    against: str | None = None,
    save: Path | None = None,
    report: Path | None = None,
    audio_minutes: float = AUDIO_MINUTES,
    precision: Wanted = "auto",
    search: Search = DEFAULT,
) -> None:
    """Compute word and character error rates of a recogniser on transcribed recordings.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folder; may be given several times.
        split: Split to use, or `all`. Folders without splits are used as a whole.
        against: Second recogniser to compare with, on the same recordings and with the same language model.
        save: Write the error rates and every utterance to this JSON file.
        report: Write a web page with error rates, confusions, speakers, lengths, and every utterance with its errors
            and audio.
        audio_minutes: Maximum amount of audio on the web page, in minutes, of about half a megabyte each.
        precision: Precision of the matrix products, as for `sori transcribe`; float32 gives the same on every
            processor, up to rounding. With int8, compare with float32, and store the result in the model folder: if
            neither error rate is more than 0.1 percentage points higher, `sori transcribe` can use int8.
        search: Language model and hot words.
    """
    require_amount("--audio-minutes", audio_minutes)
    part = None if split == "all" else split
    if precision == "int8":
        if against is not None:
            raise ValueError("--precision int8 compares the model with itself in float32: leave out --against")
        found, result = int8_test.run(model, data=data, split=part, decoder_of=search.decoder)
        _output(found, save=save, report=report, audio_minutes=audio_minutes)
        write(f"\n{result}\n{'passed' if result.passed else 'not passed'}; stored in {int8_test.file_of(model)}")
        leave_if(not result.passed)
        return
    recognisers = []
    for name in [model] if against is None else [model, against]:
        system = store.load(name).to(distributed.device())
        set_precision(system, precision, int8=int8_test.find(name, system))
        recognisers.append((name, system, search.decoder(recognition.require_recogniser(system, name))))
    found = scores.evaluate(recognisers, data=data, split=part)
    _output(found, save=save, report=report, audio_minutes=audio_minutes)


def score(
    reference: Path,
    hypothesis: Path,
    *,
    against: Path | None = None,
    form: Annotated[Format | None, Parameter(name="--format")] = None,
    speaker_of: str | None = None,
    case: scores.Case = "keep",
    punctuation: scores.Punctuation = "keep",
    language: str | None = None,
    save: Path | None = None,
    report: Path | None = None,
) -> None:
    """Compute word and character error rates of text files.

    Args:
        reference: Reference transcripts: .txt (one utterance per line), .tsv (id, tab, text) or .trn (text, id in
            parentheses).
        hypothesis: Output of a recogniser for the same utterances.
        against: Output of a second recogniser, to compare with.
        form: Format of the files. By default chosen by their extensions; `kaldi` (id, space, text) has none.
        speaker_of: Regular expression that matches the speaker in an utterance id, such as `^[^-]+`, for confidence
            intervals over speakers.
        case: Keep upper and lower case, or convert both texts to one case.
        punctuation: Keep punctuation, or remove it (apostrophes and hyphens within words are kept).
        language: Language of the texts (ISO 639-3): with --case, I and İ are changed as in tur, aze and others.
        save: Write the error rates and every utterance to this JSON file.
        report: Write a web page with error rates, confusions, speakers, lengths, and every utterance with its errors.
    """
    found = scores.score(
        reference,
        hypothesis,
        against=against,
        form=form,
        speaker_of=speaker_of,
        case=case,
        punctuation=punctuation,
        language=language,
    )
    _output(found, save=save, report=report)


def _output(
    found: scores.Scores, *, save: Path | None, report: Path | None, audio_minutes: float = AUDIO_MINUTES
) -> None:
    write(found.table())
    if save is not None:
        _write(save, json.dumps(found.to_data(), ensure_ascii=False, indent=1) + "\n")
    if report is not None:
        _write(report, page(found, audio_minutes=audio_minutes))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def calibrate(
    model: str,
    *,
    data: list[Path],
    split: str = "dev",
    judge_split: str | None = None,
    plot: Path | None = None,
    into: Path | None = None,
    search: Search = DEFAULT,
) -> None:
    """Fit word confidence, the probability that a word is correct, for `sori transcribe` with the same options.

    Args:
        model: Folder, run folder or name of a recogniser; the fit is stored there.
        data: Prepared folder; may be given several times.
        split: Split to fit on, or `all`; the recogniser must not have been trained on it.
        judge_split: Other split to evaluate the confidence on.
        plot: Figure to write with --judge-split: a reliability diagram, the fraction of correct words by confidence.
        into: File to store the fit in instead, for models in another program's format.
        search: Language model and hot words.
    """
    if plot is not None and judge_split is None:
        raise ValueError(
            "--plot needs --judge-split: on the words it was fitted on, confidence looks better than it is; name a "
            "split that was held out for evaluation, such as `--judge-split test`"
        )
    if judge_split == split:
        raise ValueError(f"expected another split to evaluate on than to fit on, got {split!r} for both")
    target = into or calibrate_module.file_of(model)
    system = recognition.require_recogniser(store.load(model).to(distributed.device()), model)
    decoder = search.decoder(system)
    words = calibrate_module.recognise(system, transcribed(data, None if split == "all" else split), decoder)
    about = {"data": [folder.name for folder in data], "split": split, "lm": _lm_name(search, decoder)}
    confidence = calibrate_module.fit(words, decoder, about)
    calibrate_module.store(confidence, target, system)
    write(f"fitted on {split}: {len(words.correct):,} words, {words.correct.mean():.1%} correct; stored in {target}")
    if judge_split is not None:
        others = transcribed(data, None if judge_split == "all" else judge_split)
        evaluation = calibrate_module.evaluate(confidence, calibrate_module.recognise(system, others, decoder))
        write(f"evaluated on {judge_split}: {evaluation.table()}")
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            save_figure(draw_reliability(evaluation), plot)
            write(f"drawn: {plot}")


def _lm_name(search: Search, decoder: BeamDecoder | None) -> str | None:
    """Return the name of the file of the language model, for the record."""
    if decoder is None or decoder.lm is None:
        return None
    return ARPA if search.lm is None else Path(search.lm).name


def draw_reliability(evaluation: calibrate_module.Evaluation) -> Figure:
    """Draw a reliability diagram: the fraction of correct words by confidence."""
    probabilities, one = evaluation.probabilities["calibrated"], evaluation.metrics["calibrated"]
    (ece_low, ece_high), (nce_low, nce_high) = one.ece_interval, one.nce_interval
    correct = evaluation.words.correct
    caption = (
        f"{len(correct):,} words, {correct.mean():.1%} correct, in {NUM_BINS} bins of equal size\n"
        f"ECE {one.ece:.3f} ({ece_low:.3f} to {ece_high:.3f}), NCE {one.nce:.3f} ({nce_low:.3f} to {nce_high:.3f})"
    )
    rows = [(group.stated, group.right, group.low, group.high) for group in bins(probabilities, correct)]
    return reliability(rows, probabilities.tolist(), caption=caption)


def build(
    *texts: Path,
    into: Path,
    order: int = 4,
    prune: list[int] | None = None,
    model: str | None = None,
    unit: Literal["word", "character"] = "word",
) -> None:
    """Build an n-gram language model from text: interpolated modified Kneser-Ney, as an ARPA file.

    Args:
        texts: Text files (.txt, .gz, .xz) with one sentence or paragraph per line.
        into: ARPA file to write (.arpa, .arpa.gz).
        order: Length of the longest n-grams, 1 to 6.
        prune: Drop n-grams with at most this count; once for each order, from 1: `--prune 0 --prune 0 --prune 1` drops
            3-grams (and longer) that occur once. By default nothing is dropped.
        model: Recogniser to use it with: the text is normalised as in its transcripts, and characters that are not in
            its vocabulary are reported.
        unit: Model words, or characters (the recogniser's symbols).
    """
    if not texts:
        raise ValueError("expected text files, got none; name them after `sori lm build`")
    vocabulary = store.read(model).model.vocabulary if model else None
    if model and vocabulary is None:
        raise ValueError(f"{model} is not a recogniser: it has no output vocabulary to normalise the text for")
    report = build_lm(texts, order=order, into=into, vocabulary=vocabulary, unit=unit, prune=prune or ())
    write(report.table())


def tune(
    model: str, lm: Path, *, data: list[Path], split: str = "dev", beam_size: int = 50, unknown_words: bool = True
) -> None:
    """Tune the weights of a language model for the lowest word error rate without more character errors.

    Args:
        model: Folder, run folder or name of a recogniser.
        lm: Word-level language model (.arpa, .arpa.gz).
        data: Prepared folder; may be given several times.
        split: Split to tune on, which must not be the one that error rates are reported on. Folders without splits are
            used as a whole.
        beam_size: Number of hypotheses kept in the beam search.
        unknown_words: Allow words that are not in the language model, and tune their score and spelling.
    """
    system = store.load(model).to(distributed.device())
    decoder = Search(lm=str(lm), beam_size=beam_size, unknown_words=unknown_words).decoder(system)
    assert decoder is not None  # noqa: S101 - there is a language model
    utterances = transcribed(data, None if split == "all" else split)
    write(lm_tuning.tune(recognition.require_recogniser(system, model), decoder, utterances).table())


lm = App(name="lm", help="Build a language model from text, or tune its weight.")
lm.command(build)
lm.command(tune)
