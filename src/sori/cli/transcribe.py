"""`sori transcribe` and `sori align`, and the decoding options shared with other commands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sori.checkpoints import store
from sori.cli.exit_codes import leave_if, require_files
from sori.cli.output import problem, write
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE, info
from sori.core.precision import Wanted
from sori.core.user_files import read_text
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.transcript_formats import Format, Transcribed, render
from sori.evaluation import stored_decoder
from sori.inference import (
    align as align_module,
)
from sori.inference import (
    calibrate,
    int8_test,
    lm_fusion,
)
from sori.inference import (
    transcribe as transcribe_module,
)
from sori.inference.lower_precision import set_precision
from sori.inference.transcript_files import plan, standard_input
from sori.inference.transcript_files import show as show_transcripts
from sori.inference.transcript_files import write as write_transcripts
from sori.models import factory
from sori.models.ctc import Ctc

NO_LM = "none"
"""Value of `--lm` for decoding without language model; a file of that name is `./none`."""


@Parameter(name="*")
@dataclass(frozen=True)
class Search:
    """Decoding options of all commands that run a recogniser."""

    lm: str | None = None
    """Language model over words or characters (.arpa, .arpa.gz), from `sori lm build` or another program, instead of
    the one stored with the recogniser; `none`: without one, the most probable symbol of each frame."""
    lm_weight: float | None = None
    """Weight of the language model's log-probability; tune it with `sori lm tune`."""
    word_score: float | None = None
    """Bonus for each word, in nats; tune it with `sori lm tune`."""
    unknown_words: bool = True
    """Allow words that are not in the language model, as the recogniser spells them."""
    unknown_score: float | None = None
    """Bonus for each such word, in nats, usually below 0; tune it with `sori lm tune`."""
    spelling_weight: float | None = None
    """Weight of the log-probability of its spelling, by the words of the language model; `sori lm tune` tunes it."""
    beam_size: int | None = None
    """Number of hypotheses kept in the beam search."""
    hot_word: Annotated[list[str] | None, Parameter(negative=())] = None
    """Word to favour, such as a name, with or without a language model; may be given several times."""
    hot_word_score: float | None = None
    """Bonus for each hot word, in nats."""

    def decoder(self, model: factory.System, *, num_best: int = 1) -> BeamDecoder | None:
        """Return the beam search decoder for `transcribe` and `evaluate`, or None for greedy decoding.

        Weights that are not given are those stored with the language model, or the defaults.
        """
        names = ("lm_weight", "word_score", "unknown_score", "spelling_weight", "beam_size", "hot_word_score")
        given = {name: getattr(self, name) for name in names}
        changes = {name: value for name, value in given.items() if value is not None} | {"num_best": num_best}
        BeamConfig.from_data(changes, origin="the set of decoding options")
        hot_words = self.hot_word or ()
        if self.lm is None:
            only_known = {} if self.unknown_words else {"unknown_score": None}
            found = stored_decoder.build(model, changes | only_known, hot_words=hot_words)
            if found is not None:
                return found
        lm = None if self.lm in (None, NO_LM) else self.lm
        if lm is None and not hot_words and num_best == 1:
            return None
        closed = not self.unknown_words
        return lm_fusion.decoder(model, lm, changes=changes, known_words_only=closed, hot_words=hot_words)


DEFAULT = Search()
"""With the language model stored with the recogniser, if there is one that is used; otherwise greedy."""


