"""Models and run folders written by version 0.1 load, resume and end with the same weights.

`version_0_1.tar.xz` was written by that version: a prepared folder of fourteen recordings, and for each kind of model
a run of six updates, `halfway` as SIGTERM left it after four, and `finished`. `@FIXTURE@` stands for the folder that
it is unpacked in. `made_with.json` names the processor and torch: only there are bits compared.
"""

import gzip
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sori import recipes
from sori.checkpoints import store
from sori.data.manifest import read_manifest
from sori.recipes.recipe import Recipe
from sori.runs import run

ARCHIVE = Path(__file__).with_name("version_0_1.tar.xz")
OF_THE_LOOP = (
    "wav2vec2",
    "ctc",
    "cpc",
    "simclr",
    "wav2vec",
    "vq_wav2vec",
    "code_bert",
    "speech2vec",
    "bert",
    "classifier",
)


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """The fixture, unpacked, with its paths."""
    folder = tmp_path_factory.mktemp("version_0_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    root = folder / "version_0_1"
    for path in root.rglob("*"):
        if path.suffix in {".yaml", ".json", ".jsonl", ".md"}:
            path.write_text(path.read_text(encoding="utf-8").replace("@FIXTURE@", str(root)), encoding="utf-8")
        elif path.name.endswith(".jsonl.gz"):
            plain = gzip.decompress(path.read_bytes()).replace(b"@FIXTURE@", str(root).encode())
            path.write_bytes(gzip.compress(plain))
    return root


def same(
    found: dict[str, torch.Tensor],
    expected: dict[str, torch.Tensor],
    before: dict[str, torch.Tensor],
    made_with: dict[str, str],
) -> None:
    """Equal bits where the fixture was made with this torch on such a processor, else equal within rounding.

    Processors that compute in bfloat16 round differently from those that emulate it. So all weights together must be
    much nearer to the expected ones than those are to the weights before the last two updates.
    """
    assert found.keys() == expected.keys()
    here = {"torch": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    if all(made_with[name] == value for name, value in here.items()):
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
        return
    apart = sum(float((found[name] - x).square().sum()) for name, x in expected.items())
    learnt = sum(float((before[f"system.{name}"] - x).square().sum()) for name, x in expected.items())
    assert apart < 0.05**2 * learnt


def test_the_prepared_folder_is_read(old):
    assert len(read_manifest(old / "prepared")) == 14


@pytest.mark.parametrize("name", [*OF_THE_LOOP, "word2vec"])
def test_models_load(old, name):
    expected = load_file(old / "runs" / name / "finished" / "model" / "weights.safetensors")
    found = store.load(old / "runs" / name / "finished").state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", OF_THE_LOOP)
def test_runs_go_on_to_the_same_weights(old, name, tmp_path):
    torch.set_num_threads(1)
    folder = tmp_path / "run"
    shutil.copytree(old / "runs" / name / "halfway", folder)
    stored = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert run.train(Recipe.from_yaml(folder / "recipe.yaml"), into=folder).finished
    assert (folder / "recipe.yaml").read_text(encoding="utf-8") == stored
    expected = load_file(old / "runs" / name / "finished" / "model" / "weights.safetensors")
    before = load_file(old / "runs" / name / "halfway" / "checkpoint.safetensors")
    same(store.load(folder).state_dict(), expected, before, json.loads((old / "made_with.json").read_text()))


@pytest.mark.parametrize("name", [*OF_THE_LOOP, "simclr_images", "word2vec"])
def test_recipes_are_read_as_they_were_written(old, name):
    path = old / "runs" / name / "finished" / "recipe.yaml"
    recipe = recipes.by_name(str(path))
    assert recipe.as_stored(path) == path.read_text(encoding="utf-8")
