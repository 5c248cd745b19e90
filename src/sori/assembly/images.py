"""SimCLR on images."""

from pathlib import Path

from sori import hub
from sori.assembly.parts import DATA, Parts
from sori.data import account
from sori.data.images import ImageBatches, Images
from sori.recipes.recipe import Recipe
from sori.systems.simclr import SimClrImagesConfig


def views(recipe: Recipe, config: SimClrImagesConfig, images: Images, into: Path) -> Parts:
    """A network, and two views of each image.

    Raises:
        ValueError: the recipe does not say how images are looked at, or the run was begun on others.
    """
    if recipe.images is None:
        raise ValueError(f"{recipe.name} has no `images`: say there how many make a batch and how their views differ")
    system = hub.build(config)
    if recipe.init is not None:
        hub.copy_weights(hub.read(recipe.init).model.weights, system, origin=recipe.init)
    about = account.of_images(images)
    account.before(into / DATA, about)
    account.keep(into / DATA, about)
    return Parts(system, ImageBatches(images, recipe.images, seed=recipe.train.seed), [], about)
