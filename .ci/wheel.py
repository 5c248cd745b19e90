"""Build the wheel, compare it with the sources, install it where the sources are not, and start it there.

The new environment takes the dependencies from the one that runs this file, through a path file. Path files in a folder
that was itself added by a path file are not read, so the editable installation of sori stays out of sight, and what is
started is what the wheel holds.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src"
IMPORT_ALL = """
import importlib, pkgutil, sori
for module in pkgutil.walk_packages(sori.__path__, "sori."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sori.__file__)
"""


def main() -> None:
    """Do all of it in a temporary folder; exit with a message at the first thing that is wrong."""
    with tempfile.TemporaryDirectory(prefix="sori-wheel-") as name:
        folder = Path(name).resolve()
        wheel = build(folder / "dist")
        compare(wheel)
        start(install(wheel, folder / "venv"), folder)
    print(f"{wheel.name}: holds every file of src, installs, and starts from another folder")


def build(into: Path) -> Path:
    """The wheel of the sources."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", into, ROOT)
    (wheel,) = into.glob("*.whl")
    return wheel


def compare(wheel: Path) -> None:
    """Require the files of the sources in the wheel, those that are not Python included, and no others."""
    sources = {
        path.relative_to(SOURCES).as_posix()
        for path in (SOURCES / "sori").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    if sources != held:
        sys.exit(f"not in the wheel: {sorted(sources - held)}; in the wheel and not in src: {sorted(held - sources)}")
    if "sori/py.typed" not in held:
        sys.exit("sori/py.typed is missing: without it type checkers ignore the annotations of an installed package")


def install(wheel: Path, into: Path) -> Path:
    """A new environment with the wheel and the dependencies of the running one; its folder of commands."""
    venv.create(into, with_pip=False)
    python = into / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    found = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    dependencies = [path for path in sys.path if Path(path).name == "site-packages"]
    (Path(found.strip()) / "dependencies.pth").write_text("\n".join(dependencies) + "\n", encoding="utf-8")
    return python.parent


def start(commands: Path, folder: Path) -> None:
    """Run the command and import every module, in a folder where there is nothing."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for words, expected in (("--help", "Usage: sori"), ("list", "wav2vec2_tiny")):
        printed = run(commands / "sori", words, cwd=elsewhere)
        if expected not in printed:
            sys.exit(f"expected {expected!r} in what `sori {words}` prints, got:\n{printed}")
    imported = Path(run(commands / "python", "-c", IMPORT_ALL, cwd=elsewhere).splitlines()[-1])
    if not imported.is_relative_to(commands.parent):
        sys.exit(f"expected sori from the wheel, under {commands.parent}, got {imported}")


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command; exit with everything it printed where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
