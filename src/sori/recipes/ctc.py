"""Recipes that fine-tune recognisers with CTC, by amount of transcribed speech.

`ctc_10min`, `ctc_1h` etc. hold settings tuned for `tiny` on a laptop. Those ending in `_base` and `_large` hold the
published settings for these sizes: mask spans and updates from the paper (arXiv 2006.11477, appendix B; its
probabilities per step are multiplied by the span length), learning rate, LayerDrop and frozen phase from the public
configuration file named in each recipe. An update processes the published 1,600 s (BASE, 8 GPUs) or 1,920 s (LARGE, 24
GPUs): one process accumulates `train.num_accumulate` micro-batches; with N processes, divide that by N.

All recipes but `_scratch` need a pre-trained model: `--init MODEL`. Published error rates are without a language model.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.ctc import CtcConfig
from sori.nn.mask import MaskConfig
from sori.recipes import sizes
from sori.recipes.recipe import LabelConfig, RecogniserRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def ctc_10min() -> RecogniserRecipe:
    """Fine-tune a pre-trained `tiny` on 10 minutes of transcribed speech; on a laptop, some minutes.

    Command: `sori train ctc_10min --data PREPARED --init runs/tiny --into runs/ctc_10min`
    """
    recipe = _laptop("ctc_10min", minutes=10.0, num_steps=2500, batch_seconds=12.0, speed_copies=True)
    return recipe.override({"encoder_changes.dropout": 0.2})  # ten minutes are soon memorised, an hour is not


def ctc_10min_xlsr_laptop() -> RecogniserRecipe:
    """Fine-tune a public model of 300 M parameters (XLS-R, MMS-300M) on 10 minutes of transcribed speech; on a laptop.

    The front end and the lower 12 of 24 blocks are computed once for each of three speeds; the upper 12 are trained.
    Needs less than three hours and 8 GiB on one or two cores with bfloat16 (`benchmarks/laptop.py`). Batches, updates
    and frozen blocks are chosen for that time, not tuned: no error rate was measured with a public model.

    Command: `sori train ctc_10min_xlsr_laptop --data PREPARED --init hf://facebook/wav2vec2-xls-r-300m --into
    runs/recogniser`
    """
    return RecogniserRecipe(
        name="ctc_10min_xlsr_laptop",
        system=CtcConfig(mask=MaskConfig(time_prob=0.2, time_length=10), frozen_blocks=12),
        cache_frozen=True,
        encoder_changes=_dropouts(0.0) | {"dropout": 0.1},
        labels=LabelConfig(minutes=10.0, speeds=(0.9, 1.0, 1.1), dev_minutes=3.0),
        data=DataConfig(batch_seconds=24.0),
        optim=OptimConfig(lr=3e-4, eps=1e-8, weight_decay=0.0, max_norm=30.0),
        schedule=_tri_stage(),
        train=TrainConfig(num_steps=1600, evaluate_every=400, keep_checkpoints=1),
    )


def ctc_10min_scratch() -> RecogniserRecipe:
    """Train a recogniser on 10 minutes of transcribed speech without pre-training, for comparison; on a laptop.

    Command: `sori train ctc_10min_scratch --data PREPARED --into runs/ctc_10min_scratch`
    """
    return _from_scratch(ctc_10min())


def ctc_1h() -> RecogniserRecipe:
    """Fine-tune a pre-trained `tiny` on 1 hour of transcribed speech; on a laptop.

    Command: `sori train ctc_1h --data PREPARED --init runs/tiny --into runs/ctc_1h`
    """
    return _laptop("ctc_1h", minutes=60.0, num_steps=3000, batch_seconds=24.0, speed_copies=True)


def ctc_1h_scratch() -> RecogniserRecipe:
    """Train a recogniser on 1 hour of transcribed speech without pre-training, for comparison; on a laptop.

    Command: `sori train ctc_1h_scratch --data PREPARED --into runs/ctc_1h_scratch`
    """
    return _from_scratch(ctc_1h())


def ctc_10h() -> RecogniserRecipe:
    """Fine-tune a pre-trained `tiny` or `small` on 10 hours of transcribed speech; on a laptop, or one GPU for `small`.

    Command: `sori train ctc_10h --data PREPARED --init runs/tiny --into runs/ctc_10h`
    """
    return _laptop("ctc_10h", minutes=600.0, num_steps=10_000, batch_seconds=48.0, speed_copies=False)


def ctc_10h_scratch() -> RecogniserRecipe:
    """Train a recogniser on 10 hours of transcribed speech without pre-training, for comparison; on a laptop.

    Command: `sori train ctc_10h_scratch --data PREPARED --into runs/ctc_10h_scratch`
    """
    return _from_scratch(ctc_10h())


def ctc_100h() -> RecogniserRecipe:
    """Fine-tune a pre-trained `tiny` or `small` on 100 hours of transcribed speech; on one GPU.

    Command: `sori train ctc_100h --data PREPARED --init runs/small --into runs/ctc_100h`
    """
    return _laptop("ctc_100h", minutes=6000.0, num_steps=30_000, batch_seconds=96.0, speed_copies=False)


def ctc_960h() -> RecogniserRecipe:
    """Fine-tune a pre-trained `small` on all transcribed speech, hundreds of hours; on one GPU.

    Command: `sori train ctc_960h --data PREPARED --init runs/small --into runs/ctc_960h`
    """
    return _laptop("ctc_960h", minutes=None, num_steps=100_000, batch_seconds=96.0, speed_copies=False)


def ctc_10min_base() -> RecogniserRecipe:
    """Fine-tune BASE on 10 minutes of LibriSpeech as published; 8 GPUs.

    Command: `sori train ctc_10min_base --data PREPARED --init runs/base --into runs/ctc_10min_base`
    """
    return _base("ctc_10min_base", 10.0, mask=_mask(0.75, 0.512), num_steps=12_000, layerdrop=0.1)


def ctc_1h_base() -> RecogniserRecipe:
    """Fine-tune BASE on 1 hour of LibriSpeech as published; 8 GPUs.

    Command: `sori train ctc_1h_base --data PREPARED --init runs/base --into runs/ctc_1h_base`
    """
    return _base("ctc_1h_base", 60.0, mask=_mask(0.75, 0.256), num_steps=13_000, layerdrop=0.1)


def ctc_10h_base() -> RecogniserRecipe:
    """Fine-tune BASE on 10 hours of LibriSpeech as published; 8 GPUs.

    Command: `sori train ctc_10h_base --data PREPARED --init runs/base --into runs/ctc_10h_base`
    """
    return _base("ctc_10h_base", 600.0, mask=_mask(0.65, 0.256), num_steps=20_000, layerdrop=0.05)


def ctc_100h_base() -> RecogniserRecipe:
    """Fine-tune BASE on 100 hours of LibriSpeech as published; 8 GPUs.

    Command: `sori train ctc_100h_base --data PREPARED --init runs/base --into runs/ctc_100h_base`
    """
    return _base(
        "ctc_100h_base", 6000.0, mask=_mask(0.5, 0.512), num_steps=50_000, layerdrop=0.1, lr=3e-5, freeze_steps=0
    )


def ctc_960h_base() -> RecogniserRecipe:
    """Fine-tune BASE on all of LibriSpeech (960 hours) as published; 8 GPUs.

    Command: `sori train ctc_960h_base --data PREPARED --init runs/base --into runs/ctc_960h_base`
    """
    return _base(
        "ctc_960h_base", None, mask=_mask(0.5, 0.102), num_steps=320_000, layerdrop=0.1, lr=1e-4, freeze_steps=0
    )


def ctc_10min_large() -> RecogniserRecipe:
    """Fine-tune LARGE (pre-trained on LibriVox) on 10 minutes of LibriSpeech as published; 24 GPUs.

    Command: `sori train ctc_10min_large --data PREPARED --init runs/lv60k --into runs/ctc_10min_large`
    """
    return _large("ctc_10min_large", 10.0, mask=_mask(0.75, 0.512), num_steps=12_000, lr=1e-4)


def ctc_1h_large() -> RecogniserRecipe:
    """Fine-tune LARGE (pre-trained on LibriVox) on 1 hour of LibriSpeech as published; 24 GPUs.

    Command: `sori train ctc_1h_large --data PREPARED --init runs/lv60k --into runs/ctc_1h_large`
    """
    return _large("ctc_1h_large", 60.0, mask=_mask(0.75, 0.256), num_steps=13_000, lr=3e-4)


def ctc_10h_large() -> RecogniserRecipe:
    """Fine-tune LARGE (pre-trained on LibriVox) on 10 hours of LibriSpeech as published; 24 GPUs.

    Command: `sori train ctc_10h_large --data PREPARED --init runs/lv60k --into runs/ctc_10h_large`
    """
    return _large("ctc_10h_large", 600.0, mask=_mask(0.65, 0.256), num_steps=20_000, lr=1e-4)


def ctc_100h_large() -> RecogniserRecipe:
    """Fine-tune LARGE (pre-trained on LibriVox) on 100 hours of LibriSpeech as published; 24 GPUs.

    Command: `sori train ctc_100h_large --data PREPARED --init runs/lv60k --into runs/ctc_100h_large`
    """
    return _large("ctc_100h_large", 6000.0, mask=_mask(0.5, 0.512), num_steps=50_000, lr=3e-5)


def ctc_960h_large() -> RecogniserRecipe:
    """Fine-tune LARGE (pre-trained on LibriVox) on all of LibriSpeech (960 hours) as published; 24 GPUs.

    Command: `sori train ctc_960h_large --data PREPARED --init runs/lv60k --into runs/ctc_960h_large`
    """
    return _large("ctc_960h_large", None, mask=_mask(0.5, 0.102), num_steps=320_000, lr=3e-5)


def _mask(time_prob: float, channel_prob: float) -> MaskConfig:
    return MaskConfig(time_prob=time_prob, time_length=10, channel_prob=channel_prob, channel_length=64)


def _tri_stage() -> ScheduleConfig:
    """Return the schedule that rises over 10 % of the run, holds for 40 %, falls to 5 % (paper, section 4.3)."""
    return ScheduleConfig(kind="tri_stage", warmup_fraction=0.1, hold_fraction=0.4, final_factor=0.05)


def _laptop(
    name: str, *, minutes: float | None, num_steps: int, batch_seconds: float, speed_copies: bool
) -> RecogniserRecipe:
    """Return a recipe with small batches and no masks: both shorten the blank plateau.

    The masks of the paper (appendix B) keep a public model from memorising. `tiny` learns ten minutes in half of the
    updates without them, and ends no worse on any corpus that was tried (docs/results/ten-minutes.md).

    With a blank that is likely at first, training depends less on the seed: with one minute of clean speech and random
    weights, two seeds reach a CER of 23 and 25 % on dev, without it 31 and 76 % (docs/results/ten-minutes.md).

    A warped mel axis (vocal tract length perturbation) does not prolong the plateau. An hour of transcripts is learnt
    sooner with Muon and without a lower rate for the encoder (CER on dev after 2,100 updates: 45 instead of 48 %); ten
    minutes are only memorised sooner (55 instead of 53 %; docs/results/ten-minutes.md). More than five hours were not
    measured.
    """
    much = minutes is None or minutes >= _MUCH_MINUTES
    return RecogniserRecipe(
        name=name,
        system=CtcConfig(
            mask=MaskConfig(time_prob=0.0, warp=0.15),
            encoder_lr_factor=1.0 if much else 0.5,
            feature_gradient=1.0,
            first_blank=0.5,
        ),
        encoder_changes={"dropout": 0.1},
        labels=LabelConfig(minutes=minutes, speeds=(0.9, 1.0, 1.1) if speed_copies else (1.0,)),
        data=DataConfig(batch_seconds=batch_seconds),
        optim=OptimConfig(lr=2e-3, eps=1e-8, max_norm=30.0).model_copy(update=_MUON if much else {}),
        schedule=_tri_stage(),
        train=TrainConfig(num_steps=num_steps, evaluate_every=max(250, num_steps // 10)),
    )


_MUCH_MINUTES = 60.0
"""Transcribed minutes from which a pre-trained encoder is trained with Muon, too."""
_MUON = {"kind": "muon", "momentum": 0.95}


def _from_scratch(recipe: RecogniserRecipe) -> RecogniserRecipe:
    """Return the recipe with random initialisation, one learning rate, and Muon.

    AdamW hardly leaves random weights in these few updates when there is more than ten minutes to learn: after 1,500
    updates with an hour of LibriSpeech, CER on dev is 72 % with AdamW, 54 % with Muon (docs/results/ten-minutes.md).
    """
    changes = {"name": f"{recipe.name}_scratch", "system.encoder_lr_factor": 1.0}
    optim = recipe.optim.model_copy(update=_MUON)
    return recipe.override(changes).model_copy(update={"encoder": sizes.tiny(), "optim": optim})


def _base(
    name: str,
    minutes: float | None,
    *,
    mask: MaskConfig,
    num_steps: int,
    layerdrop: float,
    lr: float = 5e-5,
    freeze_steps: int = 10_000,
) -> RecogniserRecipe:
    return RecogniserRecipe(
        name=name,
        system=CtcConfig(mask=mask, freeze_steps=freeze_steps),
        encoder_changes=_dropouts(layerdrop),
        labels=LabelConfig(minutes=minutes, case="upper"),
        data=DataConfig(batch_seconds=200.0),
        optim=OptimConfig(lr=lr, eps=1e-8, weight_decay=0.0),
        schedule=_tri_stage(),
        train=TrainConfig(num_steps=num_steps, num_accumulate=8, evaluate_every=1000),
    )


def _large(name: str, minutes: float | None, *, mask: MaskConfig, num_steps: int, lr: float) -> RecogniserRecipe:
    recipe = _base(name, minutes, mask=mask, num_steps=num_steps, layerdrop=0.1, lr=lr)
    changes = {
        "data": DataConfig(batch_seconds=80.0),
        "train": recipe.train.model_copy(update={"num_accumulate": 24}),
    }
    return recipe.model_copy(update=changes)


def _dropouts(layerdrop: float) -> dict[str, float]:
    """Return dropout inside the feed-forward networks only (all public fine-tuning files)."""
    return {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "activation_dropout": 0.1} | {
        "layerdrop": layerdrop
    }