def transcribe(
    model: str,
    *files: Path,
    to: Annotated[Format, Parameter(name="--format")] = "txt",
    into: Path | None = None,
    overwrite: bool = False,
    times: bool = False,
    num_best: int = 1,
    confidence: Path | None = None,
    precision: Wanted = "auto",
    search: Search = DEFAULT,
) -> None:
    """Transcribe sound files of any length.

    Args:
        model: Folder, run folder or name of a recogniser.
        files: Sound files of any format, folders of sound files, or `-` for standard input.
        to: Output format: txt, json, srt or vtt (captions), TextGrid (Praat), eaf (ELAN), audacity (a label
            track), or ctm (scoring).
        into: Folder to write one transcript per recording to, such as NAME.txt. By default, print to the screen.
        overwrite: Replace existing transcripts in that folder.
        times: On the screen, print one line for each word: start and end in seconds, confidence if calibrated, word.
        num_best: Length of the n-best list of each chunk of a recording, best first and with scores; on the screen or
            with --format json.
        confidence: Confidence file from `sori calibrate --into`. By default the one stored with the model, if any.
        precision: Precision of the matrix products. `auto`: int8 if the model passed its test (`sori evaluate
            --precision int8`), else bfloat16, which takes less than half the time, where the processor or GPU computes
            in it.
        search: Language model and hot words.
    """
    require_files(files)
    if num_best > 1 and to != "json" and (to != "txt" or into is not None):
        raise ValueError(
            f"--num-best is for the screen and for --format json, got --format {to}"
            f"{'' if into is None else ' with --into'}; other formats store only one text"
        )
    system = store.load(model).to(distributed.device())
    set_precision(system, precision, int8=int8_test.find(model, system))
    decoder = search.decoder(system, num_best=num_best)
    fitted = fitted_confidence(model, system, decoder, confidence)
    with standard_input(files) as sources:
        if into is not None:
            jobs = plan(sources, into=into, to=to)
            found = write_transcripts(system, jobs, to=to, overwrite=overwrite, decoder=decoder, confidence=fitted)
        else:
            found = show_transcripts(system, sources, to=to, times=times, decoder=decoder, confidence=fitted)
        failed = False
        for one in found:
            failed |= isinstance(one, transcribe_module.FailedRecording)
            if isinstance(one, transcribe_module.FailedRecording):
                problem(f"{one.path}: {one.reason}")
            else:
                write(one)
    leave_if(failed)


def fitted_confidence(
    model: str, system: factory.System, decoder: BeamDecoder | None, file: Path | None
) -> Confidence | None:
    """Return the confidence fitted for these decoding options, or None: uncalibrated values would be misleading."""
    place = file or calibrate.find(model)
    if place is None or not isinstance(system, Ctc):
        return None
    found = calibrate.choose(calibrate.read(place, system), decoder)
    if found is None:
        missing = (
            f"{place} has no confidence for these decoding options (language model, weights, hot words); fit it with "
            "`sori calibrate` and the same options"
        )
        if file is not None:
            raise ValueError(missing)
        problem(f"no confidence is computed: {missing}")
    return found


def align(
    model: str,
    recording: Path,
    text: Path,
    *,
    to: Annotated[Format | None, Parameter(name="--format")] = None,
    skip_penalty: float | None = None,
) -> None:
    """Align a recording with its text: start and end in seconds, confidence and word, one line each.

    Args:
        model: Folder, run folder or name of a recogniser.
        recording: Sound file of any length.
        text: Text file with the transcript of the recording.
        to: Print json, srt, vtt, TextGrid, eaf or ctm instead.
        skip_penalty: Cost in nats of leaving out a word that is not spoken, such as 20. By default, all words are
            aligned.
    """
    system = store.load(model).to(distributed.device())
    found = align_module.align(system, recording, read_text(text), skip_penalty=skip_penalty)
    if to is None:
        for word, confidence in zip(found.words, found.confidence, strict=True):
            write(f"{word.start:.2f}\t{word.end:.2f}\t{confidence:.2f}\t{word.text}")
    else:
        spoken = " ".join(word.text for word in found.words)
        length = info(recording).num_samples / SAMPLE_RATE
        write(render(Transcribed(spoken, found.words, length, recording.name, found.confidence), to), end="")
    if found.skipped:
        problem(f"left out: {' '.join(found.skipped)}")
    if found.unwritable:
        problem(f"characters not in the recogniser's vocabulary: {' '.join(found.unwritable)}")
