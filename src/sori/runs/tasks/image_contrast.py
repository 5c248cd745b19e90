"""Set up SimCLR on images."""

from sori.checkpoints import store
from sori.core.run_folder import RunFolder
from sori.data import fingerprint
from sori.data.sources.images import ImageBatches, Images
from sori.models import factory
from sori.recipes.recipe import ImageRecipe
from sori.runs.tasks.task import Task


def views(recipe: ImageRecipe, images: Images, folder: RunFolder) -> Task:
    """Build a network, and batches of two views per image.

    Raises:
        ValueError: The run was started on other images.
    """
    system = factory.build(recipe.system)
    if recipe.init is not None:
        factory.copy_weights(store.read(recipe.init).model.weights, system, origin=recipe.init)
    about = fingerprint.of_images(images)
    fingerprint.check(folder.fingerprint, about)
    fingerprint.store(folder.fingerprint, about)
    return Task(system, ImageBatches(images, recipe.images, seed=recipe.train.seed), [], about)
