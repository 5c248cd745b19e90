"""Recipes that pre-train wav2vec 2.0, by size.

An update of the papers processes 1.6 h (BASE) or 2.7 h (LARGE) of audio on 64 or 128 GPUs. Here one process accumulates
`train.num_accumulate` micro-batches of `data.batch_seconds`, which together give the published hours per update. With N
processes under `torchrun`, divide `train.num_accumulate` by N.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.recipes import sizes
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def wav2vec2_tiny() -> SpeechRecipe:
    """Pre-train wav2vec 2.0 tiny (2 M parameters) on some hours of speech; one CPU core, a quarter of an hour.

    Muon instead of the paper's AdamW: a lower loss after as many updates, which pays from an hour of transcripts on
    (`docs/results/ten-minutes.md`).

    Expected: on one to 28 hours of English, the loss of masked frames falls to 3.0 nats (chance level: 4.615). Three
    times as many updates (2.8 nats) were not better for ten minutes or an hour of transcripts
    (`docs/results/ten-minutes.md`).

    Command: `sori train wav2vec2_tiny --data PREPARED --into runs/tiny`. Two processes of one thread each are faster
    than one of two threads: `OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sori train wav2vec2_tiny --data PREPARED
    --into runs/tiny --data.batch-seconds 12`
    """
    return SpeechRecipe(
        name="wav2vec2_tiny",
        system=sizes.tiny(),
        data=DataConfig(batch_seconds=24.0),
        optim=OptimConfig(kind="muon", lr=2e-3, momentum=0.95, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=4_000, save_every_steps=500),
    )


def wav2vec2_small() -> SpeechRecipe:
    """Pre-train wav2vec 2.0 small (12 M parameters) on tens of hours of speech; one GPU, or one core for hours.

    Expected: on 28 hours of English, with 12,000 updates of 24 s (72 hours processed), a CER of 48 % on test-clean with
    ten minutes of labels, two points below `wav2vec2_tiny` (`docs/results/ten-minutes.md`). Not yet tuned.

    Command: `sori train wav2vec2_small --data PREPARED --into runs/small`
    """
    return SpeechRecipe(
        name="wav2vec2_small",
        system=sizes.small(),
        data=DataConfig(batch_seconds=96.0, max_crop_seconds=12.0, min_seconds=1.0),
        optim=OptimConfig(lr=1e-3, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=40_000),
    )


def wav2vec2_base() -> SpeechRecipe:
    """Pre-train wav2vec 2.0 BASE as published (95 M parameters) on 960 h of LibriSpeech; the paper used 64 GPUs.

    400,000 updates of 1.6 h (arXiv 2006.11477, section 4.2). Expected: fine-tuned on 10 minutes, WER of 46.9 / 50.9 %
    on test-clean / test-other without a language model (table 1). The paper used 64 V100 GPUs for 1.6 days; one GPU
    needs months for the same 640,000 h of audio. On a single GPU lower `train.num_accumulate` and, in proportion,
    `optim.lr`.

    Command: `sori train wav2vec2_base --data PREPARED --into runs/base`
    """
    return SpeechRecipe(
        name="wav2vec2_base",
        system=sizes.base(),
        data=DataConfig(batch_seconds=87.5, max_crop_seconds=15.625, min_seconds=2.0),
        optim=OptimConfig(lr=5e-4),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=400_000, num_accumulate=64),
    )


def wav2vec2_large() -> SpeechRecipe:
    """Pre-train wav2vec 2.0 LARGE as published (317 M parameters) on 960 h of LibriSpeech; the paper used 128 GPUs.

    250,000 updates of 2.7 h (arXiv 2006.11477, section 4.2), 2.3 days on 128 V100 GPUs. Expected: fine-tuned on 10
    minutes, WER of 43.5 / 45.3 % on test-clean / test-other without a language model (table 1).

    Command: `sori train wav2vec2_large --data PREPARED --into runs/large`
    """
    return SpeechRecipe(
        name="wav2vec2_large",
        system=sizes.large(),
        data=DataConfig(batch_seconds=75.0, max_crop_seconds=20.0, min_seconds=2.0),
        optim=OptimConfig(lr=3e-4),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=250_000, num_accumulate=128),
    )


def wav2vec2_lv60k() -> SpeechRecipe:
    """Pre-train wav2vec 2.0 LARGE as published (317 M parameters) on 53,200 h of LibriVox; the paper used 128 GPUs.

    600,000 updates of 2.7 h (arXiv 2006.11477, section 4.2), 5.2 days on 128 V100 GPUs. Expected: fine-tuned on 10
    minutes, WER of 40.2 / 38.7 % on test-clean / test-other without a language model (table 1). Learning rate: the
    paper's 3e-4 (5e-3 in the public configuration file).

    Command: `sori train wav2vec2_lv60k --data PREPARED --into runs/lv60k`
    """
    recipe = wav2vec2_large()
    train = recipe.train.model_copy(update={"num_steps": 600_000})
    schedule = ScheduleConfig(warmup_fraction=32_000 / 600_000)
    changes = {"name": "wav2vec2_lv60k", "system": sizes.lv60k(), "train": train, "schedule": schedule}
    return recipe.model_copy(update=changes)


def wav2vec2_xlsr_tiny() -> SpeechRecipe:
    """Pre-train `wav2vec2_tiny` on some hours of several languages, balanced as in XLSR; two CPU cores.

    Uses utterances from 1 s on, to include word lists of languages with little other data.

    Expected: see `docs/systems/xlsr.md` for a comparison with English alone.

    Command: `sori train wav2vec2_xlsr_tiny --data ENGLISH --data MBOSHI --data KOREAN --into runs/xlsr_tiny`
    """
    return _balanced(wav2vec2_tiny(), "wav2vec2_xlsr_tiny").override({"data.min_seconds": 1.0})


def wav2vec2_xlsr_base() -> SpeechRecipe:
    """Pre-train XLSR Base (95 M parameters) on ten languages of CommonVoice; for many GPUs, as `wav2vec2_base`.

    Source: arXiv 2006.13979. Expected: mean phoneme error rate of 13.6 % over the ten languages, fine-tuned on one hour
    each. The paper is contradictory about updates and learning rate; these are those of `wav2vec2_base`.

    Command: `sori train wav2vec2_xlsr_base --data PREPARED --into runs/xlsr_base`
    """
    return _balanced(wav2vec2_base(), "wav2vec2_xlsr_base")


def wav2vec2_xlsr_large() -> SpeechRecipe:
    """Pre-train XLSR-10 Large (317 M parameters) on ten languages; for many GPUs, as `wav2vec2_large`.

    Source: arXiv 2006.13979. Expected: mean phoneme error rate of 12.3 % over ten languages of CommonVoice, fine-tuned
    on one hour each.

    Command: `sori train wav2vec2_xlsr_large --data PREPARED --into runs/xlsr_large`
    """
    return _balanced(wav2vec2_large(), "wav2vec2_xlsr_large")


def wav2vec2_xlsr_300m() -> SpeechRecipe:
    """Pre-train XLSR-53 / XLS-R 0.3B (317 M parameters) on many languages, as `wav2vec2_lv60k`; for many GPUs.

    Needs recordings with language labels: languages with little data are oversampled as in the papers (arXiv
    2006.13979, section 2; arXiv 2111.09296), in one corpus. For a single language use `--data.language-exponent null`,
    which samples each recording once per epoch.

    Expected: XLSR-53, on 56,000 h of 53 languages, has a mean phoneme error rate of 7.6 % over ten languages of
    CommonVoice.

    Command: `sori train wav2vec2_xlsr_300m --data PREPARED --into runs/xlsr_300m`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_300m", sizes.xlsr_300m())


def wav2vec2_xlsr_1b() -> SpeechRecipe:
    """Pre-train XLS-R 1B (966 M parameters) on many languages, as `wav2vec2_lv60k`; for GPUs of 80 GB.

    Command: `sori train wav2vec2_xlsr_1b --data PREPARED --into runs/xlsr_1b`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_1b", sizes.xlsr_1b())


def wav2vec2_xlsr_2b() -> SpeechRecipe:
    """Pre-train XLS-R 2B (2.2 G parameters) on many languages, as `wav2vec2_lv60k`; for several GPUs of 80 GB.

    Command: `torchrun --nproc-per-node 8 -m sori train wav2vec2_xlsr_2b --data PREPARED --into runs/xlsr_2b
    --train.num-accumulate 16`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_2b", sizes.xlsr_2b())


def _balanced(recipe: SpeechRecipe, name: str, system: Wav2Vec2Config | None = None) -> SpeechRecipe:
    """Return the recipe with languages sampled in proportion to the square root of their hours (XLSR, section 2)."""
    data = recipe.data.model_copy(update={"language_exponent": 0.5})
    changes = {"name": name, "system": system or recipe.system, "data": data}
    return recipe.model_copy(update=changes)
