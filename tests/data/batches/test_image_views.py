import colorsys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sori.data.batches.image_views import (
    ImageDraws,
    ImageViewsConfig,
    crop,
    draw,
    from_hsv,
    to_hsv,
    view,
)


def random_images(num, size=8, seed=0):
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unchanged(num):
    """Random values that leave an image unchanged."""
    return ImageDraws(
        torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(num, 1),
        torch.zeros(num, dtype=torch.bool),
        torch.arange(4).repeat(num, 1),
        torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(num, 1),
        torch.zeros(num, dtype=torch.bool),
    )


def test_hue_saturation_and_value_agree_with_the_standard_library():
    images = random_images(2)
    images[0, :, 0, 0] = 0.5  # grey
    images[0, :, 0, 1] = 0.0  # black
    hsv = torch.stack(to_hsv(images), dim=1).permute(0, 2, 3, 1).reshape(-1, 3)
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in images.permute(0, 2, 3, 1).reshape(-1, 3).tolist()]
    torch.testing.assert_close(hsv, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 1000))
def test_to_hsv_and_back(seed):
    images = random_images(2, seed=seed)
    torch.testing.assert_close(from_hsv(*to_hsv(images)), images, rtol=0, atol=1e-5)


def test_views_can_leave_an_image_unchanged():
    images = random_images(3)
    torch.testing.assert_close(view(images, unchanged(3), size=8), images, rtol=0, atol=1e-5)


def test_a_box_at_whole_pixels_is_that_part():
    images = random_images(2)
    boxes = torch.tensor([[0.25, 0.5, 0.5, 0.5], [0.0, 0.25, 0.5, 0.5]])
    found = crop(images, boxes, torch.tensor([False, True]), size=4)
    torch.testing.assert_close(found[0], images[0, :, 4:8, 2:6], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], images[1, :, 2:6, 0:4].flip(2), rtol=0, atol=1e-5)


def test_enlarged_crops_look_as_those_of_another_library():
    """Inside; Pillow has another cubic (a = -0.5, here -0.75) and another way at the edges of the box."""
    smooth = torch.nn.functional.interpolate(random_images(1, 4), 16, mode="bilinear")
    boxes = torch.tensor([[0.25, 0.125, 0.5, 0.625]])
    ours = crop(smooth, boxes, torch.tensor([False]), size=32)[0, 0, 4:-4, 4:-4]
    picture = Image.fromarray(smooth[0, 0].numpy(), mode=None)
    theirs = np.array(picture.resize((32, 32), Image.Resampling.BICUBIC, box=(4, 2, 12, 12)))[4:-4, 4:-4]
    torch.testing.assert_close(ours, torch.from_numpy(theirs.copy()), rtol=0, atol=0.03)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_changes_by_hand_and_in_order(first):
    images = random_images(1)
    factors = [1.6, 0.5, 1.3, 0.1]
    order = [(first + k) % 4 for k in range(4)]
    draws = unchanged(1)._replace(order=torch.tensor([order]), factors=torch.tensor([factors]))
    pixels = images[0].permute(1, 2, 0).reshape(-1, 3).double().numpy()
    for change in order:
        match change:
            case 0:
                pixels = pixels * factors[0]
            case 1:
                pixels = (pixels - pixels.mean(0)) * factors[1] + pixels.mean(0)
            case _:
                turned = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels]
                if change == 2:
                    turned = [(h, min(1, s * factors[2]), v) for h, s, v in turned]
                else:
                    turned = [((h + factors[3]) % 1, s, v) for h, s, v in turned]
                pixels = np.array([colorsys.hsv_to_rgb(*pixel) for pixel in turned])
        pixels = pixels.clip(0, 1)
    found = view(images, draws, size=8)[0].permute(1, 2, 0).reshape(-1, 3)
    np.testing.assert_allclose(found.numpy(), pixels, atol=2e-5)


def test_grey_images_have_one_colour():
    found = view(random_images(2), unchanged(2)._replace(grey=torch.tensor([True, False])), size=8)
    assert torch.equal(found[0, 0], found[0, 1])
    assert not torch.equal(found[1, 0], found[1, 1])


def test_draws_have_the_fractions_of_the_configuration():
    config = ImageViewsConfig()
    draws = draw(config, 20_000, generator())
    left, top, width, height = draws.boxes.unbind(1)
    assert (draws.boxes >= 0).all()
    assert (left + width <= 1 + 1e-6).all()
    assert (top + height <= 1 + 1e-6).all()
    area, ratio = width * height, width / height
    assert 0.08 <= area.min() < 0.1
    assert area.max() <= 1
    assert ratio.min() == pytest.approx(3 / 4, abs=0.01)
    assert ratio.max() == pytest.approx(4 / 3, abs=0.01)
    assert draws.flipped.float().mean() == pytest.approx(0.5, abs=0.02)
    assert draws.grey.float().mean() == pytest.approx(0.2, abs=0.02)
    changed = draws.factors[:, 0] != 1
    assert changed.float().mean() == pytest.approx(0.8, abs=0.02)
    kept = draws.factors[changed]
    assert kept[:, :3].min() == pytest.approx(0.6, abs=0.01)
    assert kept[:, :3].max() == pytest.approx(1.4, abs=0.01)
    assert kept[:, 3].abs().max() == pytest.approx(0.1, abs=0.01)
    assert {tuple(row) for row in draws.order.tolist()} == {tuple(p) for p in _permutations()}


def _permutations():
    return [
        [a, b, c, d] for a in range(4) for b in range(4) for c in range(4) for d in range(4) if len({a, b, c, d}) == 4
    ]


def test_strength_0_leaves_colours():
    draws = draw(ImageViewsConfig(colour=0.0), 200, generator())
    assert not draws.grey.any()
    assert torch.equal(draws.factors, unchanged(200).factors)


def test_values_stay_between_0_and_1():
    images = random_images(64)
    found = view(images, draw(ImageViewsConfig(colour=1.0), 64, generator()), size=12)
    assert found.shape == (64, 3, 12, 12)
    assert 0 <= found.min() < found.max() <= 1
