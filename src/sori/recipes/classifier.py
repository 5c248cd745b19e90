"""Recipes that fine-tune BERT to classify texts and words."""

from sori.data.sources.labelled_texts import LabelledTextsConfig
from sori.models.classifier import ClassifierConfig
from sori.recipes.recipe import ClassifierRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def bert_classify() -> ClassifierRecipe:
    """Fine-tune BERT to classify texts, on a table of labelled texts; a CPU for small models, else a GPU.

    The default is 3 epochs of 10,000 texts. The paper tries learning rates of 5e-5, 3e-5 and 2e-5, and 2 to 4 epochs:
    set `--train.num-steps` to epochs x texts / 32. Small models need a larger learning rate.

    Command: `sori train bert_classify --init BERT --data reviews.tsv --into runs/reviews`
    """
    return ClassifierRecipe(
        name="bert_classify",
        system=ClassifierConfig(),
        labelled=LabelledTextsConfig(),
        optim=OptimConfig(lr=5e-5, betas=(0.9, 0.999), max_norm=1.0, decay_vectors=False),
        schedule=ScheduleConfig(warmup_fraction=0.1),
        train=TrainConfig(num_steps=940),
    )


def bert_tag() -> ClassifierRecipe:
    """Fine-tune BERT to label words (names, parts of speech), on a table of labelled tokens; else as `bert_classify`.

    Command: `sori train bert_tag --init BERT --data names.jsonl --into runs/names`
    """
    return bert_classify().model_copy(update={"name": "bert_tag", "system": ClassifierConfig(read="words")})
