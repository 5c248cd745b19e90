"""The rules of `docs/architecture.md` that neither ruff nor import-linter checks."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sori"
FILES = sorted(PACKAGE.rglob("*.py"))
OTHER_MODELS = {"encoders", "factory", "protocols", "skeleton"}
OPTIONAL_EXTRAS = {
    "sori.cli",  # in __main__: Ctrl-C during imports ends quietly
    "fcntl",  # absent on Windows
    "distributed",
    "av",  # takes a fifth of a second, and may be removed where its licence is a problem
    "espeakng_loader",
    "tensorboard.compat.proto.event_pb2",
    "tensorboard.compat.proto.summary_pb2",
    "tensorboard.summary.writer.record_writer",
    "onnx",
    "onnxruntime",
    "onnxruntime.quantization",
    "huggingface_hub",
    "fsspec",
    "transformers",
    "umap",
    "pyarrow",  # takes an eighth of a second, and is needed only where a prepared folder is opened
    "pyarrow.compute",
    "pyarrow.ipc",
    "pyarrow.parquet",
}
SHARDED_RUNS_ONLY = {
    "torch.distributed.checkpoint.hf_storage",
    "torch.distributed.checkpoint.metadata",
    "torch.distributed.checkpoint.state_dict_loader",
    "torch.distributed.checkpoint.state_dict_saver",
    "torch.distributed.device_mesh",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
}
"""Half a second to import, which would delay every command."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OUTER = {"src", "docs", "tests", "benchmarks", "tools"}
INNER = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
PAPERS = sorted({path.stem for path in (PACKAGE / "models").glob("[!_]*.py")} - OTHER_MODELS)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 500, 60, 10

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)]


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@each_file
def test_no_module_imports_from_the_package_root(path):
    modules = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    for node in ast.walk(parsed(path)):
        assert "sori" not in (imported(node) if isinstance(node, ast.Import) else [])
        if isinstance(node, ast.ImportFrom) and node.module == "sori":
            public = {alias.name for alias in node.names} - modules
            assert not public, "import from the module that defines it, e.g. `from sori.core.audio import read`"


@each_file
def test_imports_inside_functions_are_for_optional_extras_only(path):
    inner = {name for function in functions(path) for node in ast.walk(function) for name in imported(node)}
    if path.parent.name == "cli":  # a command imports what it runs, so that its help needs neither torch nor numba
        inner = {name for name in inner if not name.startswith("sori") and name != "torch"}
    assert inner <= OPTIONAL_EXTRAS | SHARDED_RUNS_ONLY


@each_file
def test_sizes(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    for function in functions(path):
        size = (function.end_lineno or 0) - function.lineno + 1
        assert size <= MAX_FUNCTION_LINES, f"{function.name} has {size} lines"
        taken = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        assert len(taken) <= MAX_ARGUMENTS, f"{function.name} takes {len(taken)} arguments"


@pytest.mark.parametrize("name", PAPERS)
def test_every_paper_has_a_recipe_a_test_and_a_page(name):
    for path in (
        PACKAGE / f"recipes/{name}.py",
        ROOT / f"tests/models/test_{name}.py",
        ROOT / f"docs/systems/{name}.md",
    ):
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing"


def test_the_papers_are_those_of_the_independence_contract():
    independent = next(contract["modules"] for contract in contracts() if contract["type"] == "independence")
    assert sorted(independent) == [f"sori.models.{name}" for name in PAPERS]


@pytest.mark.parametrize("name", ["checkpoints/store.py", "runs/run.py"])
def test_choices_are_match_statements_not_registries(name):
    assigned = [node for node in parsed(PACKAGE / name).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    tables = [node for node in assigned if isinstance(node.value, ast.Dict)]
    assert not tables, f"line {tables[0].lineno}: use a match"


@each_document
def test_documents_name_only_what_exists(path):
    spans = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    missing = {named for span in spans for named in paths_in(span) if not places(named)}
    assert not missing


@each_document
def test_documents_name_only_definitions_that_exist(path):
    for name, definition in re.findall(r"`([\w/]+\.py):(\w[\w.]*)", path.read_text(encoding="utf-8")):
        found = places(name)
        assert found, f"{name} does not exist"
        assert defines(found[0], definition), f"{name} has no {definition}"


@each_document
def test_links_lead_to_files(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#?]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_the_readme_and_the_first_pages_show_the_way_to_each_page():
    indices = ("index.md", "index.ko.md", "how-to.md", "reference.md")
    text = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in indices)
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert not {name for name in pages if f"]({name})" not in text}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not {name for name in indices[2:] if f"](docs/{name})" not in text}


def paths_in(span: str) -> list[str]:
    """Return the paths of this repository in a piece of code: those below its folders, and Python files."""
    words = re.findall(r"(?<![\w/.:<>{$-])[\w./-]++(?![<*{])", span)
    return [
        word.rstrip("/") for word in words if word.split("/")[0] in OUTER or word.endswith(".py") or _is_inner(word)
    ]


def _is_inner(word: str) -> bool:
    return word.endswith("/") and word.split("/", maxsplit=1)[0] in INNER


def places(name: str) -> list[Path]:
    """Return the files or folders that a document means: from the root, from the package, or by a unique file name."""
    name = name.partition(":")[0]
    found = [base / name for base in (ROOT, PACKAGE) if (base / name).exists()]
    if not found and "/" not in name:
        found = [path for base in (PACKAGE, ROOT / "tests", ROOT / "benchmarks") for path in base.rglob(name)]
    return found


def defines(path: Path, name: str) -> bool:
    """Whether a file defines a function, class, method or constant, directly or in a class."""
    body: list[ast.stmt] = parsed(path).body
    for part in name.split("."):
        named = {
            target: node
            for node in body
            for target in (
                [node.name]
                if isinstance(node, ast.ClassDef | ast.FunctionDef)
                else [
                    ast.unparse(target)
                    for target in getattr(node, "targets", [getattr(node, "target", None)])
                    if target
                ]
            )
        }
        if part not in named:
            return False
        body = getattr(named[part], "body", [])
    return True


def contracts() -> list[dict]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def test_the_documented_layers_are_the_checked_ones():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"## Layers.*?```\n(.*?)```", text, re.DOTALL)
    layers = next(contract["layers"] for contract in contracts() if contract["type"] == "layers")
    assert block is not None
    assert block.group(1).splitlines() == [layer for layer in layers if layer != "__main__"]
    rows = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    assert rows == [name for layer in layers if layer != "__main__" for name in layer.split(" | ")]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda p: p.stem)
def test_tests_mirror_the_tree(path):
    place = path.relative_to(ROOT / "tests")
    if place.parts[0] in ("foreign", "conformance", "architecture", "compatibility", "fuzzing", "reference", "docs"):
        return
    assert (PACKAGE / place.parent).is_dir()
