"""Fine-tuning with CTC, by amount of transcribed speech.

`ctc_10min` and its kin carry our values, found for `tiny` on a laptop. Those ending in `_base` and `_large` carry the
published values for these sizes: hidden spans and updates from the paper (arXiv 2006.11477, appendix B, whose rates for
each step are multiplied by the length of a span), learning rate, LayerDrop and frozen phase from the public
configuration file named in each recipe. An update hears the published 1,600 s (BASE, 8 GPUs) or 1,920 s (LARGE, 24
GPUs); one process adds it up from `train.num_accumulate` micro-batches; with N processes divide that by N.

Every recipe takes a pre-trained model: `--init MODEL`. The published error rates are without a language model.
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
    """Ten minutes of transcripts over a pre-trained `tiny`, on a laptop: some minutes.

    Command: `sori train ctc_10min --data PREPARED --init runs/tiny --into runs/ctc_10min`
    """
    recipe = _laptop("ctc_10min", minutes=10.0, num_steps=3000, batch_seconds=12.0, more_voices=True)
    more_hidden = {"system.mask.time_prob": 0.3, "system.mask.channel_prob": 0.2, "encoder_changes.dropout": 0.1}
    return recipe.override(more_hidden)  # ten minutes are soon known by heart, an hour is not


def ctc_10min_scratch() -> RecogniserRecipe:
    """The same without pre-training, for comparison.

    Command: `sori train ctc_10min_scratch --data PREPARED --into runs/ctc_10min_scratch`
    """
    less_hidden = {"system.mask.time_prob": 0.1, "system.mask.channel_prob": 0.1}
    return _from_scratch(ctc_10min()).override(less_hidden)  # more prolongs the stay on the blank plateau


def ctc_1h() -> RecogniserRecipe:
    """An hour of transcripts over a pre-trained `tiny`, on a laptop.

    Command: `sori train ctc_1h --data PREPARED --init runs/tiny --into runs/ctc_1h`
    """
    return _laptop("ctc_1h", minutes=60.0, num_steps=3000, batch_seconds=24.0, more_voices=True)


def ctc_1h_scratch() -> RecogniserRecipe:
    """The same without pre-training, for comparison.

    Command: `sori train ctc_1h_scratch --data PREPARED --into runs/ctc_1h_scratch`
    """
    return _from_scratch(ctc_1h())


def ctc_10h() -> RecogniserRecipe:
    """Ten hours of transcripts over a pre-trained `tiny` or `small`.

    Command: `sori train ctc_10h --data PREPARED --init runs/tiny --into runs/ctc_10h`
    """
    return _laptop("ctc_10h", minutes=600.0, num_steps=10_000, batch_seconds=48.0, more_voices=False)


def ctc_10h_scratch() -> RecogniserRecipe:
    """The same without pre-training, for comparison.

    Command: `sori train ctc_10h_scratch --data PREPARED --into runs/ctc_10h_scratch`
    """
    return _from_scratch(ctc_10h())


def ctc_100h() -> RecogniserRecipe:
    """A hundred hours of transcripts over a pre-trained `tiny` or `small`.

    Command: `sori train ctc_100h --data PREPARED --init runs/small --into runs/ctc_100h`
    """
    return _laptop("ctc_100h", minutes=6000.0, num_steps=30_000, batch_seconds=96.0, more_voices=False)


def ctc_960h() -> RecogniserRecipe:
    """All the transcripts there are, hundreds of hours, over a pre-trained `small`.

    Command: `sori train ctc_960h --data PREPARED --init runs/small --into runs/ctc_960h`
    """
    return _laptop("ctc_960h", minutes=None, num_steps=100_000, batch_seconds=96.0, more_voices=False)


def ctc_10min_base() -> RecogniserRecipe:
    """BASE, ten minutes: 46.9 / 50.9 % WER on test-clean / test-other (paper, table 1); file base_10m.

    Command: `sori train ctc_10min_base --data PREPARED --init runs/base --into runs/ctc_10min_base`
    """
    return _base("ctc_10min_base", 10.0, mask=_mask(0.75, 0.512), num_steps=12_000, layerdrop=0.1)


def ctc_1h_base() -> RecogniserRecipe:
    """BASE, one hour: 24.5 / 29.7 % WER (paper, table 1); file base_1h.

    Command: `sori train ctc_1h_base --data PREPARED --init runs/base --into runs/ctc_1h_base`
    """
    return _base("ctc_1h_base", 60.0, mask=_mask(0.75, 0.256), num_steps=13_000, layerdrop=0.1)


def ctc_10h_base() -> RecogniserRecipe:
    """BASE, ten hours: 11.1 / 17.6 % WER (paper, table 1); file base_10h.

    Command: `sori train ctc_10h_base --data PREPARED --init runs/base --into runs/ctc_10h_base`
    """
    return _base("ctc_10h_base", 600.0, mask=_mask(0.65, 0.256), num_steps=20_000, layerdrop=0.05)


def ctc_100h_base() -> RecogniserRecipe:
    """BASE, a hundred hours: 6.1 / 13.3 % WER (paper, table 1); file base_100h, which freezes nothing.

    Command: `sori train ctc_100h_base --data PREPARED --init runs/base --into runs/ctc_100h_base`
    """
    return _base(
        "ctc_100h_base", 6000.0, mask=_mask(0.5, 0.512), num_steps=50_000, layerdrop=0.1, lr=3e-5, freeze_steps=0
    )


def ctc_960h_base() -> RecogniserRecipe:
    """BASE, all of LibriSpeech: 3.4 / 8.5 % WER (paper, table 1); file base_960h, which freezes nothing.

    Command: `sori train ctc_960h_base --data PREPARED --init runs/base --into runs/ctc_960h_base`
    """
    return _base(
        "ctc_960h_base", None, mask=_mask(0.5, 0.102), num_steps=320_000, layerdrop=0.1, lr=1e-4, freeze_steps=0
    )


def ctc_10min_large() -> RecogniserRecipe:
    """LARGE on LibriVox, ten minutes: 40.2 / 38.7 % WER (paper, table 1); file vox_10m.

    Command: `sori train ctc_10min_large --data PREPARED --init runs/lv60k --into runs/ctc_10min_large`
    """
    return _large("ctc_10min_large", 10.0, mask=_mask(0.75, 0.512), num_steps=12_000, lr=1e-4)


def ctc_1h_large() -> RecogniserRecipe:
    """LARGE on LibriVox, one hour: 17.2 / 20.3 % WER (paper, table 1); file vox_1h.

    Command: `sori train ctc_1h_large --data PREPARED --init runs/lv60k --into runs/ctc_1h_large`
    """
    return _large("ctc_1h_large", 60.0, mask=_mask(0.75, 0.256), num_steps=13_000, lr=3e-4)


def ctc_10h_large() -> RecogniserRecipe:
    """LARGE on LibriVox, ten hours: 6.3 / 10.0 % WER (paper, table 1); file vox_10h.

    Command: `sori train ctc_10h_large --data PREPARED --init runs/lv60k --into runs/ctc_10h_large`
    """
    return _large("ctc_10h_large", 600.0, mask=_mask(0.65, 0.256), num_steps=20_000, lr=1e-4)


def ctc_100h_large() -> RecogniserRecipe:
    """LARGE on LibriVox, a hundred hours: 3.1 / 6.3 % WER (paper, table 1); file vox_100h.

    Command: `sori train ctc_100h_large --data PREPARED --init runs/lv60k --into runs/ctc_100h_large`
    """
    return _large("ctc_100h_large", 6000.0, mask=_mask(0.5, 0.512), num_steps=50_000, lr=3e-5)


def ctc_960h_large() -> RecogniserRecipe:
    """LARGE on LibriVox, all of LibriSpeech: 2.2 / 4.5 % WER (paper, table 1); file vox_960h.

    Command: `sori train ctc_960h_large --data PREPARED --init runs/lv60k --into runs/ctc_960h_large`
    """
    return _large("ctc_960h_large", None, mask=_mask(0.5, 0.102), num_steps=320_000, lr=3e-5)


def _mask(time_prob: float, channel_prob: float) -> MaskConfig:
    return MaskConfig(time_prob=time_prob, time_length=10, channel_prob=channel_prob, channel_length=64)


def _tri_stage() -> ScheduleConfig:
    """Rise over a tenth of the run, hold for 40 %, fall to a twentieth (paper, section 4.3)."""
    return ScheduleConfig(kind="tri_stage", warmup_fraction=0.1, hold_fraction=0.4, final_factor=0.05)


def _laptop(
    name: str, *, minutes: float | None, num_steps: int, batch_seconds: float, more_voices: bool
) -> RecogniserRecipe:
    """Few letters hidden, batches small: both shorten the stay on the blank plateau."""
    return RecogniserRecipe(
        name=name,
        system=CtcConfig(
            mask=MaskConfig(time_prob=0.1, time_length=5, channel_prob=0.1, channel_length=16),
            encoder_lr_factor=0.5,
        ),
        encoder_changes={"dropout": 0.05},
        labels=LabelConfig(minutes=minutes, speeds=(0.9, 1.0, 1.1) if more_voices else (1.0,)),
        data=DataConfig(batch_seconds=batch_seconds),
        optim=OptimConfig(lr=3e-3, eps=1e-8, max_norm=30.0),
        schedule=_tri_stage(),
        train=TrainConfig(num_steps=num_steps, evaluate_every=max(250, num_steps // 10)),
    )


def _from_scratch(recipe: RecogniserRecipe) -> RecogniserRecipe:
    """From random weights a mix of layers does better than the last one, over a pre-trained encoder no better."""
    changes = {"name": f"{recipe.name}_scratch", "system.feature_gradient": 1.0, "system.read": "mix"}
    return recipe.override(changes).model_copy(update={"encoder": sizes.tiny()})


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
    """None but inside the feed-forward networks (all public fine-tuning files)."""
    return {"dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0, "activation_dropout": 0.1} | {
        "layerdrop": layerdrop
    }
