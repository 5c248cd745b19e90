import math
import os
import signal

import pytest
import torch
from PIL import Image

from sori import recipes
from sori.checkpoints import store
from sori.checkpoints.formats.onnx_graph import Graph
from sori.core.batch import ViewBatch, WaveformBatch
from sori.core.seeds import Rng
from sori.inference import embed
from sori.models import encoders, factory
from sori.models.ctc import CtcConfig
from sori.models.simclr import (
    SimClr,
    SimClrImages,
    SimClrImagesConfig,
    compare,
    projection_head,
)
from sori.nn.mask import MaskConfig
from sori.nn.resnet import ResNetConfig
from sori.recipes import simclr as sizes
from sori.recipes.recipe import Recipe
from sori.runs import run
from sori.text.vocabulary import Vocabulary
from sori.training.metrics import Reporter, read_metrics
from sori.training.optim import OptimConfig, make_optimizer

CPU = torch.device("cpu")
TOY = SimClrImagesConfig(encoder=ResNetConfig(depth=10, width=0.125), projection_dim=16)


def small(**changes) -> SimClr:
    torch.manual_seed(0)
    return SimClr(sizes.smoke().model_copy(update=changes))


def noise(batch_size=4, samples=16_000, seed=0) -> WaveformBatch:
    waveform = 0.1 * torch.randn(batch_size, samples, generator=torch.Generator().manual_seed(seed))
    return WaveformBatch(waveform, torch.full((batch_size,), samples))


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("config", "backbone", "dim"),
    [
        (sizes.imagenet(), 23_508_032, 2048),
        (sizes.imagenet(2.0), 93_907_072, 4096),
        (sizes.imagenet(4.0), 375_378_176, 8192),
        (sizes.cifar(), 11_168_832, 512),
        (SimClrImagesConfig(encoder=ResNetConfig(depth=18, stem="large")), 11_176_512, 512),
    ],
)
def test_parameters_of_the_backbones(config, backbone, dim):
    with torch.device("meta"):
        model = SimClrImages(config)
    assert count(model.encoder) == backbone
    assert model.encoder.dim == dim


def test_parameters_of_the_head():
    with torch.device("meta"):
        head = projection_head(2048, 2048, 128)
    assert count(head) == 4_460_672
    assert [name.split(".")[0] for name, _ in head.named_parameters()] == ["0", "1", "1", "3", "4"]


@pytest.mark.parametrize(("num", "nats"), [(256, 6.2364), (512, 6.9305), (4096, 9.0108)])
def test_constant_projections_score_chance(num, nats):
    out = compare(torch.ones(num, 2, 3), temperature=0.1)
    assert int(out.count) == 2 * num
    assert out.total.item() / int(out.count) == pytest.approx(nats, abs=1e-4)
    assert out.terms["chance"].item() / int(out.count) == pytest.approx(nats, abs=1e-4)
    assert out.terms["correct"].item() / int(out.count) == pytest.approx(1 / (2 * num - 1), rel=1e-4)


def test_loss_of_identical_views_of_orthogonal_images():
    views = torch.eye(20, dtype=torch.float64)[:, None].expand(-1, 2, -1)
    out = compare(views, temperature=0.1)
    assert out.total.item() / 40 == pytest.approx(math.log(1 + 38 * math.exp(-10)), rel=1e-10)
    assert int(out.terms["correct"]) == 40


def test_a_single_example_is_refused():
    with pytest.raises(ValueError, match="at least two, got one"):
        compare(torch.ones(1, 2, 3), temperature=0.1)


def images_of(batch_size=6, size=16, seed=0) -> ViewBatch:
    generator = torch.Generator().manual_seed(seed)
    return ViewBatch(*(torch.rand(batch_size, 3, size, size, generator=generator) for _ in range(2)))


def toy_images() -> SimClrImages:
    torch.manual_seed(0)
    return SimClrImages(TOY)


def test_order_of_images_and_of_views_does_not_matter():
    model, batch = toy_images(), images_of()
    losses = [
        model.loss(given, step=0, rng=Rng(0)).total.item()
        for given in (batch, ViewBatch(*(x.flip(0) for x in batch)), ViewBatch(*batch[::-1]))
    ]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)


def test_both_views_of_an_image_belong_together():
    """Views that are the same image are identified with any weights."""
    first = images_of(8)[0]
    out = toy_images().loss(ViewBatch(first, first), step=0, rng=Rng(0))
    assert int(out.terms["correct"]) == int(out.count) == 16


def test_every_weight_of_the_network_learns():
    """The last scale of each block is initially 0, so its convolutions are trained from the second update on."""
    model = toy_images()
    optimizer = make_optimizer(model, OptimConfig(kind="lars", lr=1.0))
    for step in range(2):
        optimizer.zero_grad()
        out = model.loss(images_of(), step=step, rng=Rng(0))
        (out.total / out.count).backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_projection_is_not_what_is_used():
    model, (images, _) = toy_images().eval(), images_of()
    assert model.features(images).shape == (6, 64)
    assert model.head(model.features(images)).shape == (6, 16)


