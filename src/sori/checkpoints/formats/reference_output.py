"""Compute the output of a model for a fixed input: the reproducible part of a certificate."""

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import Any

import torch

from sori.checkpoints.formats.imported import Model
from sori.checkpoints.formats.origin import HuggingFaceOrigin
from sori.core.batch import TokenBatch
from sori.core.shapes import Float, Tensor
from sori.models.bert import Bert, BertConfig
from sori.models.classifier import Classifier, ClassifierConfig
from sori.models.ctc import Ctc, CtcConfig
from sori.models.encoders import Encoder

TOKENS = "64 tokens, number i being token 37 i + 5 of the vocabulary, the last 32 of them a second segment"
"""Description of `fixed_tokens`."""
WAVEFORM = "2 s of sine sweeps from 100 to 3,000 Hz, 16 kHz"
"""Description of `fixed_waveform`."""


def fixed_waveform() -> Float[Tensor, " sample"]:
    """Return a waveform computed without random numbers, so that it is the same on every machine."""
    seconds = torch.arange(32_000, dtype=torch.float64) / 16_000
    waveform = torch.zeros_like(seconds)
    for low, high, loudness in ((100, 300, 0.1), (400, 1200, 0.05), (900, 3000, 0.02)):
        waveform += loudness * torch.sin(2 * math.pi * (low * seconds + (high - low) * seconds.square() / 4))
    return waveform.float()


def fixed_tokens(config: BertConfig) -> TokenBatch:
    """Return a sequence of tokens, at most as long as the model allows."""
    position = torch.arange(min(64, config.num_positions))
    ids, parts = (37 * position + 5) % config.num_tokens, (position >= len(position) // 2).long()
    return TokenBatch(ids[None], parts[None], torch.tensor([len(position)]), torch.tensor([[-1]]))


@torch.no_grad()
def compute(system: Encoder | Ctc | Bert | Classifier) -> Float[Tensor, "frame dim"]:
    """Return the logits of a recogniser or classifier, or the last layer of an encoder."""
    if isinstance(system, Bert):
        return system.context(*fixed_tokens(system.config)[:3])[-1][0]
    if isinstance(system, Classifier):
        assert isinstance(system.encoder, Bert)  # noqa: S101 - the only kind that `factory.build` puts there
        return system.logits(fixed_tokens(system.encoder.config))[0]
    waveform = fixed_waveform()[None]
    lengths = torch.tensor([waveform.shape[1]])
    return (
        system.logits(waveform, lengths) if isinstance(system, Ctc) else system.extract_features(waveform, lengths)
    ).data[0]


def summary(values: Float[Tensor, "frame dim"], *, of: str = WAVEFORM) -> dict[str, Any]:
    """Return a few numbers that are very unlikely to be equal for two different models."""
    return {
        "input": of,
        "shape": list(values.shape),
        "mean": round(float(values.double().mean()), 6),
        "deviation": round(float(values.double().std()), 6),
        "first": [round(float(value), 5) for value in values[0, :4]],
    }


@torch.no_grad()
def compute_with_transformers(folder: Path, model: Model, *, language: str | None) -> Float[Tensor, "frame dim"] | None:
    """Return the same output computed by transformers from the folder; None if it is not installed."""
    try:
        import transformers
    except ModuleNotFoundError:
        return None
    assert isinstance(model.origin, HuggingFaceOrigin)  # noqa: S101 - only called for folders written by transformers
    if model.wordpiece is not None:
        return _compute_bert(folder, model, transformers)
    front = model.wav2vec2_config.front
    assert front.kind == "conv"  # noqa: S101 - transformers supports no other
    waveform = fixed_waveform()[None]
    if front.normalize:
        waveform = (waveform - waveform.mean()) * (waveform.var(correction=0) + front.normalize_floor).rsqrt()
    is_ctc = isinstance(model.system, CtcConfig)
    kind: Any = transformers.Wav2Vec2ForCTC if is_ctc else transformers.Wav2Vec2Model
    options = {"target_lang": language, "ignore_mismatched_sizes": True} if language else {}
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        warnings.simplefilter("ignore")
        theirs = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    theirs.float().eval()
    if not is_ctc:
        return theirs(waveform).last_hidden_state[0]  # type: ignore[no-any-return]
    return theirs(waveform).logits[0][:, list(model.origin.order or ())]  # type: ignore[no-any-return]


def _compute_bert(folder: Path, model: Model, transformers: Any) -> Float[Tensor, "frame dim"]:
    match model.system:
        case ClassifierConfig(read="text"):
            kind = transformers.BertForSequenceClassification
        case ClassifierConfig():
            kind = transformers.BertForTokenClassification
        case _:
            kind = transformers.BertModel
    config = model.encoder or model.system
    assert isinstance(config, BertConfig)  # noqa: S101 - only BERT has word pieces
    batch = fixed_tokens(config)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # progress bars
        warnings.simplefilter("ignore")
        theirs = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    theirs.float().eval()
    given = {"input_ids": batch.ids, "token_type_ids": batch.parts}
    if model.encoder is None:
        return theirs(**given).last_hidden_state[0]  # type: ignore[no-any-return]
    logits = theirs(**given).logits
    return logits if logits.ndim == 2 else logits[0]  # type: ignore[no-any-return]
