"""A recipe: everything that decides what a run computes, as plain data."""

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from sori.core.config import Config
from sori.data.batches.sampler import DataConfig
from sori.data.batches.segment_pairs import SegmentConfig
from sori.data.batches.sentence_pairs import TextsConfig
from sori.data.sources.images import ImagesConfig
from sori.data.sources.labelled_texts import LabelledTextsConfig
from sori.models.factory import ReadConfig, SystemConfig
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig
from sori.training.watch import WatchConfig


class LabelConfig(Config):
    """Which transcripts a recogniser learns from, and how it writes."""

    minutes: float | None = Field(default=None, gt=0)
    """Learn from at most so many minutes, chosen from as many speakers as possible; None: from all there are."""
    seed: int = 0
    """Of the choice; another seed, other utterances."""
    unit: Literal["grapheme", "jamo"] = "jamo"
    """What one symbol is: a letter as a reader sees it, `jamo` with Hangul syllables cut into their letters."""
    case: Literal["upper", "lower", "keep"] = "lower"
    """`keep` writes capitals as transcribed, which doubles the alphabet of a cased script."""
    punctuation: Literal["drop", "keep"] = "drop"
    """`drop` keeps apostrophes and hyphens inside words only."""
    speeds: tuple[float, ...] = (1.0,)
    """Every utterance is heard at each of these speeds, as if by so many times more speakers (Ko et al. 2015)."""
    dev_split: str = "dev"
    """Utterances on which the error rate is measured while training; without any, it is not."""
    dev_minutes: float = Field(default=10.0, gt=0)
    """At most so much of the split is used."""


class Recipe(Config):
    """What a run computes. The run folder keeps it as `recipe.yaml`, so that any run can be repeated from it."""

    name: str
    """For people; the run folder's name decides how the model is called."""
    system: SystemConfig
    """What is trained: `kind: wav2vec2` pre-trains an encoder, `kind: ctc` trains a recogniser, `kind: speech2vec`
    learns vectors of words."""
    encoder: ReadConfig | None = None
    """Of a recogniser that starts from random weights; one that starts from `init` takes the encoder found there."""
    init: str | None = None
    """Model folder, run folder or name to start from; None: random weights."""
    grow_quantizer: bool = False
    """Of pre-training that starts from a model without a quantiser (a recogniser, an encoder alone): draw a new one."""
    encoder_changes: dict[str, float] = Field(default_factory=dict)
    """Of a recogniser: settings of its encoder that differ from how it was pre-trained, such as `layerdrop: 0.1`."""
    corpora: tuple[str, ...] = ()
    """Prepared folders."""
    held_out: tuple[str, ...] = ("dev", "test", "valid", "eval")
    """Splits whose names begin so (`dev-clean`, `validation`) are never trained on, neither with nor without labels."""
    labels: LabelConfig | None = None
    """Of a recogniser."""
    segments: SegmentConfig | None = None
    """Of word vectors: which words, and which are neighbours."""
    images: ImagesConfig | None = None
    """Of SimCLR on images, whose `corpora` is a folder of images and which has no use for `data`."""
    texts: TextsConfig | None = None
    """Of BERT, whose `corpora` are text files or folders of them and which has no use for `data`."""
    labelled: LabelledTextsConfig | None = None
    """Of a classifier of texts, whose `corpora` are tables (`data/sources/labelled_texts.py`)."""
    data: DataConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    train: TrainConfig
    watch: WatchConfig = WatchConfig()

    def as_stored(self, path: Path) -> str:
        """The recipe as YAML; as it stands in a file, where that is the same recipe.

        A setting that came into being after a run was begun has its default there: with a newer version, the run can be
        continued all the same.
        """
        if path.is_file():
            with contextlib.suppress(ValueError):
                if Recipe.from_yaml(path) == self:
                    return path.read_text(encoding="utf-8")
        return self.to_yaml()
