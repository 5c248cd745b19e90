import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from sori.data.batches.image_views import ImageViewsConfig
from sori.data.sources.images import ImageBatches, ImagesConfig, read_images, training_images

CONFIG = ImagesConfig(batch_size=4, views=ImageViewsConfig(size=6))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, num in (("train", 5), ("test", 2)):
        for name in ("bird", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(num):
                pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number:02d}.png")
    return tmp_path


def test_images_with_their_classes_and_splits(folder):
    images = read_images(folder)
    assert images.pixels.shape == (14, 3, 8, 8)
    assert images.pixels.dtype == torch.uint8
    assert images.classes == ["bird", "cat"]
    assert images.names[0] == "test/bird/00.png"
    with Image.open(folder / images.names[0]) as picture:
        assert np.array_equal(images.pixels[0].permute(1, 2, 0).numpy(), np.array(picture))
    train = images.of_split("train")
    assert train.labels.tolist() == [0] * 5 + [1] * 5
    with pytest.raises(ValueError, match="no images of dev; the splits are test, train"):
        images.of_split("dev")


def test_an_archive_gives_the_same_images(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("zipped")
    with zipfile.ZipFile(other / "images.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(path, path.relative_to(folder).as_posix())
        archive.writestr("README.txt", "no image")
    ours, theirs = read_images(folder), read_images(other)
    assert ours.names == theirs.names
    assert torch.equal(ours.pixels, theirs.pixels)


def test_held_out_images_are_not_trained_on(folder):
    images = training_images([str(folder)], held_out=("dev", "test"))
    assert len(images.names) == 10
    assert all(name.startswith("train/") for name in images.names)
    with pytest.raises(ValueError, match="not held out"):
        training_images([str(folder)], held_out=("t",))


def test_errors_name_the_file(folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="SPLIT/CLASS/FILE"):
        read_images(tmp_path_factory.mktemp("empty"))
    Image.new("RGB", (9, 8)).save(folder / "train" / "cat" / "99.png")
    with pytest.raises(
        ValueError, match=r"train/cat/99.png: expected images of one size, got 8x8 \(test/bird/00.png\) and 9x8"
    ):
        read_images(folder)
    (folder / "train" / "cat" / "99.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"train/cat/99.png cannot be read"):
        read_images(folder)


def test_large_images_and_archives_that_expand_without_end_are_refused_before_they_are_decoded(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    for side, message in ((5_000, "expected at most 16,777,216 pixels, got 5000x5000"), (20_000, "cannot be read")):
        Image.new("1", (side, side)).save(tmp_path / "a/b/c.png")
        with pytest.raises(ValueError, match=f"a/b/c.png:? {message}"):
            read_images(tmp_path)
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("a/b/c.png", "w") as file:
        for _ in range(128):
            file.write(bytes(1 << 20))
    with pytest.raises(ValueError, match=r"images\.zip to expand at most 250 times, got 134,217,728 bytes"):
        read_images(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"images\.zip cannot be read as a zip archive"):
        read_images(tmp_path)


def test_batches_are_a_function_of_seed_and_number(folder):
    images = read_images(folder).of_split("train")
    batches, again = (ImageBatches(images, CONFIG, seed=3) for _ in range(2))
    assert batches.num_batches == 2
    again[1]
    for index in (5, 0):
        for mine, theirs in zip(batches[index], again[index], strict=True):
            assert torch.equal(mine, theirs)
    assert not torch.equal(batches[0].first, ImageBatches(images, CONFIG, seed=4)[0].first)
    batch = batches[0]
    assert batch.first.shape == batch.second.shape == (4, 3, 6, 6)
    assert not torch.equal(batch.first, batch.second)
    assert batch.seconds == 0


def test_views_differ_from_batch_to_batch_even_of_one_image(folder):
    same = read_images(folder).take([0] * 8, "one image")
    batches = ImageBatches(same, CONFIG, seed=0)
    assert not torch.equal(batches[0].first, batches[1].first)


def test_an_epoch_uses_no_image_twice_and_epochs_leave_out_different_ones(folder):
    """Without any change the views are the images themselves."""
    images = read_images(folder).of_split("train")
    plain = ImageViewsConfig(size=8, min_area=1.0, flip_prob=0.0, colour=0.0)
    batches = ImageBatches(images, ImagesConfig(batch_size=4, views=plain), seed=0)
    epochs = []
    for epoch in range(6):
        seen = set()
        for position in range(2):
            for one in batches[2 * epoch + position].first:
                distances = (images.pixels.float() / 255 - one).abs().amax((1, 2, 3))
                assert distances.min() < 1e-4
                seen.add(int(distances.argmin()))
        assert len(seen) == 8
        epochs.append(frozenset(seen))
    assert frozenset().union(*epochs) == set(range(10))
    assert len(set(epochs)) > 1


def test_too_few_images_for_a_batch(folder):
    with pytest.raises(ValueError, match="one batch of 512 images, got 14"):
        ImageBatches(read_images(folder), ImagesConfig(), seed=0)
