"""The language model that a recogniser is stored with: built before training, tuned and evaluated after it.

It is built first so that texts that cannot be read end the command before training, not after it.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sori.checkpoints import stored_lm
from sori.checkpoints.stored_lm import ARPA, LmSettings, LmSources, LmTuning, StoredLm
from sori.core.folders import whole_folder
from sori.core.log import logger
from sori.core.run_folder import RunFolder
from sori.data.manifest import Utterance
from sori.decoding.beam import BeamConfig
from sori.decoding.lm_decoder import lm_decoder
from sori.evaluation import lm_tuning
from sori.evaluation.recognition import recogniser_digest
from sori.lm import kneser_ney
from sori.lm.fusion import FusionConfig, untuned
from sori.lm.ngram import NgramModel
from sori.models.ctc import Ctc
from sori.text.vocabulary import Vocabulary

BEAM_SIZE = 50
ORDER = 4
_PRUNED = (0, 0, 1)
"""With texts, 3-grams and 4-grams that occur once are dropped: the file is a fraction of the size."""
_FEWEST_WORDS = 2.0
"""Words per sentence below which, without a dev split, a word model is not used: the script likely has no spaces."""


class LmMaterial(NamedTuple):
    """What a language model is built from and tuned on."""

    transcripts: Sequence[str]
    """Transcripts of the utterances that the recogniser is trained on."""
    texts: tuple[Path, ...]
    split: str
    """Name of the split to tune on."""
    dev: Sequence[Utterance]
    """Transcribed utterances of that split; none if there are none that are held out."""


def build(material: LmMaterial, vocabulary: Vocabulary, folder: RunFolder) -> None:
    """Build the language model in the run folder, unless an earlier start of the run has done so.

    Raises:
        ValueError: a text is not UTF-8, damaged or named twice.
        FileNotFoundError: there is no such text.
    """
    target = folder.language_model
    if (target / ARPA).is_file():
        return
    with whole_folder(target) as fresh, tempfile.TemporaryDirectory() as aside:
        transcripts = Path(aside) / "transcripts.txt"
        transcripts.write_text("".join(f"{' '.join(one.split())}\n" for one in material.transcripts), encoding="utf-8")
        report = kneser_ney.build(
            [transcripts, *material.texts],
            order=ORDER,
            into=fresh / ARPA,
            vocabulary=vocabulary,
            prune=_PRUNED if material.texts else (),
        )
        sources = LmSources(
            transcripts=len(material.transcripts),
            texts=tuple(path.name for path in material.texts),
            sentences=report.sentences,
            words=report.words,
            distinct_words=report.distinct_words,
        )
        used, reason = _untuned(sources, material.split)
        settings = LmSettings(
            used=used,
            reason=reason,
            fusion=untuned(NgramModel.read(fresh / ARPA)),
            beam_size=BEAM_SIZE,
            arpa_digest=stored_lm.arpa_digest(fresh / ARPA),
            sources=sources,
        )
        stored_lm.write_settings(settings, fresh)
    logger.info(_built(report, len(material.transcripts), len(material.texts)))


def tune(system: Ctc, material: LmMaterial, folder: RunFolder) -> StoredLm:
    """Tune the weights for a trained recogniser on the dev split, and decide whether the language model is used.

    The result is stored in the run folder, so that a repeated call only reads it.
    """
    stored = stored_lm.read(folder.language_model)
    assert stored is not None  # noqa: S101 - `build` has made it
    digest = recogniser_digest(system)
    tuning = stored.settings.tuning
    if tuning is not None and tuning.recogniser == digest:
        return stored
    if not material.dev:
        logger.info(f"language model: {stored.settings.reason}")
        return stored
    system.eval()
    assert system.vocabulary is not None  # noqa: S101 - every recogniser of a recipe has one
    logger.info(f"tuning the language model on {len(material.dev):,} utterances of {material.split}")
    lm = stored.ngrams()
    search = lm_decoder(system.vocabulary, lm, BeamConfig(**untuned(lm).model_dump(), beam_size=BEAM_SIZE))
    found = lm_tuning.tune(system, search, material.dev)
    rates = (
        f"WER {found.best.wer.rate:.1%} against {found.greedy.wer.rate:.1%} without it on {material.split}, "
        f"CER {found.best.cer.rate:.1%} against {found.greedy.cer.rate:.1%}"
    )
    settings = stored.settings.model_copy(
        update={
            "used": found.helps,
            "reason": rates if found.helps else f"no setting lowers the WER without raising the CER: best {rates}",
            "fusion": FusionConfig(**{name: getattr(found.config, name) for name in FusionConfig.model_fields}),
            "tuning": LmTuning(
                split=material.split,
                utterances=len(material.dev),
                recogniser=digest,
                wer_without=found.greedy.wer.rate,
                cer_without=found.greedy.cer.rate,
                wer=found.best.wer.rate,
                cer=found.best.cer.rate,
            ),
        }
    )
    stored_lm.write_settings(settings, folder.language_model)
    logger.info(
        f"language model used by default, {lm_tuning.options(found.config)}: {rates}"
        if found.helps
        else f"language model stored but not used: {settings.reason}"
    )
    return StoredLm(folder.language_model, settings)


def _untuned(sources: LmSources, split: str) -> tuple[bool, str]:
    """Return whether a language model that cannot be tuned is used, and why."""
    missing = f"no transcribed utterances in a split named {split!r} to tune its weights on"
    if sources.words < _FEWEST_WORDS * sources.sentences:
        return False, f"{missing}, and fewer than {_FEWEST_WORDS:g} words per sentence: not used"
    return True, f"{missing}: default weights, not checked on this speech"


def _built(report: kneser_ney.BuildReport, num_transcripts: int, num_texts: int) -> str:
    texts = f" and {num_texts} texts" if num_texts > 1 else " and a text" if num_texts else ""
    found = (
        f"language model of {num_transcripts:,} transcripts{texts}: {report.sentences:,} sentences, "
        f"{report.words:,} words, {report.distinct_words:,} different"
    )
    if not report.replaced:
        return found
    symbols = ", ".join(one.text for one in report.unsupported_symbols[:5])
    return (
        f"{found}\n{report.replaced / report.words:.1%} of the words count as unknown: the recogniser lacks symbols "
        f"({symbols}); `sori lm build --model` lists them"
    )
