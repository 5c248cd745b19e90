"""SimCLR on images."""

from pathlib import Path

from sori.checkpoints import store
from sori.data import fingerprint
from sori.data.sources.images import ImageBatches, Images
from sori.models import factory
from sori.models.simclr import SimClrImagesConfig
from sori.recipes.recipe import Recipe
from sori.runs.tasks.task import DATA, Parts


def views(recipe: Recipe, config: SimClrImagesConfig, images: Images, into: Path) -> Parts:
    """A network, and two views of each image.

    Raises:
        ValueError: the recipe does not say how images are looked at, or the run was begun on others.
    """
    if recipe.images is None:
        raise ValueError(f"{recipe.name} has no `images`: say there how many make a batch and how their views differ")
    system = factory.build(config)
    if recipe.init is not None:
        factory.copy_weights(store.read(recipe.init).model.weights, system, origin=recipe.init)
    about = fingerprint.of_images(images)
    fingerprint.before(into / DATA, about)
    fingerprint.keep(into / DATA, about)
    return Parts(system, ImageBatches(images, recipe.images, seed=recipe.train.seed), [], about)
