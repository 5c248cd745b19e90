"""Tests that machine code is cached only where no other user can write, and never used for other sources."""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sori.core import compiled

PACKAGE = Path(compiled.__file__).parents[1]
NOBODY = 65_534
AS_NOBODY = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
READS_ALL = "+dac_read_search"  # so that the interpreter may lie in a closed folder; it gives no right to write
SECONDS = 170


@pytest.fixture(scope="module")
def nobody():
    """Return the start of a command that runs as a user without a home folder and without write access."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for extra in ((), ("--inh-caps", READS_ALL, "--ambient-caps", READS_ALL)):
        command = (*AS_NOBODY, *extra, "--", sys.executable)
        try:
            subprocess.run((*command, "-c", "import numba"), check=True, capture_output=True, timeout=SECONDS)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return pytest.skip("another user cannot start this interpreter, nor can setpriv let them read it")


@pytest.fixture
def writable():
    """Return a folder of the user `nobody`, in one that all users can enter."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    place = base / "temporary"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    yield place
    shutil.rmtree(base)


def environment(**others):
    unset = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "HOME", "TMPDIR")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    # PYTHONPATH names the package first: no other installation of it takes part.
    kept |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)}
    return kept | {name: str(value) for name, value in others.items()}


def run(*command, **others):
    found = subprocess.run(
        command, env=environment(**others), cwd="/", capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert found.returncode == 0, found.stderr[-2000:]
    return found


COMPUTES = """
import sori
import numpy as np
from sori.nn import huffman
assert huffman.huffman(np.array([5, 3, 1])).depth() == 2
print(huffman._join.stats.cache_path, sum(huffman._join.stats.cache_hits.values()))
"""


def test_another_user_caches_machine_code_among_the_temporary_files(nobody, writable):
    first = run(*nobody, "-c", COMPUTES, HOME="/nonexistent", TMPDIR=writable, LC_ALL="C")
    place, hits = first.stdout.split()
    assert Path(place).is_relative_to(writable / f"sori-{NOBODY}")
    assert (writable / f"sori-{NOBODY}").stat().st_mode & 0o777 == 0o700
    assert hits == "0"
    assert not first.stderr  # matplotlib has found a folder as well
    again = run(*nobody, "-c", COMPUTES, HOME="/nonexistent", TMPDIR=writable)
    assert again.stdout.split() == [place, "1"]


NOTHING = """
import tempfile
from pathlib import Path
from sori.core import private_folders
tempfile.tempdir = "/nonexistent"
private_folders._MEMORY = Path("/nonexistent")
"""


def test_without_a_writable_folder_nothing_is_cached(nobody, writable):
    matplotlib = {"MPLCONFIGDIR": writable}  # without which matplotlib cannot be imported
    found = run(*nobody, "-c", NOTHING + COMPUTES, HOME="/nonexistent", TMPDIR="/nonexistent", **matplotlib)
    assert found.stdout.split() == ["None", "0"]


# --- a package of two files -----------------------------------------------------------------------------------------

CALLER = """
import sys
import numpy as np
from sori.core.compiled import jit
from sori.callee import double

@jit()
def twice(x):
    return double(double(x))

if __name__ != "__main__":
    print(twice(getattr(np, sys.argv[1])(3)), sum(twice.stats.cache_hits.values()), twice.stats.cache_path)
"""
CALLEE = "from sori.core.compiled import jit\n\n@jit()\ndef double(x):\n    return 2 * x\n"


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "site" / "sori"
    (folder / "core").mkdir(parents=True)
    (folder / "core" / "__init__.py").touch()
    for name in ("core/compiled.py", "core/private_folders.py"):
        shutil.copy(PACKAGE / name, folder / name)
    (folder / "__init__.py").touch()
    (folder / "caller.py").write_text(CALLER)
    (folder / "callee.py").write_text(CALLEE)
    return folder


def caller(package, kind="int64", **others):
    surroundings = {"PYTHONPATH": package.parent, "XDG_CACHE_HOME": package.parents[1] / "cache"} | others
    return run(sys.executable, "-c", "import sori.caller", kind, **surroundings).stdout.split()


def test_machine_code_is_never_that_of_a_function_in_another_file_that_has_changed(package):
    assert caller(package)[:2] == ["12", "0"]
    assert caller(package)[:2] == ["12", "1"]
    held = (package / "callee.py").stat()
    (package / "callee.py").write_text(CALLEE.replace("2 * x", "5 * x"))
    os.utime(package / "callee.py", ns=(held.st_atime_ns, held.st_mtime_ns))
    assert caller(package)[:2] == ["75", "0"]
    (package / "callee.py").write_text(CALLEE)
    assert caller(package)[:2] == ["12", "1"]


@pytest.mark.slow
def test_settings_of_numba_have_their_own_machine_code(package):
    assert caller(package)[:2] == ["12", "0"]
    assert caller(package, NUMBA_BOUNDSCHECK="1")[:2] == ["12", "0"]


@pytest.mark.slow
def test_damaged_machine_code_is_compiled_again(package):
    place = Path(caller(package)[2])
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert caller(package)[:2] == ["12", "0"]
    assert caller(package)[:2] == ["12", "1"]


@pytest.mark.slow
def test_processes_that_compile_at_once_do_not_mix_up_their_machine_code(package):
    kinds = ("int64", "int32", "float64", "float32")
    surroundings = environment(PYTHONPATH=package.parent, XDG_CACHE_HOME=package.parents[1] / "cache")
    started = [
        subprocess.Popen([sys.executable, "-c", "import sori.caller", kind], env=surroundings, stdout=subprocess.PIPE)
        for kind in kinds
    ]
    for process in started:
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    for kind in kinds:
        assert caller(package, kind)[:2] == ["12.0" if "float" in kind else "12", "1"]


def test_the_folder_set_for_numba_comes_first(package, tmp_path):
    assert Path(caller(package, NUMBA_CACHE_DIR=tmp_path / "mine")[2]).is_relative_to(tmp_path / "mine")
    (tmp_path / "file").touch()
    place = caller(package, NUMBA_CACHE_DIR=tmp_path / "file")[2]
    assert Path(place).is_relative_to(tmp_path / "cache")


# --- the sources ----------------------------------------------------------------------------------------------------


def test_all_sources_of_compiled_code_determine_its_folder():
    """Files with compiled functions import from the package only such files, or names that only Python code uses."""
    sources = compiled.compiled_sources(PACKAGE)
    assert len(sources) > 5
    for path, text in sources.items():
        tree = ast.parse(text)
        named = {
            node.id
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and any("jit" in _names(d) for d in function.decorator_list)
            for node in ast.walk(function)
            if isinstance(node, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sori."):
                used = {one.asname or one.name for one in node.names} & named
                held = f"{node.module[len('sori.') :].replace('.', '/')}.py" in sources
                assert held or not used, f"{path}: {used} of {node.module} may change unseen"


def test_every_compiled_function_goes_through_the_one_wrapper():
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "core" / "compiled.py":
            assert "njit" not in path.read_text(encoding="utf-8"), path


def _names(node):
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
