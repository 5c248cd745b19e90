"""Verbs that measure: error rates, the language models that lower them, and how sure a word is."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from matplotlib.figure import Figure

from sori.checkpoints import store
from sori.cli.transcribe import GREEDY, Search
from sori.core import distributed
from sori.core.files import write_text
from sori.data.utterances import transcribed
from sori.evaluation import recognition
from sori.evaluation.confidence_fit import NUM_BINS, bins
from sori.evaluation.report import scores
from sori.evaluation.report.error_page import page
from sori.evaluation.report.transcript_pairs import Format
from sori.evaluation.report.utterance_table import AUDIO_MINUTES
from sori.inference import calibrate as calibrate_module
from sori.inference import lm_fusion
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
    search: Search = GREEDY,
) -> None:
    """Word and character error rates on transcribed recordings.

    Args:
        model: Folder, run folder or name of a recogniser.
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits; `all` for all of them.
        against: Another recogniser to compare with, on the same recordings and with the same language model.
        save: Write the rates, every utterance among them, as JSON.
        report: Write a web page: rates, confusions, speakers, lengths, every utterance with its errors, sound.
        audio_minutes: Sound on that page, at most; a minute is about half a megabyte.
        search: Language model and hot words.
    """
    recognisers = []
    for name in [model] if against is None else [model, against]:
        system = store.load(name).to(distributed.device())
        recognisers.append((name, system, search.decoder(recognition.require_recogniser(system, name))))
    found = scores.evaluate(recognisers, data=data, split=None if split == "all" else split)
    _tell(found, save=save, report=report, audio_minutes=audio_minutes)


def score(
    reference: Path,
    hypothesis: Path,
    *,
    against: Path | None = None,
    form: Annotated[Format | None, Parameter(name="--format")] = None,
    speaker_of: str | None = None,
    case: scores.Case = "keep",
    punctuation: scores.Punctuation = "keep",
    save: Path | None = None,
    report: Path | None = None,
) -> None:
    """Word and character error rates of text files.

    Args:
        reference: What was said: .txt (an utterance a line), .tsv (id, tab, text) or .trn (text, id in parentheses).
        hypothesis: What a recogniser wrote, for the same utterances.
        against: What another one wrote, to compare with.
        form: How the files are written, where their names do not tell; `kaldi`: id, space, text.
        speaker_of: Regular expression that finds the speaker in an id, such as ^[^-]+, for intervals over speakers.
        case: Leave letters as they are, or write all in one case.
        punctuation: Leave it, or drop it (apostrophes and hyphens within words stay).
        save: Write the rates, every utterance among them, as JSON.
        report: Write a web page: rates, confusions, speakers, lengths, every utterance with its errors.
    """
    found = scores.score(
        reference,
        hypothesis,
        against=against,
        form=form,
        speaker_of=speaker_of,
        case=case,
        punctuation=punctuation,
    )
    _tell(found, save=save, report=report)


def _tell(
    found: scores.Scores, *, save: Path | None, report: Path | None, audio_minutes: float = AUDIO_MINUTES
) -> None:
    print(found.table())
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
    search: Search = GREEDY,
) -> None:
    """Fit confidence: the probability that a word is right, for `sori transcribe` with the same options.

    Args:
        model: Folder, run folder or name of a recogniser; what is fitted is kept there.
        data: Prepared folder; may be given several times.
        split: Which utterances to fit on: some that the recogniser has not learnt from; `all` for all of them.
        judge_split: Which other utterances to judge the confidence on.
        plot: Picture to draw of the judged confidence: how often words are right, against what was said of them.
        into: File to keep it in instead; for models that other programs wrote.
        search: Language model and hot words.
    """
    if plot is not None and judge_split is None:
        raise ValueError(
            "--plot needs --judge-split: on the words it was fitted on, confidence looks better than it is; name a "
            "split that was kept for judging, such as `--judge-split test`"
        )
    if judge_split == split:
        raise ValueError(f"expected another split to judge on than to fit on, got {split!r} for both")
    target = into or calibrate_module.file_of(model)
    system = recognition.require_recogniser(store.load(model).to(distributed.device()), model)
    decoder = search.decoder(system)
    heard = calibrate_module.hear(system, transcribed(data, None if split == "all" else split), decoder)
    about = {"data": [folder.name for folder in data], "split": split, "lm": search.lm.name if search.lm else None}
    confidence = calibrate_module.fit(heard, decoder, about)
    calibrate_module.store(confidence, target, system)
    print(f"fitted on {split}: {len(heard.right):,} words, {heard.right.mean():.1%} right; kept in {target}")
    if judge_split is not None:
        others = transcribed(data, None if judge_split == "all" else judge_split)
        judged = calibrate_module.judge(confidence, calibrate_module.hear(system, others, decoder))
        print(f"judged on {judge_split}: {judged.table()}")
        if plot is not None:
            plot.parent.mkdir(parents=True, exist_ok=True)
            save_figure(draw_reliability(judged), plot)
            print(f"drawn: {plot}")


def draw_reliability(judged: calibrate_module.Judged) -> Figure:
    """The confidence of judged words against how often they are right."""
    stated, one = judged.stated["calibrated"], judged.measured["calibrated"]
    (ece_low, ece_high), (nce_low, nce_high) = one.ece_interval, one.nce_interval
    caption = (
        f"{len(stated):,} words, {judged.heard.right.mean():.1%} right, in {NUM_BINS} groups of equal size\n"
        f"ECE {one.ece:.3f} ({ece_low:.3f} to {ece_high:.3f}), NCE {one.nce:.3f} ({nce_low:.3f} to {nce_high:.3f})"
    )
    rows = [(group.stated, group.right, group.low, group.high) for group in bins(stated, judged.heard.right)]
    return reliability(rows, stated.tolist(), caption=caption)


def build(
    *texts: Path,
    into: Path,
    order: int = 4,
    prune: list[int] | None = None,
    model: str | None = None,
    unit: Literal["word", "character"] = "word",
) -> None:
    """Make a language model of text: interpolated modified Kneser-Ney, as an ARPA file.

    Args:
        texts: Text files (.txt, .gz, .xz), one sentence or paragraph a line.
        into: File to write: .arpa or .arpa.gz.
        order: Words that are looked at together, 1 to 6.
        prune: By order, drop what occurs at most so often; `--prune 0 --prune 0 --prune 1`: single ones from order 3.
        model: Recogniser it is for: text is normalised as it writes, and what it cannot write is reported.
        unit: Words, or characters for a model over the recogniser's symbols.
    """
    if not texts:
        raise ValueError("expected text files, got none; name them after `sori lm build`")
    vocabulary = store.read(model).model.vocabulary if model else None
    if model and vocabulary is None:
        raise ValueError(f"{model} is no recogniser; it writes no text that a language model could be made for")
    report = build_lm(texts, order=order, into=into, vocabulary=vocabulary, unit=unit, prune=prune or ())
    print(report.table())


def tune(
    model: str, lm: Path, *, data: list[Path], split: str = "dev", beam_size: int = 50, unknown_words: bool = False
) -> None:
    """Find the weight of a language model, and the bonus for each word, with the fewest word errors.

    Args:
        model: Folder, run folder or name of a recogniser.
        lm: Language model over words (.arpa, .arpa.gz).
        data: Prepared folder; may be given several times.
        split: Which utterances, where a folder names splits: not those that errors are reported on.
        beam_size: Texts that are kept in mind.
        unknown_words: Also write words that the language model does not know.
    """
    system = store.load(model).to(distributed.device())
    decoder = Search(lm=lm, beam_size=beam_size, unknown_words=unknown_words).decoder(system)
    assert decoder is not None  # noqa: S101 - there is a language model
    utterances = transcribed(data, None if split == "all" else split)
    print(lm_fusion.tune(recognition.require_recogniser(system, model), decoder, utterances).table())