def test_cutting_a_batch_makes_an_easier_task():
    """All examples of a batch are compared, so the sum over two halves is less than the whole."""
    z = torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(0))
    whole = compare(z, temperature=0.5).total
    halves = [compare(part, temperature=0.5).total for part in z.split(4)]
    assert sum(halves) < 0.9 * whole


@pytest.fixture
def toy_folder(tmp_path):
    """Return images of two colours; the views of one image are similar."""
    generator = torch.Generator().manual_seed(0)
    for split, num in (("train", 24), ("test", 4)):
        for name in ("blue", "red"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(num // 2):
                pixels = torch.randint(256, (3, 3, 3), generator=generator, dtype=torch.uint8)
                pixels = pixels.repeat_interleave(4, 0).repeat_interleave(4, 1)
                Image.fromarray(pixels.numpy()).save(folder / f"{number:03d}.png")
    return tmp_path / "images"


def interrupted(monkeypatch, after):
    """Stop the next run after an update."""
    tick = Reporter.tick

    def stop(self, step):
        tick(self, step)
        if step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Reporter, "tick", stop)


def toy_recipe():
    changes = {"train.num_steps": 40, "train.log_every": 4, "images.batch_size": 12, "images.views.size": 12}
    changes |= {"system.encoder.width": 0.125, "images.views.colour": 0.0, "images.views.min_area": 0.5}
    changes |= {"optim.lr": 0.01, "train.precision": "float32"}
    return recipes.by_name("simclr_images_tiny").override(changes)


def test_a_run_on_images_learns_and_goes_on_where_it_stopped(toy_folder, tmp_path, monkeypatch):
    run.train(toy_recipe(), into=tmp_path / "whole", data=toy_folder)
    whole = store.load(tmp_path / "whole")
    assert isinstance(whole, SimClrImages)
    reports = [row for row in read_metrics(tmp_path / "whole" / "metrics.jsonl") if row["kind"] == "train"]
    assert reports[-1]["contrastive"] < 0.7 * reports[-1]["chance"]
    assert reports[-1]["correct"] > 0.5
    assert reports[-1]["chance"] == pytest.approx(math.log(23))
    again = toy_recipe()
    interrupted(monkeypatch, 17)
    assert not run.train(again, into=tmp_path / "parts", data=toy_folder).finished
    monkeypatch.undo()
    assert run.train(again, into=tmp_path / "parts", data=toy_folder).finished
    parts = store.load(tmp_path / "parts").state_dict()
    assert all(torch.equal(value, parts[name]) for name, value in whole.state_dict().items())
    (toy_folder / "train" / "red" / "000.png").unlink()
    with pytest.raises(ValueError, match=r"started on 24 images, but the data are now 23 images"):
        run.train(again, into=tmp_path / "parts", data=toy_folder)


def test_a_run_can_start_from_another(toy_folder, tmp_path):
    recipe = toy_recipe().override({"train.num_steps": 2})
    run.train(recipe, into=tmp_path / "first", data=toy_folder)
    still = recipe.override({"optim.lr": 0.0, "train.num_steps": 1})
    run.train(still, into=tmp_path / "second", data=toy_folder, init=tmp_path / "first")
    first, second = (store.load(tmp_path / name).encoder.conv1.weight for name in ("first", "second"))
    assert torch.equal(first, second)
    assert store.read_card(tmp_path / "first" / "model").provenance["data"]["images"] == 24
    wider = recipe.override({"system.encoder.width": 0.25})
    with pytest.raises(ValueError, match="does not have the tensors"):
        run.train(wider, into=tmp_path / "third", data=toy_folder, init=tmp_path / "first")


def test_images_are_needed_and_described(toy_folder, tmp_path):
    data = toy_recipe().model_dump(mode="json")
    del data["images"]
    with pytest.raises(ValueError, match="images: Field required"):
        Recipe.from_data(data, origin="mine.yaml")
    with pytest.raises(ValueError, match="expected one folder of images, got 2"):
        run.train(toy_recipe(), into=tmp_path / "b", data=[toy_folder, toy_folder])
    with pytest.raises(FileNotFoundError, match="SPLIT/CLASS/FILE"):
        run.train(toy_recipe(), into=tmp_path / "c", data=tmp_path)


def test_an_image_model_does_not_process_audio():
    model = toy_images()
    for use in (lambda: factory.encoder_of(model), lambda: embed.embed(model, torch.zeros(16_000), sample_rate=16_000)):
        with pytest.raises(ValueError, match="expected a model of speech, got an image model"):
            use()


def test_identical_views_of_speech_are_identified():
    views = {"gain_db": 0.0, "noise_prob": 0.0, "warp": 0.0, "num_gaps": 0, "seconds": 1.0}
    model = small(views=sizes.smoke().views.model_copy(update=views))
    out = model.loss(noise(), step=0, rng=Rng(0))
    assert int(out.terms["correct"]) == int(out.count) == 8


def test_cutting_a_batch_of_speech_changes_the_task_and_nothing_else():
    """Half a batch has the same projections as the whole batch, and fewer candidates."""
    model, batch = small().eval(), noise()
    draws = model.draw(4, 16_000, Rng(0), CPU)
    seen = []
    model.head.register_forward_hook(lambda _module, _given, z: seen.append(z))
    whole = model.objective(batch, draws)
    half = model.objective(
        WaveformBatch(*(x[:2] for x in batch)), type(draws)(type(draws[0])(*(x[:2] for x in draws[0])))
    )
    torch.testing.assert_close(seen[1], seen[0][:4], rtol=1e-5, atol=1e-6)
    assert half.terms["chance"] / half.count < whole.terms["chance"] / whole.count


def test_padding_changes_nothing():
    model = small().eval()
    lengths = torch.tensor([5000, 760, 1777])
    waveform = torch.randn(3, 5000) * (torch.arange(5000) < lengths[:, None])
    for layer in (0, 1, None):
        together = model.extract_features(waveform, lengths, layer=layer)
        for row, length in enumerate(lengths.tolist()):
            alone = model.extract_features(waveform[row : row + 1, :length], lengths[row : row + 1], layer=layer)
            num = int(alone.lengths)
            assert num == int(together.lengths[row])
            torch.testing.assert_close(together.data[row, :num], alone.data[0], rtol=0, atol=1e-5)


def test_a_block_sees_half_a_kernel_to_each_side():
    model = small(num_layers=1, kernel=5).eval()
    waveform, lengths = noise(1)
    frames = model.features(waveform, lengths)
    frames.data.requires_grad_()
    model.context(frames)[1][0, 20, 0].backward()
    assert frames.data.grad[0].any(-1).nonzero().flatten().tolist() == [18, 19, 20, 21, 22]
    with pytest.raises(ValueError, match="must be odd, got 4"):
        small(kernel=4)


def test_frames_of_a_layer():
    model, batch = small().eval(), noise()
    layers, _ = model.encode(*batch)
    assert [layer.shape[-1] for layer in layers] == [40, 24, 24]
    assert torch.equal(model.extract_features(*batch).data, layers[2])
    assert torch.equal(model.extract_features(*batch, layer=1).data, layers[1])
    with pytest.raises(ValueError, match=r"no layer 3: this model has 0 .* to 2"):
        model.extract_features(*batch, layer=3)


def test_masks_cover_frames_and_channels():
    model = small().eval()
    batch, mask = noise(), MaskConfig(time_prob=0.5, time_length=3, channel_prob=0.25, channel_length=3)
    (spectrum, *_, last), _ = model.encode(*batch, mask=mask, rng=Rng(0))
    (again, *_), _ = model.encode(*batch, mask=mask, rng=Rng(0))
    assert torch.equal(spectrum, again)
    assert (spectrum == 0).all(-1).any(1).all()
    assert (spectrum == 0).all(1).any(1).all()
    assert not torch.equal(last, model.encode(*batch)[0][-1])
    with pytest.raises(ValueError, match="pass rng"):
        model.encode(*batch, mask=mask)


def test_impossible_pre_training_is_refused():
    batch = noise(2)
    with pytest.raises(ValueError, match="equal length in pre-training, got 9000 to 16000 samples"):
        small().loss(WaveformBatch(batch.waveform, torch.tensor([16_000, 9000])), step=0, rng=Rng(0))
    with pytest.raises(ValueError, match=r"views of 0.8 s are cut from the crops, and these have 0.5 s"):
        small().loss(noise(2, 8000), step=0, rng=Rng(0))
    tiny_views = sizes.smoke().views.model_copy(update={"seconds": 0.03})
    with pytest.raises(ValueError, match=r"a view of 0.03 s is shorter than a frame"):
        small(views=tiny_views).loss(batch, step=0, rng=Rng(0))
    encoder = encoders.build(small().config, objective=False)
    assert encoder.extract_features(*batch).data.shape[-1] == 24
    with pytest.raises(ValueError, match="has no projection head"):
        encoder.loss(batch, step=0, rng=Rng(0))


def test_recognisers_read_it():
    recogniser = factory.build(CtcConfig(), encoder=small().config, vocabulary=Vocabulary.fit(["abc"]))
    assert recogniser.logits(*noise(2, 3200)).data.shape[:2] == (2, 9)
    assert not hasattr(factory.encoder_of(recogniser), "head")
    with pytest.raises(ValueError, match=r"expected wav2vec 2.0 or a recogniser on it, got SimClr"):
        Graph(small())
