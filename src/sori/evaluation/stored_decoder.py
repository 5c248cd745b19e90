"""Decode with the language model that is stored with a recogniser."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from sori.checkpoints import stored_lm
from sori.checkpoints.stored_lm import ARPA, StoredLm
from sori.core.log import logger
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.lm_decoder import lm_decoder
from sori.models.ctc import Ctc
from sori.models.factory import System

STORED: Final = "stored"
Decoder = BeamDecoder | Literal["stored"] | None
"""A beam search; None: greedy decoding; `stored`: with the language model stored with the recogniser, if it is used."""

_BUILT: WeakKeyDictionary[System, BeamDecoder] = WeakKeyDictionary()


def resolved(system: System, decoder: Decoder) -> BeamDecoder | None:
    """Return the beam search that a choice of decoder stands for, or None for greedy decoding; built once.

    Raises:
        ValueError, FileNotFoundError: the stored language model is damaged; see `StoredLm.ngrams`.
    """
    if decoder is None or isinstance(decoder, BeamDecoder):
        return decoder
    if system not in _BUILT:
        built = build(system)
        if built is None:
            return None
        _BUILT[system] = built
    return _BUILT[system]


def build(
    system: System, changes: Mapping[str, Any] | None = None, *, hot_words: Sequence[str] = ()
) -> BeamDecoder | None:
    """Return the beam search with the stored language model; None if there is none, or it is not used.

    Args:
        system: a loaded model.
        changes: settings of `BeamConfig` that differ from the stored ones.
        hot_words: words that get a bonus.

    Raises:
        ValueError, FileNotFoundError: the language model is damaged; see `StoredLm.ngrams`.
    """
    stored = stored_lm.attached(system)
    if stored is None or not stored.settings.used or not isinstance(system, Ctc) or system.vocabulary is None:
        return None
    settings = stored.settings
    data = {**settings.fusion.model_dump(), "beam_size": settings.beam_size, **(changes or {})}
    config = BeamConfig.from_data(data, origin="the set of decoding options")
    lm = stored.ngrams()
    try:
        decoder = lm_decoder(system.vocabulary, lm, config, hot_words=hot_words)
    except ValueError as error:
        raise ValueError(f"{stored.folder / ARPA}: {error}") from None
    logger.info(_about(stored, config))
    return decoder


def _about(stored: StoredLm, config: BeamConfig) -> str:
    tuning = stored.settings.tuning
    how = f"tuned on {tuning.split}" if tuning else "not tuned: there was no dev split"
    weights = f"weight {config.lm_weight:g}, word score {config.word_score:g}"
    return (
        f"decoding with the language model of {stored.folder} ({stored.settings.sources.distinct_words:,} words, "
        f"{weights}, {how}); without it: --lm none"
    )
