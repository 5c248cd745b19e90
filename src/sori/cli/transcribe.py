"""Verbs that write text, and when it is spoken."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sori.checkpoints import store
from sori.cli.exit_codes import leave_if, require_files
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE, info
from sori.core.user_files import read_text
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.confidence import Confidence
from sori.decoding.transcript_formats import Format, Transcribed, render
from sori.inference import (
    align as align_module,
)
from sori.inference import (
    calibrate,
    lm_fusion,
)
from sori.inference import (
    transcribe as transcribe_module,
)
from sori.inference.transcript_files import plan, standard_input
from sori.inference.transcript_files import show as show_transcripts
from sori.inference.transcript_files import write as write_transcripts
from sori.models import factory
from sori.models.ctc import Ctc


@Parameter(name="*")
@dataclass(frozen=True)
class Search:
    """How text is searched for, for every verb that writes it."""

    lm: Path | None = None
    """Language model over words or letters (.arpa, .arpa.gz), from `sori lm build` or elsewhere; without it, the
    likeliest symbol of each frame is written."""
    lm_weight: float = BeamConfig().lm_weight
    """Weight of the language model; `sori lm tune` finds it."""
    word_score: float = BeamConfig().word_score
    """Bonus for each word; likewise."""
    beam_size: int = BeamConfig().beam_size
    """Texts that are kept in mind."""
    unknown_words: bool = False
    """Also write words that the language model does not know."""
    hot_word: Annotated[list[str] | None, Parameter(negative=())] = None
    """Word to prefer, such as a name, with or without a language model; may be given several times."""
    hot_word_score: float = BeamConfig().hot_word_score
    """Bonus for each hot word."""

    def decoder(self, model: factory.System, *, num_best: int = 1) -> BeamDecoder | None:
        """For `infer.transcribe` and `run.evaluate`; None where the likeliest symbol of each frame will do."""
        if self.lm is None and not self.hot_word and num_best == 1:
            return None
        config = BeamConfig(
            lm_weight=self.lm_weight,
            word_score=self.word_score,
            beam_size=self.beam_size,
            hot_word_score=self.hot_word_score,
            num_best=num_best,
        )
        hot_words = self.hot_word or ()
        return lm_fusion.decoder(model, self.lm, config, known_words_only=not self.unknown_words, hot_words=hot_words)


GREEDY = Search()
"""Without language model and hot words."""


def transcribe(
    model: str,
    *files: Path,
    to: Annotated[Format, Parameter(name="--format")] = "txt",
    into: Path | None = None,
    overwrite: bool = False,
    times: bool = False,
    num_best: int = 1,
    confidence: Path | None = None,
    search: Search = GREEDY,
) -> None:
    """Write down what is said in sound files, however long.

    Args:
        model: Folder, run folder or name of a recogniser.
        files: Sound files of any kind, folders of them, or `-` for standard input.
        to: What to write: txt, json, srt or vtt (captions), TextGrid (Praat), eaf (ELAN), or ctm (scoring).
        into: Folder for one transcript a recording, NAME.txt and so on; by default they go to the screen.
        overwrite: Replace transcripts that exist in that folder.
        times: On the screen: one line for each word, with begin and end in seconds, and confidence where it is known.
        num_best: Texts for each passage, the best first, with their scores: on the screen, or as json.
        confidence: File from `sori calibrate --into`; by default what was kept beside the model is used.
        search: Language model and hot words.
    """
    require_files(files)
    if num_best > 1 and to != "json" and (to != "txt" or into is not None):
        raise ValueError(
            f"--num-best is for the screen and for --format json, got --format {to}"
            f"{'' if into is None else ' with --into'}; other files have no room for several texts"
        )
    system = store.load(model).to(distributed.device())
    decoder = search.decoder(system, num_best=num_best)
    sure = _confidence(model, system, decoder, confidence)
    with standard_input(files) as sources:
        if into is not None:
            jobs = plan(sources, into=into, to=to)
            found = write_transcripts(system, jobs, to=to, overwrite=overwrite, decoder=decoder, confidence=sure)
        else:
            found = show_transcripts(system, sources, to=to, times=times, decoder=decoder, confidence=sure)
        failed = False
        for one in found:
            failed |= isinstance(one, transcribe_module.Failure)
            if isinstance(one, transcribe_module.Failure):
                print(f"{one.path}: {one.reason}", file=sys.stderr)
            else:
                print(one, flush=True)
    leave_if(failed)


def _confidence(
    model: str, system: factory.System, decoder: BeamDecoder | None, file: Path | None
) -> Confidence | None:
    """What was fitted for this way of searching; without it words get no number rather than one that means nothing."""
    place = file or calibrate.find(model)
    if place is None or not isinstance(system, Ctc):
        return None
    found = calibrate.choose(calibrate.read(place, system), decoder)
    if found is None:
        missing = (
            f"{place} holds no confidence for this way of searching (language model, weights, hot words); fit it with "
            "`sori calibrate` and the same options"
        )
        if file is not None:
            raise ValueError(missing)
        print(f"words get no confidence: {missing}", file=sys.stderr)
    return found


def align(
    model: str,
    recording: Path,
    text: Path,
    *,
    to: Annotated[Format | None, Parameter(name="--format")] = None,
    skip_penalty: float | None = None,
) -> None:
    """When each word of a known text is spoken: begin, end, confidence and word, a line each.

    Args:
        model: Folder, run folder or name of a recogniser.
        recording: Sound file, however long.
        text: File with what is said in it.
        to: Print as json, srt, vtt, TextGrid, eaf or ctm instead.
        skip_penalty: Words of the text may be missing in the recording; the price of leaving one out, such as 20.
    """
    system = store.load(model).to(distributed.device())
    found = align_module.align(system, recording, read_text(text), skip_penalty=skip_penalty)
    if to is None:
        for word, sure in zip(found.words, found.confidence, strict=True):
            print(f"{word.start:.2f}\t{word.end:.2f}\t{sure:.2f}\t{word.text}")
    else:
        said = " ".join(word.text for word in found.words)
        length = info(recording).num_samples / SAMPLE_RATE
        print(render(Transcribed(said, found.words, length, recording.name, found.confidence), to), end="")
    if found.skipped:
        print(f"left out: {' '.join(found.skipped)}", file=sys.stderr)
    if found.unwritable:
        print(f"letters that the recogniser cannot write: {' '.join(found.unwritable)}", file=sys.stderr)
