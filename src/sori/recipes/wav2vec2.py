"""Pre-training wav2vec 2.0, by size.

An update of the papers hears 1.6 h (BASE) or 2.7 h (LARGE) of audio on 64 or 128 GPUs. Here one process holds
`data.batch_seconds` at a time and adds up `train.num_accumulate` micro-batches; together they make the published hours
an update. With N processes under `torchrun`, divide `num_accumulate` by N.
"""

from sori.data.batches.sampler import DataConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.recipes import sizes
from sori.recipes.recipe import SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def wav2vec2_tiny() -> SpeechRecipe:
    """Our smallest useful size (2 M parameters): some hours of speech, two CPU cores, about twenty minutes.

    Expected: on six hours of read English, 69 hours heard, the loss of hidden frames falls to 3.5 nats and that of
    visible ones to 1.4 (a guess: 4.615). What that is worth in letter errors stands in `docs/results.md`.

    Command: `sori train wav2vec2_tiny --data PREPARED --into runs/tiny`. Two processes of one thread each are faster
    than one of two threads: `OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m sori train wav2vec2_tiny --data PREPARED
    --into runs/tiny --data.batch-seconds 12`
    """
    return SpeechRecipe(
        name="wav2vec2_tiny",
        system=sizes.tiny(),
        data=DataConfig(batch_seconds=24.0),
        optim=OptimConfig(lr=2e-3, max_norm=1.0),
        schedule=ScheduleConfig(),
        train=TrainConfig(num_steps=12_000, save_every_steps=500),
    )


def wav2vec2_small() -> SpeechRecipe:
    """Our next size (15 M parameters): tens of hours of speech, one GPU, or patience. Not yet tuned.

    Expected: below `wav2vec2_tiny` on the same data, at about seven times the work.

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
    """BASE as published (95 M): LibriSpeech, 960 h, 400,000 updates of 1.6 h (arXiv 2006.11477, section 4.2).

    Expected: fine-tuned on 10 minutes, 46.9 / 50.9 % WER on test-clean / test-other without a language model (table 1).
    The paper took 64 V100 GPUs for 1.6 days; one GPU needs the same 640,000 h of audio, thus months. For a single GPU
    lower `train.num_accumulate` and, in proportion, `optim.lr`.

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
    """LARGE as published (317 M): LibriSpeech, 960 h, 250,000 updates of 2.7 h (arXiv 2006.11477, section 4.2).

    Expected: fine-tuned on 10 minutes, 43.5 / 45.3 % WER without a language model (table 1). The paper took 128 V100
    GPUs for 2.3 days.

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
    """LARGE as published for LibriVox (317 M): 53,200 h, 600,000 updates of 2.7 h (arXiv 2006.11477, section 4.2).

    Expected: fine-tuned on 10 minutes, 40.2 / 38.7 % WER without a language model (table 1). The paper took 128 V100
    GPUs for 5.2 days. Learning rate: the paper's 3e-4 (the public configuration file says 5e-3).

    Command: `sori train wav2vec2_lv60k --data PREPARED --into runs/lv60k`
    """
    recipe = wav2vec2_large()
    train = recipe.train.model_copy(update={"num_steps": 600_000})
    schedule = ScheduleConfig(warmup_fraction=32_000 / 600_000)
    changes = {"name": "wav2vec2_lv60k", "system": sizes.lv60k(), "train": train, "schedule": schedule}
    return recipe.model_copy(update=changes)


def wav2vec2_xlsr_tiny() -> SpeechRecipe:
    """`wav2vec2_tiny` for several languages, the small ones favoured as in XLSR: some hours, two CPU cores.

    Utterances from 1 s on are heard, so that word lists of a language with little else count.

    Expected: what it is worth beside English alone stands in `docs/systems/xlsr.md`.

    Command: `sori train wav2vec2_xlsr_tiny --data ENGLISH --data MBOSHI --data KOREAN --into runs/xlsr_tiny`
    """
    return _balanced(wav2vec2_tiny(), "wav2vec2_xlsr_tiny").override({"data.min_seconds": 1.0})


def wav2vec2_xlsr_base() -> SpeechRecipe:
    """XLSR Base (95 M), as `wav2vec2_base`, for ten languages of CommonVoice (arXiv 2006.13979).

    Expected: 13.6 % phoneme errors on average over the ten languages, with an hour of labels each. The paper's updates
    and learning rate are told in contradictory ways; these are `wav2vec2_base`'s.

    Command: `sori train wav2vec2_xlsr_base --data PREPARED --into runs/xlsr_base`
    """
    return _balanced(wav2vec2_base(), "wav2vec2_xlsr_base")


def wav2vec2_xlsr_large() -> SpeechRecipe:
    """XLSR-10 Large (317 M), as `wav2vec2_large`, for ten languages (arXiv 2006.13979).

    Expected: 12.3 % phoneme errors on average over ten languages of CommonVoice, with an hour of labels each.

    Command: `sori train wav2vec2_xlsr_large --data PREPARED --into runs/xlsr_large`
    """
    return _balanced(wav2vec2_large(), "wav2vec2_xlsr_large")


def wav2vec2_xlsr_300m() -> SpeechRecipe:
    """XLSR-53's and XLS-R's smallest size (317 M) with the training settings of `wav2vec2_lv60k`.

    For recordings of several languages that tell their language: small ones are favoured as in the papers (arXiv
    2006.13979, section 2; arXiv 2111.09296), all of one corpus. `--data.language-exponent null` hears each recording
    once an epoch instead, as is right for a single language.

    Expected: XLSR-53, on 56,000 h of 53 languages, 7.6 % phoneme errors on average over ten languages of CommonVoice.

    Command: `sori train wav2vec2_xlsr_300m --data PREPARED --into runs/xlsr_300m`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_300m", sizes.xlsr_300m())


def wav2vec2_xlsr_1b() -> SpeechRecipe:
    """XLS-R 1B (966 M parameters) with the training settings of `wav2vec2_lv60k` and languages in balance; 80 GB.

    Command: `sori train wav2vec2_xlsr_1b --data PREPARED --into runs/xlsr_1b`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_1b", sizes.xlsr_1b())


def wav2vec2_xlsr_2b() -> SpeechRecipe:
    """XLS-R 2B (2.2 G parameters) with the training settings of `wav2vec2_lv60k` and languages in balance.

    For several GPUs of 80 GB.

    Command: `torchrun --nproc-per-node 8 -m sori train wav2vec2_xlsr_2b --data PREPARED --into runs/xlsr_2b
    --train.num-accumulate 16`
    """
    return _balanced(wav2vec2_lv60k(), "wav2vec2_xlsr_2b", sizes.xlsr_2b())


def _balanced(recipe: SpeechRecipe, name: str, system: Wav2Vec2Config | None = None) -> SpeechRecipe:
    """Languages heard in proportion to the square root of their hours (XLSR, section 2)."""
    data = recipe.data.model_copy(update={"language_exponent": 0.5})
    changes = {"name": name, "system": system or recipe.system, "data": data}
    return recipe.model_copy(update=changes)
