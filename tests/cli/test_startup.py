"""What takes seconds to import (torch, numba, matplotlib, lhotse) is imported when a command runs, not before."""

import importlib
import inspect
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import sori
from sori import cli
from sori.checkpoints import store
from sori.models import factory
from sori.models.ctc import CtcConfig
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

SLOW = ("torch", "numba", "matplotlib", "lhotse", "numpy", "soundfile", "sori.models")
COMPILER = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy")
QUICK = (
    [],
    *([name] for name in ("prepare", "train", "list", "show", "demo", "languages", "fill", "classify")),
)


def imported(program, *arguments, names=SLOW):
    """Return which of some modules a program has imported at its end."""
    program = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('\\nslow:', *(name for name in {names} if name in sys.modules)))\n{program}"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.rpartition("slow:")[2].split()


def test_the_package_is_imported_without_slow_libraries():
    assert imported("import sori; assert 'transcribe' in dir(sori)") == []


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_help_is_printed_without_slow_libraries(words):
    assert imported("from sori.__main__ import main; main()", *words, "--help") == []


def test_the_version_is_printed_without_slow_libraries():
    assert imported("from sori.__main__ import main; main()", "--version") == []


def test_a_recording_is_transcribed_without_the_compiler_of_torch(tmp_path):
    """Building a model without memory for its tensors, to check a file, imports it for random draws and for windows."""
    vocabulary = Vocabulary.fit(["ab "])
    store.save(factory.build(CtcConfig(), encoder=sizes.tiny(), vocabulary=vocabulary), tmp_path / "model")
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    run = "from sori.__main__ import main; main()", "transcribe", tmp_path / "model", tmp_path / "a.wav"
    assert imported(*run, names=("torch", *COMPILER)) == ["torch"]


@pytest.mark.parametrize("name", sori.__all__)
def test_public_names_are_those_of_their_modules(name):
    found = getattr(sori, name)
    if inspect.isfunction(found) or inspect.isclass(found):
        assert found is getattr(importlib.import_module(found.__module__), name)
    assert name in dir(sori)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'sori' has no attribute 'transcibe'"):
        _ = sori.transcibe
    with pytest.raises(ImportError):
        from sori import transcibe  # noqa: F401


@pytest.mark.parametrize(("place", "description"), cli.COMMANDS, ids=lambda one: one.split("\n")[0][:30])
def test_the_list_of_commands_describes_them_as_they_do(place, description):
    module, function = place.split(":")
    command = getattr(importlib.import_module(f"sori.cli.{module}"), function)
    if not inspect.isfunction(command):
        assert command.help == description
        return
    paragraphs = inspect.getdoc(command).partition("\n\nArgs:")[0].split("\n\n")
    assert "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) == description


def test_no_garbage_is_looked_for_while_a_command_is_imported():
    program = (
        "import gc, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print('importing:', gc.isenabled())\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import atexit\n"
        "atexit.register(lambda: print('at the end:', gc.isenabled(), gc.get_freeze_count() > 100_000))\n"
        "from sori.__main__ import main; main()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, "transcribe", "nowhere", "a.wav"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout.splitlines() == ["importing: False", "at the end: True True"]
    assert run.returncode == 2
