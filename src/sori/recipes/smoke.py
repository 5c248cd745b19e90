"""Smoke-test recipes: one toy model per system, trained in seconds on a CPU."""

from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentConfig
from sori.data.batches.sentence_pairs import TextsConfig
from sori.models.ctc import CtcConfig
from sori.models.encoders import VqCodeBertConfig
from sori.models.speech2vec import Speech2VecConfig
from sori.models.vq_wav2vec import VqWav2VecConfig
from sori.models.wav2vec import Wav2VecConfig
from sori.nn.mask import MaskConfig
from sori.nn.spectral import LogMelConfig
from sori.recipes import bert, cpc, simclr, sizes
from sori.recipes.recipe import LabelConfig, RecogniserRecipe, SpeechRecipe, SpokenWordRecipe, TextRecipe
from sori.text.wordpiece import WordPieceConfig
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def wav2vec2_smoke() -> SpeechRecipe:
    """Check that wav2vec 2.0 pre-training runs: a toy model on a little speech; seconds on a CPU.

    Expected: on pure tones the loss falls from chance level, 2.4 nats, below 1.9; too small to be useful on speech.

    Command: `sori train wav2vec2_smoke --data PREPARED --into runs/smoke`
    """
    return SpeechRecipe(
        name="wav2vec2_smoke",
        # spans shorter than a tone, so that masked frames are predictable from their context
        system=sizes.smoke().model_copy(update={"mask": MaskConfig(time_prob=0.3, time_length=3)}),
        data=DataConfig(batch_seconds=10.0, max_crop_seconds=3.0, min_seconds=1.0, num_buckets=2),
        optim=OptimConfig(lr=1e-2, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def cpc_smoke() -> SpeechRecipe:
    """Check that CPC pre-training runs: a toy model on a little speech; seconds on a CPU.

    Expected: on pure tones the loss falls from chance level, 2.4 nats, below 1.9; too small to be useful on speech.

    Command: `sori train cpc_smoke --data PREPARED --into runs/smoke`
    """
    return SpeechRecipe(
        name="cpc_smoke",
        system=cpc.smoke(),
        data=DataConfig(batch_seconds=10.0, max_crop_seconds=1.5, min_seconds=1.5, num_buckets=1),
        optim=OptimConfig(lr=1e-2, weight_decay=0.0, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def simclr_smoke() -> SpeechRecipe:
    """Check that SimCLR pre-training runs: a toy model on a little speech; seconds on a CPU.

    Expected: on pure tones the loss falls below 0.9 of chance level; too small to be useful on speech.

    Command: `sori train simclr_smoke --data PREPARED --into runs/smoke`
    """
    return SpeechRecipe(
        name="simclr_smoke",
        system=simclr.smoke(),
        data=DataConfig(batch_seconds=24.0, max_crop_seconds=1.5, min_seconds=1.5, num_buckets=1),
        optim=OptimConfig(lr=1e-2, weight_decay=0.0, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def wav2vec_smoke() -> SpeechRecipe:
    """Check that wav2vec pre-training runs: a toy model on log-mel features of a little speech; seconds on a CPU.

    Expected: on pure tones the loss falls below 2.8 nats (chance level: 3.35); too small to be useful on speech.

    Command: `sori train wav2vec_smoke --data PREPARED --into runs/wav2vec_smoke`
    """
    return SpeechRecipe(
        name="wav2vec_smoke",
        system=Wav2VecConfig(
            spectrum=LogMelConfig(num_mels=20),
            dim=64,
            encoder_kernels=(1,),
            encoder_strides=(1,),
            context_kernels=(2, 3, 4),
            skip=True,
            num_ahead=2,
            exclusion="fixed",
        ),
        data=DataConfig(batch_seconds=10.0, max_crop_seconds=3.0, min_seconds=1.0, num_buckets=2),
        optim=OptimConfig(lr=5e-3, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def vq_wav2vec_smoke() -> SpeechRecipe:
    """Check that vq-wav2vec pre-training runs: a toy model on log-mel features of a little speech; seconds on a CPU.

    Expected: on pure tones the loss falls below 3.1 nats (chance level: 3.35); too small to be useful on speech.

    Command: `sori train vq_wav2vec_smoke --data PREPARED --into runs/vq_wav2vec_smoke`
    """
    toy = wav2vec_smoke()
    return toy.model_copy(
        update={
            "name": "vq_wav2vec_smoke",
            "optim": OptimConfig(lr=1e-2, max_norm=5.0),
            "system": VqWav2VecConfig(
                spectrum=LogMelConfig(num_mels=20),
                dim=32,
                encoder_kernels=(1,),
                encoder_strides=(1,),
                context_kernels=(2, 3, 4),
                num_ahead=2,
                num_codes=8,
                quantizer_hidden=0,
                shared=False,
                start_sharpness=2.0,
                diversity_weight=1.0,
                gumbel_updates=100,
                exclusion="fixed",
            ),
        }
    )


def code_bert_smoke() -> SpeechRecipe:
    """Check that BERT over units runs: a toy model over the units of `vq_wav2vec_smoke`; seconds on a CPU.

    Expected: on pure tones the loss falls below 0.8 of chance level; too small to be useful on speech.

    Command: `sori train code_bert_smoke --data PREPARED --init runs/vq_wav2vec_smoke --into runs/code_bert_smoke`
    """
    units = vq_wav2vec_smoke().system
    assert isinstance(units, VqWav2VecConfig)  # noqa: S101 - see above
    size = {"dim": 32, "num_layers": 2, "num_heads": 2, "ffn_dim": 64, "position_kernel": 15, "position_groups": 4}
    return SpeechRecipe(
        name="code_bert_smoke",
        system=VqCodeBertConfig(
            units=units,
            num_tokens=40,
            pre_norm=True,
            init="width",
            dropout=0.0,
            attention_dropout=0.0,
            mask=MaskConfig(time_prob=0.3, time_length=3),
            **size,
        ),
        data=DataConfig(batch_seconds=10.0, min_seconds=1.0, num_buckets=2),
        optim=OptimConfig(lr=1e-2, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def ctc_smoke() -> RecogniserRecipe:
    """Check that fine-tuning runs: a toy recogniser on a little transcribed speech; seconds on a CPU.

    Starts from random weights or from `--init`. Without language model, whose tuning would take longer than the
    training; `--labels.lm word` makes one. Expected: on pure tones a CER below 40 %; too small to be useful on
    speech.

    Command: `sori train ctc_smoke --data PREPARED --into runs/ctc_smoke`
    """
    return RecogniserRecipe(
        name="ctc_smoke",
        system=CtcConfig(mask=MaskConfig(time_prob=0.05, time_length=2)),
        encoder=sizes.smoke(),
        labels=LabelConfig(lm="none"),
        data=DataConfig(batch_seconds=10.0, num_buckets=2),
        optim=OptimConfig(lr=1e-2, eps=1e-8, max_norm=5.0),
        schedule=ScheduleConfig(kind="tri_stage", warmup_fraction=0.1, hold_fraction=0.4, final_factor=0.05),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def speech2vec_smoke() -> SpokenWordRecipe:
    """Check that Speech2Vec runs: a toy model on a few spoken words; seconds on a CPU.

    Expected: on pure tones the squared error falls below half of `chance`.

    Command: `sori train speech2vec_smoke --data PREPARED --into runs/words_smoke`
    """
    return SpokenWordRecipe(
        name="speech2vec_smoke",
        system=Speech2VecConfig(dim=16),
        segments=SegmentConfig(window=2),
        data=DataConfig(batch_seconds=10.0, num_buckets=2),
        optim=OptimConfig(lr=1e-2, eps=1e-8, weight_decay=0.0, max_norm=5.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=150, log_every=25, precision="float32"),
    )


def bert_smoke() -> TextRecipe:
    """Check that BERT pre-training runs: a toy model on a little text; seconds on a CPU.

    Expected: on sentences of a few words the loss per masked word falls below the unigram entropy.

    Command: `sori train bert_smoke --data TEXTS --into runs/bert_smoke`
    """
    return TextRecipe(
        name="bert_smoke",
        system=bert.smoke(),
        texts=TextsConfig(wordpiece=WordPieceConfig(num_tokens=200), batch_size=16, max_tokens=32),
        optim=OptimConfig(lr=5e-3, max_norm=1.0, decay_vectors=False),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=300, log_every=25, precision="float32"),
    )
