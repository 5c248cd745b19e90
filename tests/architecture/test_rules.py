"""Rules that neither ruff nor import-linter checks."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sori"
FILES = sorted(PACKAGE.rglob("*.py"))
OPTIONAL_EXTRAS = {
    "espeakng_loader",
    "torch.utils.tensorboard",
    "tensorboard",
    "onnx",
    "onnxruntime",
    "onnxruntime.quantization",
    "huggingface_hub",
    "transformers",
    "umap",
}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 500, 60, 10

each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@each_file
def test_no_module_imports_from_the_package_root(path):
    modules = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert "sori" not in (imported(node) if isinstance(node, ast.Import) else [])
        if isinstance(node, ast.ImportFrom) and node.module == "sori":
            public = {alias.name for alias in node.names} - modules
            assert not public, "import from the module that defines it, e.g. `from sori.core.audio import read`"


@each_file
def test_imports_inside_functions_are_for_optional_extras_only(path):
    inner = {name for function in functions(path) for node in ast.walk(function) for name in imported(node)}
    assert inner <= OPTIONAL_EXTRAS


@each_file
def test_sizes(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        size = (function.end_lineno or 0) - function.lineno + 1
        assert size <= MAX_FUNCTION_LINES, f"{function.name} has {size} lines"
        taken = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        assert len(taken) <= MAX_ARGUMENTS, f"{function.name} takes {len(taken)} arguments"


@pytest.mark.parametrize("name", sorted(p.stem for p in (PACKAGE / "systems").glob("[!_]*.py")))
def test_every_system_has_a_recipe_a_test_and_a_page(name):
    for path in (
        PACKAGE / f"recipes/{name}.py",
        ROOT / f"tests/systems/test_{name}.py",
        ROOT / f"docs/systems/{name}.md",
    ):
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing"


@pytest.mark.parametrize("name", ["checkpoints/store.py", "runs/run.py"])
def test_choices_are_match_statements_not_registries(name):
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    tables = [
        node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
    ]
    assert not tables, f"line {tables[0].lineno}: use a match"


def test_the_readme_names_only_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:src|docs|tests|benchmarks)/[\w/.-]*\w/?", text))
    assert len(named) > 5
    missing = {name for name in named if not (ROOT / name).exists()}
    assert not missing


def test_the_documented_floors_are_the_checked_ones():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"## Floors.*?```\n(.*?)```", text, re.DOTALL)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert block is not None
    assert block.group(1).split("\n")[:-1] == [layer for layer in layers if layer != "__main__"]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: p.stem)
def test_tests_mirror_the_tree(path):
    place = path.relative_to(ROOT / "tests")
    if place.parts[0] in ("foreign", "conformance", "architecture", "reference", "benchmarks"):
        return
    assert (PACKAGE / place.parent).is_dir()
