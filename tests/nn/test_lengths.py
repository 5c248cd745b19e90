import pytest
import torch

from sori.nn.lengths import num_frames, receptive_field, valid

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
# Samples and frames of the published front end.
TABLE = {
    400: 1,
    719: 1,
    720: 2,
    1040: 3,
    16000: 49,
    32000: 99,
    48000: 149,
    80000: 249,
    160000: 499,
    240000: 749,
    250000: 781,
    320000: 999,
}


def layer_by_layer(samples: int, kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def test_receptive_field_of_the_published_front_end():
    assert receptive_field(KERNELS, STRIDES) == (400, 320)


def test_frame_table():
    lengths = torch.tensor(list(TABLE))
    assert num_frames(lengths, field_samples=400, hop_samples=320).tolist() == list(TABLE.values())


@pytest.mark.parametrize(
    ("kernels", "strides"), [(KERNELS, STRIDES), ((10, 8, 4, 4, 4), (5, 4, 2, 2, 2)), ((7, 1, 5), (3, 1, 4))]
)
def test_one_formula_counts_like_layer_by_layer(kernels, strides):
    field, hop = receptive_field(kernels, strides)
    lengths = torch.arange(field, field + 5 * hop)
    expected = [layer_by_layer(n, kernels, strides) for n in lengths.tolist()]
    assert num_frames(lengths, field_samples=field, hop_samples=hop).tolist() == expected


def test_too_short_an_input_is_named():
    with pytest.raises(ValueError, match="399 samples is shorter than one frame, which needs 400 samples"):
        num_frames(torch.tensor([16000, 399]), field_samples=400, hop_samples=320)


def test_valid_marks_real_frames():
    assert valid(torch.tensor([1, 3]), 4).tolist() == [[True, False, False, False], [True, True, True, False]]
