"""The house rules that neither ruff nor import-linter checks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "sori"
FILES = sorted(PACKAGE.rglob("*.py"))
OPTIONAL_EXTRAS = {"espeakng_loader", "torch.utils.tensorboard", "tensorboard"}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 500, 60, 10

each_file = pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@each_file
def test_nobody_inside_imports_from_the_package_root(path):
    modules = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert "sori" not in (imported(node) if isinstance(node, ast.Import) else [])
        if isinstance(node, ast.ImportFrom) and node.module == "sori":
            public = {alias.name for alias in node.names} - modules
            assert not public, "import from the module that defines it, e.g. `from sori.audio import read`"


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


@pytest.mark.parametrize("name", ["hub.py", "run.py"])
def test_choices_are_written_out_rather_than_registered(name):
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    tables = [
        node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
    ]
    assert not tables, f"line {tables[0].lineno}: use a match"


def test_the_tree_in_the_readme_matches_the_disk():
    block = re.search(r"```[a-z]*\n(src/sori/.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block, "README.md shows no file tree that begins with src/sori/"
    shown = set(re.findall(r"(?<![\w./])[\w/]+(?:\.py|/)(?=[\s,]|$)", block.group(1))) - {"src/sori/"}
    on_disk = {p.name for p in PACKAGE.glob("*.py")} | {
        f"{p.name}/" for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()
    }
    missing = on_disk - shown - {"__init__.py", "__main__.py"}
    assert not missing, f"README's tree lacks {sorted(missing)}"
    everything = {p.name for p in FILES} | on_disk
    assert shown <= everything, f"README's tree names what does not exist: {sorted(shown - everything)}"
