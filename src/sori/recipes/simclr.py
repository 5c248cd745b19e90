"""Recipes that pre-train SimCLR on images and on speech, by size."""

from sori.data.batches.image_views import ImageViewsConfig
from sori.data.batches.sampler import DataConfig
from sori.data.sources.images import ImagesConfig
from sori.models.simclr import SimClrConfig, SimClrImagesConfig
from sori.nn.resnet import ResNetConfig
from sori.nn.spectral import LogMelConfig
from sori.nn.speech_views import SpeechViewsConfig
from sori.recipes.recipe import ImageRecipe, SpeechRecipe
from sori.training.loop import TrainConfig
from sori.training.optim import OptimConfig
from sori.training.schedule import ScheduleConfig


def imagenet(width: float = 1.0) -> SimClrImagesConfig:
    """Return the paper's network for ImageNet: 23,508,032 parameters without head at width 1; also widths 2 and 4."""
    return SimClrImagesConfig(encoder=ResNetConfig(depth=50, width=width, stem="large"), temperature=0.1)


def cifar() -> SimClrImagesConfig:
    """Return the network that SimCLR's code uses for CIFAR-10: 11,168,832 parameters without head."""
    return SimClrImagesConfig()


def images_tiny() -> SimClrImagesConfig:
    """Return an unpublished size for two CPU cores: ResNet-10 at a quarter of the width."""
    return SimClrImagesConfig(encoder=ResNetConfig(depth=10, width=0.25))


def smoke() -> SimClrConfig:
    """Return a toy size for tests."""
    return SimClrConfig(
        front=LogMelConfig(num_mels=20),
        dim=24,
        num_layers=2,
        hidden_dim=24,
        projection_dim=16,
        temperature=0.2,
        views=SpeechViewsConfig(seconds=0.8),
    )


def simclr_images_tiny() -> ImageRecipe:
    """Pre-train SimCLR tiny on some thousand images of 32x32; one CPU core, three quarters of an hour.

    Expected: after 196 epochs of 6,000 images, a linear classifier reaches an accuracy of 58 % on CIFAR-10
    (`docs/systems/simclr.md`).

    Command: `OMP_NUM_THREADS=1 sori train simclr_images_tiny --data IMAGES --into runs/simclr_images`
    """
    return ImageRecipe(
        name="simclr_images_tiny",
        system=images_tiny(),
        images=ImagesConfig(batch_size=256),
        optim=OptimConfig(lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4),
        schedule=ScheduleConfig(kind="cosine", warmup_fraction=0.05),
        train=TrainConfig(num_steps=4_600),
    )


def simclr_images_cifar() -> ImageRecipe:
    """Pre-train SimCLR (ResNet-18, LARS) on CIFAR-10 as in the paper's code; for a GPU. Not trained here.

    1,000 epochs of 50,000 images in batches of 512. Expected: a linear classifier on h reaches an accuracy of about
    91 % (the code's README). Unpack CIFAR-10 to `train/CLASS/*.png` first: images are read as files.

    Command: `sori train simclr_images_cifar --data IMAGES --into runs/simclr_cifar`
    """
    return ImageRecipe(
        name="simclr_images_cifar",
        system=cifar(),
        images=ImagesConfig(batch_size=512, views=ImageViewsConfig(colour=0.5)),
        optim=OptimConfig(kind="lars", lr=1.0, weight_decay=1e-4),
        schedule=ScheduleConfig(kind="cosine", warmup_fraction=0.01),
        train=TrainConfig(num_steps=97_000, precision="float32"),
    )


def simclr_tiny() -> SpeechRecipe:
    """Pre-train SimCLR tiny (1.7 M parameters) on some hours of speech; one or two CPU cores.

    Expected: after 40 hours processed (six minutes on one core), 62 % of the views are matched to their other view, and
    probes for phones and letters are more accurate on layer 4 than with random weights (`docs/systems/simclr.md`).

    Command: `OMP_NUM_THREADS=1 sori train simclr_tiny --data PREPARED --into runs/simclr`
    """
    return SpeechRecipe(
        name="simclr_tiny",
        system=SimClrConfig(),
        data=DataConfig(batch_seconds=163.84, max_crop_seconds=2.56, min_seconds=2.56, num_buckets=1),
        optim=OptimConfig(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4, max_norm=5.0),
        schedule=ScheduleConfig(kind="cosine", warmup_fraction=0.05),
        train=TrainConfig(num_steps=3_000),
    )
