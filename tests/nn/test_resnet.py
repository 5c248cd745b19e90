import pytest
import torch
from torch.nn import functional

from sori.nn.resnet import ResNet, ResNetConfig

SHAPES = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.running_var": (64,),
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.0.downsample.1.bias": (256,),
    "layer2.0.conv2.weight": (128, 128, 3, 3),
    "layer4.2.conv3.weight": (2048, 512, 1, 1),
}


def test_names_and_shapes_are_those_of_torchvision():
    with torch.device("meta"):
        tensors = ResNet(ResNetConfig(depth=50, stem="large")).state_dict()
    assert {name: tuple(tensors[name].shape) for name in SHAPES} == SHAPES
    assert len(tensors) == 53 * 5  # convolutions, each with a norm of four tensors


@pytest.mark.parametrize("depth", [10, 18, 50])
@pytest.mark.parametrize(("stem", "side"), [("small", 4), ("large", 1)])
def test_stages_halve_the_resolution(depth, stem, side):
    model = ResNet(ResNetConfig(depth=depth, width=0.125, stem=stem)).eval()
    seen = []
    model.layer4.register_forward_hook(lambda _module, _given, out: seen.append(out.shape[2:]))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, model.dim)
    assert seen == [(side, side)]


@torch.no_grad()
def test_blocks_begin_as_their_shortcuts():
    """With the last scale of each block at 0, the network is its stem, ReLUs and shortcuts."""
    model = ResNet(ResNetConfig(depth=18, width=0.125)).eval()
    images = torch.rand(2, 3, 16, 16)
    x = functional.relu(model.bn1(model.conv1(images)))
    for stage in (2, 3, 4):
        x = functional.relu(getattr(model, f"layer{stage}")[0].downsample(x))
    torch.testing.assert_close(model(images), x.mean((2, 3)))
    torch.nn.init.ones_(model.layer3[1].bn2.weight)
    assert not torch.allclose(model(images), x.mean((2, 3)))
