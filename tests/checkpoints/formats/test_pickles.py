# ruff: noqa: S301 - the controls show what plain pickle would do
import argparse
import collections
import contextlib
import copy
import copyreg
import enum
import functools
import importlib
import io
import operator
import os
import pickle
import random
import re
import subprocess
import sys
import types
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sori.checkpoints.formats import pickle_records
from sori.checkpoints.formats.pickles import read_pickle

ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
PROTOCOL = pytest.mark.parametrize("protocol", [2, 3, 4, 5])
HEADER = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})


def save(content, path, *, zipped=True, protocol=2):
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return path


def wrap(program, path, *, zipped):
    """Write a checkpoint around the bytes of a pickle."""
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/version", "3\n")
    else:
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in HEADER) + program + pickle.dumps([], 2))
    return path


def text(value):
    return b"\x8c" + bytes([len(value)]) + value


def load_unsafely(path):
    """Load without this module; errors after the attack do not matter."""
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)


def make_modules(monkeypatch, **members):
    """Create modules for the context of `monkeypatch`: {"package__module": class}."""
    for name, member in members.items():
        parts = name.split("__")
        for length in range(1, len(parts) + 1):
            full = ".".join(parts[:length])
            monkeypatch.setitem(sys.modules, full, types.ModuleType(full))
        member.__module__, member.__qualname__ = ".".join(parts), member.__name__
        setattr(sys.modules[".".join(parts)], member.__name__, member)


class Bag:
    """An object with any attributes."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Make the object callable, so that pickle accepts a result of a call as function."""


# Valid files


@ZIPPED
@PROTOCOL
def test_reads_all_that_torch_saves(tmp_path, zipped, protocol):
    base = torch.arange(24.0).reshape(4, 6)
    numbers = (*pickle_records.FLOATS, *pickle_records.INTEGERS)
    content = {
        "weights": collections.OrderedDict((str(dtype), torch.arange(7).to(dtype)) for dtype in numbers),
        "module": torch.nn.Linear(2, 3).state_dict(),
        "views": [base, base.T, base[1:, ::2], base[:0], torch.tensor(3.5), torch.empty(0, 3)],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "plain": (1, 2**70, -1.5, True, None, "ä", b"\x00\xff", b"", {1, 2}, frozenset({3}), 2j, [[]], {(1, 2): "k"}),
    }
    path = save(content, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    before = path.read_bytes()
    got = read_pickle(path)
    for group in ("weights", "module"):
        assert list(got[group]) == list(content[group])
        torch.testing.assert_close(got[group], dict(content[group]), rtol=0, atol=0)
    torch.testing.assert_close(got["views"], content["views"], rtol=0, atol=0)
    assert [view.stride() for view in got["views"]] == [view.stride() for view in content["views"]]
    assert torch.equal(got["parameter"], torch.ones(2))
    assert not got["parameter"].requires_grad
    assert got["plain"] == content["plain"]
    assert type(got["weights"]) is dict
    got["views"][0][0, 0] = 99
    assert got["views"][1][0, 0] == 99, "views of one storage stay views of one storage"
    assert path.read_bytes() == before


@ZIPPED
@PROTOCOL
def test_foreign_objects_become_plain_data(tmp_path, zipped, protocol):
    content = {
        "args": argparse.Namespace(a=1, b=[argparse.Namespace(c="d")], e=argparse.Namespace()),
        "default": collections.defaultdict(list, {"x": [1]}),
        "counter": collections.Counter("aab"),
        "path": PurePosixPath("/a/b.txt"),
        "device": torch.device("cuda", 1),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "type": int,
        "loss": np.float64(0.1),
        "count": np.int32(-7),
        "raw": bytearray(b"xy"),
    }
    got = read_pickle(save(content, tmp_path / "a.pt", zipped=zipped, protocol=protocol))
    assert got == {
        "args": {"a": 1, "b": [{"c": "d"}], "e": {}},
        "default": {"x": [1]},
        "counter": {"a": 2, "b": 1},
        "path": "/a/b.txt",
        "device": "cuda:1",
        "size": (2, 3),
        "dtype": "torch.float16",
        "type": "builtins.int",
        "loss": 0.1,
        "count": -7,
        "raw": b"xy",
    }
    assert type(got["loss"]) is float
    assert type(got["default"]) is dict


@ZIPPED
@PROTOCOL
def test_fairseq_is_read_without_fairseq(tmp_path, monkeypatch, zipped, protocol):
    dictionary = type("Dictionary", (Bag,), {})
    choices = enum.Enum("Choices", {"layer_norm": "layer_norm"})
    modality = enum.Enum("Modality", {"AUDIO": 1})
    with monkeypatch.context() as patch:
        make_modules(patch, fairseq__data__dictionary=dictionary)
        make_modules(patch, fairseq__dataclass__constants=choices, examples__data2vec=modality)
        symbols = dictionary(symbols=["<s>", "A"], count=[1, 1], indices={"<s>": 0, "A": 1})
        content = {"task_state": {"target": symbols}, "mode": choices.layer_norm, modality.AUDIO: choices}
        path = save(content, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    assert read_pickle(path) == {
        "task_state": {"target": {"symbols": ["<s>", "A"], "count": [1, 1], "indices": {"<s>": 0, "A": 1}}},
        "mode": "layer_norm",
        1: "fairseq.dataclass.constants.Choices",
    }
    assert not {"fairseq", "examples"} & sys.modules.keys()


@ZIPPED
@PROTOCOL
def test_configurations_without_omegaconf(tmp_path, monkeypatch, zipped, protocol):
    mapping, listing, node = (type(name, (Bag,), {}) for name in ("DictConfig", "ListConfig", "AnyNode"))
    with monkeypatch.context() as patch:
        make_modules(patch, omegaconf__dictconfig=mapping)
        patch.setitem(sys.modules, "omegaconf.other", types.ModuleType("omegaconf.other"))
        for kind in (listing, node):
            kind.__module__ = "omegaconf.other"
            setattr(sys.modules["omegaconf.other"], kind.__name__, kind)
        root = mapping(_parent=None, _metadata=Bag.__name__, _content={})
        inner = listing(_parent=root, _content=[node(_val=2), node(_val="${a}")])
        inner._content.append(mapping(_parent=inner, _content="???"))
        root._content |= {"a": node(_parent=root, _val=1), "list": inner, "none": mapping(_parent=root, _content=None)}
        path = save({"cfg": root}, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    assert read_pickle(path) == {"cfg": {"a": 1, "list": [2, "${a}", "???"], "none": None}}


@ZIPPED
@PROTOCOL
@pytest.mark.foreign
def test_configurations_of_the_real_omegaconf(tmp_path, monkeypatch, zipped, protocol):
    omegaconf = pytest.importorskip("omegaconf")
    plain = {"a": 1, "b": "???", "c": None, "d": [1.5, "${a}", {"x": True, "y": []}], "model": {"_name": "w2v"}, 3: {}}
    content = {"cfg": omegaconf.OmegaConf.create(plain), "part": omegaconf.OmegaConf.create(plain).d}
    path = save(content, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails from here on
    assert read_pickle(path) == {"cfg": plain, "part": plain["d"]}


def test_sharing_is_preserved(tmp_path):
    value = [1]
    for _ in range(10):
        value = [value, value]
    got = read_pickle(save(value, tmp_path / "a.pt"))
    assert got[0] is got[1]


# Files that are not checkpoints


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"hello there\n", "text file"),
        (b"\x00\x01\x02\x03" * 9, "does not start like"),
        (pickle.dumps({"a": 1}), "not of torch.save"),
        (pickle.dumps({"a": 1}, 0), "text file"),
    ],
)
def test_names_the_wrong_file(tmp_path, content, message):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_pickle(path)
    assert str(path) in str(caught.value)


def test_names_other_formats(tmp_path):
    save_file({"a": torch.ones(3)}, tmp_path / "s.pt")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("folder/model.pt", b"x")
    with zipfile.ZipFile(tmp_path / "t.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"x")
        archive.writestr("m/constants.pkl", b"x")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(1, 2))
        archive.writestr("m/byteorder", {"little": "big", "big": "little"}[sys.byteorder])
    with zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", pickle.dumps([0] * 10_000, 2))
    for name, message in {
        "b": "-endian",
        "c": "not stored",
        "s": "safetensors",
        "z": "not of torch.save.*unpack",
        "t": "TorchScript",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_pickle(tmp_path / f"{name}.pt")
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "none.pt")


@ZIPPED
@PROTOCOL
def test_every_truncation_is_detected(tmp_path, zipped, protocol):
    whole = save({"a": torch.arange(50.0), "b": [torch.ones(3)]}, tmp_path / "a", zipped=zipped, protocol=protocol)
    whole = whole.read_bytes()
    cut = tmp_path / "cut.pt"
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(str(cut))):
            read_pickle(cut)


@ZIPPED
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_random_damage_raises_only_value_errors(tmp_path, zipped):
    content = {"a": torch.arange(9.0), "args": argparse.Namespace(x=[1, {2}], p=PurePosixPath("a")), "n": np.float32(1)}
    whole, path, draw = (
        save(content, tmp_path / "a.pt", zipped=zipped).read_bytes(),
        tmp_path / "b.pt",
        random.Random(0),
    )
    failures = 0
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read_pickle(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
            failures += 1
    assert failures > 100


@ZIPPED
@pytest.mark.parametrize("length", [5, 2**31 - 1, 2**40, 2**62])
def test_a_storage_is_not_larger_than_the_file(tmp_path, zipped, length):
    whole = save(torch.arange(4.0), tmp_path / "a.pt", zipped=zipped).read_bytes()
    number = b"\x8a\x09" + length.to_bytes(9, "little")
    if zipped:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            program = archive.read("a/data.pkl")
        at = program.index(b"cpu")
    else:
        program, at = whole, whole.index(b"cpu")
    start = program.index(b"K\x04", at)
    program = program[:start] + number + program[start + 2 :]
    if zipped:
        with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
            for name in source.namelist():
                target.writestr(name, program if name.endswith("data.pkl") else source.read(name))
    else:
        (tmp_path / "b.pt").write_bytes(program)
    with pytest.raises(ValueError, match=r"should hold|bytes, but has"):
        read_pickle(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "where",
    [(1, (4,), (1,)), (0, (5,), (1,)), (0, (2, 2), (3, 1)), (-1, (2,), (1,)), (0, (2**40,), (0,)), (0, (2,), ())],
)
def test_a_tensor_stays_within_its_storage(tmp_path, where):
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.arange(4.0).untyped_storage(), dtype=torch.float32, _internal=True
    )
    path = save(Calls(torch._utils._rebuild_tensor_v2, storage, *where, False, {}), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is damaged"):
        read_pickle(path)


def test_huge_lengths_and_numbers_allocate_no_memory(tmp_path):
    length = (2**40).to_bytes(8, "little")
    for program in (
        b"\x80\x04\x8e" + length,
        b"\x80\x04\x8d" + length,
        b"\x80\x05\x96" + length,
        b"\x80\x04\x95" + length,
    ):
        for zipped in (True, False):
            with pytest.raises(ValueError, match="is damaged"):
                read_pickle(wrap(program + b"N.", tmp_path / "a.pt", zipped=zipped))
    with pytest.raises(ValueError, match="numbered"):
        read_pickle(wrap(b"\x80\x02Nr\xff\xff\xff\x7f.", tmp_path / "a.pt", zipped=True))
    for function in (bytes, bytearray):
        with pytest.raises(ValueError, match="is damaged"):
            read_pickle(save(Calls(function, 2**40), tmp_path / "a.pt"))


def test_cycles_and_depth_raise_an_error(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        read_pickle(save(loop, tmp_path / "a.pt"))
    with pytest.raises(ValueError, match="is damaged"):
        read_pickle(wrap(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", tmp_path / "a.pt", zipped=True))


# Small files that take all memory, run for ever, or overflow the stack of C


def doubled(levels, *, join=b"\x86\x94", first=b"K\x01\x94"):
    """Return instructions that put a tuple of a tuple of ... on the stack, each of which holds the one below twice."""
    steps = (b"j" + level.to_bytes(4, "little") for level in range(levels))
    return first + b"".join(get + get + join for get in steps) + b"j" + levels.to_bytes(4, "little")


DOUBLED_LISTS = b"K\x01\x94" + b"".join(b"](" + 2 * (b"j" + i.to_bytes(4, "little")) + b"e\x94" for i in range(60))
BYTES = b"c__builtin__\nbytes\n"
DOUBLED_BYTES = (
    b"C\x10"
    + b"A" * 16
    + b"\x94"
    + b"".join(BYTES + 2 * (b"j" + (i).to_bytes(4, "little")) + b"\x86R\x94" for i in range(40))
)
BOMBS = {
    "a key that is hashed exponentially": b"}" + doubled(60) + b"K\x01s.",
    "such keys in one instruction": b"}(" + doubled(60) + b"K\x01u.",
    "such keys of a new dictionary": b"(" + doubled(60) + b"K\x01d.",
    "such a member of a set": b"\x8f(" + doubled(60) + b"\x90.",
    "such a member of a frozen set": b"(" + doubled(60) + b"\x91.",
    "such a key of a record": b"ccollections\nOrderedDict\n)R" + doubled(60) + b"K\x01s.",
    "such a key in pairs": b"ccollections\nOrderedDict\n](" + doubled(60) + b"K\x01\x86e\x85R.",
    "such a member of a set that is called": b"c__builtin__\nset\n](" + doubled(60) + b"e\x85R.",
    "such a name of a storage": b"ctorch\nKeyStorage\n" + doubled(60) + b"\x85R.",
    "such an argument of a device": b"ctorch\ndevice\n" + doubled(60) + b"\x85R.",
    "such a reference to a storage": b"("
    + doubled(60)
    + b"ctorch\nFloatStorage\n"
    + text(b"0")
    + text(b"cpu")
    + b"K\x01tQ.",
    "a deep tuple as a key": b"})" + b"\x85" * 500_000 + b"K\x01s.",
    "deep tuples": b")" + b"\x85" * 500_000 + b".",
    "deep records": b"cargparse\nNamespace\n" * 100_000 + b")R" + b"\x85R" * 99_999 + b".",
    "shared lists": DOUBLED_LISTS + b".",
    "shared bytes": DOUBLED_BYTES + b".",
    "keys of equal hash": b"}("
    + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"K\0" for i in range(1, 100_000))
    + b"u.",
    "a shape that repeats a text": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00\x8a\x05\0\0\0\0\x01\x85"
    + text(b"step")
    + b"\x85NNtR.",
    "many classes": b"".join(b"ctyping\nA%d\n0" % i for i in range(100_000)) + b"N.",
    "many instructions": b"N0" * 1_500_000 + b"N.",
}


READ_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
from sori.checkpoints.formats.pickles import read_pickle
for path in sys.argv[1:]:
    try:
        read_pickle(path)
    except ValueError as error:
        print(error, flush=True)
"""


def test_bombs_end_in_a_short_message(tmp_path):
    paths = [wrap(b"\x80\x04" + BOMBS[name], tmp_path / f"{name}.pt", zipped=True) for name in BOMBS]
    run = subprocess.run(  # in a process of its own, which some of them ended
        [sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, f"after {run.stdout[-200:]}: {run.stderr[-2000:]}"
    lines = run.stdout.splitlines()
    assert len(lines) == len(BOMBS)
    for name, line in zip(BOMBS, lines, strict=True):
        assert f"{name}.pt is damaged" in line
        assert len(line) < 1000


def test_tensors_are_not_many_times_as_large_as_the_file(tmp_path):
    whole = torch.zeros(400_000)
    views = {str(i): whole[:] for i in range(40)}
    with pytest.raises(ValueError, match="times as large"):
        read_pickle(save(views, tmp_path / "a.pt"))
    assert len(read_pickle(save(dict(list(views.items())[:3]), tmp_path / "a.pt"))) == 3


def test_storages_do_not_overlap(tmp_path):
    with zipfile.ZipFile(save([torch.zeros(1000) for _ in range(3)], tmp_path / "a.pt")) as archive:
        program = archive.read("a/data.pkl")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/data/0", bytes(4000))
        for key in "12":  # listed at the place of the first
            archive.filelist.append(copy.copy(archive.getinfo("a/data/0")))
            archive.filelist[-1].filename = f"a/data/{key}"
    with pytest.raises(ValueError, match="overlap"):
        read_pickle(tmp_path / "b.pt")


@pytest.mark.parametrize("text_of", ["x" * 10**6, "\x1b[2K\r\x1b[32mall is well\x1b[0m\nsecond line"])
def test_messages_are_short_and_of_one_line(tmp_path, text_of):
    raw = text_of.encode()
    name = b"X" + len(raw).to_bytes(4, "little") + raw
    for program in (name + text(b"x") + b"\x93.", b"ctorch\ndevice\n(" + name * 101 + b"tR."):
        with pytest.raises(ValueError, match=r"a\.pt") as caught:
            read_pickle(wrap(b"\x80\x04" + program, tmp_path / "a.pt", zipped=True))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


# Malicious files, each with a check that the attack works with plain pickle


def touch(marker):
    return f"open({str(marker)!r}, 'w').close()"


def make_inner(folder, marker):
    (folder / "hostile.py").write_text(touch(marker))
    (folder / "hubconf.py").write_text(f"def model():\n    {touch(marker)}\n")
    inner = io.BytesIO()
    torch.save(Calls(exec, touch(marker)), inner)
    return inner.getvalue()


ATTACKS = {
    "os.system": lambda _, m: Calls(os.system, f"touch '{m}'"),
    "builtins.eval": lambda _, m: Calls(eval, touch(m)),
    "builtins.exec": lambda _, m: Calls(exec, touch(m)),
    "method": lambda _, m: Calls(Path.touch, m),
    "subprocess.call": lambda _, m: Calls(subprocess.call, ["touch", str(m)]),
    "functools.partial": lambda _, m: Calls(Calls(functools.partial, exec, touch(m))),
    "getattr": lambda _, m: Calls(Calls(getattr, m, "touch")),
    "attrgetter": lambda _, m: Calls(Calls(Calls(operator.attrgetter, "touch"), m)),
    "methodcaller": lambda _, m: Calls(Calls(operator.methodcaller, "touch"), m),
    "importlib.import_module": lambda _, __: Calls(importlib.import_module, "hostile"),
    "torch.hub": lambda folder, _: Calls(torch.hub._load_local, str(folder), "model"),
    "torch.load": lambda folder, m: Calls(torch.storage._load_from_bytes, make_inner(folder, m)),
    "map": lambda _, m: Calls(list, Calls(map, exec, [touch(m)])),
}
PLACES = {
    "alone": lambda attack: attack,
    "state dict": lambda attack: {"model": collections.OrderedDict(w=torch.ones(2), b=attack)},
    "namespace": lambda attack: {"args": argparse.Namespace(a=1, b=[attack])},
    "key": lambda attack: {(1, attack): torch.ones(1)},
    "argument": lambda attack: Calls(collections.OrderedDict, [["a", attack]]),
}


@ZIPPED
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("attack", "place"), [*((attack, "alone") for attack in ATTACKS), *(("builtins.exec", place) for place in PLACES)]
)
def test_calls_are_refused(tmp_path, monkeypatch, attack, place, zipped, protocol):
    marker = tmp_path / "marker"
    make_inner(tmp_path, marker)
    monkeypatch.syspath_prepend(tmp_path)
    content = PLACES[place](ATTACKS[attack](tmp_path, marker))
    path = save(content, tmp_path / "a.pt", zipped=zipped, protocol=protocol)
    with pytest.raises(ValueError, match=r"refers to [\w.]+, which .* nothing was executed") as caught:
        read_pickle(path)
    assert str(path) in str(caught.value)
    assert not marker.exists()
    assert "hostile" not in sys.modules
    load_unsafely(path)
    sys.modules.pop("hostile", None)
    assert marker.exists(), "the attack does not work, so the test shows nothing"


def test_the_message_names_the_function(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pt refers to (posix|nt)\.system, which .* Get the file"):
        read_pickle(save(Calls(os.system, "true"), tmp_path / "a.pt"))


@ZIPPED
def test_calls_in_a_configuration_are_refused(tmp_path, monkeypatch, zipped):
    marker, node = tmp_path / "marker", type("AnyNode", (Bag,), {})
    with monkeypatch.context() as patch:
        make_modules(patch, omegaconf__nodes=node)
        path = save({"cfg": node(_val=Calls(exec, touch(marker)))}, tmp_path / "a.pt", zipped=zipped)
        load_unsafely(path)
    assert marker.exists()
    marker.unlink()
    with pytest.raises(ValueError, match=r"builtins\.exec"):
        read_pickle(path)
    assert not marker.exists()


@ZIPPED
@pytest.mark.parametrize("instruction", ["stack global", "global", "inst"])
def test_dotted_names_are_refused(tmp_path, zipped, instruction):
    marker = tmp_path / "marker"
    command = text(b"touch " + str(marker).encode())
    program = (
        b"\x80\x04"
        + {
            "stack global": text(b"argparse") + text(b"_os.system") + b"\x93" + command + b"\x85R.",
            "global": b"cargparse\n_os.system\n" + command + b"\x85R.",
            "inst": b"(" + command + b"iargparse\n_os.system\n.",
        }[instruction]
    )
    path = wrap(program, tmp_path / "a.pt", zipped=zipped)
    with pytest.raises(ValueError, match=r"refers to argparse\._os\.system"):
        read_pickle(path)
    assert not marker.exists()
    pickle.loads(program)
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("fairseq.data", "Dictionary.__init__"),
        ("fairseq", "__loader__"),
        ("fairseq.__loader__", "load"),
        ("fairseq_evil", "x"),
        ("typing", "sys"),
        ("typing", "sys.exit"),
        ("numpy", "load"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch._utils", "_rebuild_qtensor"),
        ("torch.storage", "_load_from_bytes"),
        ("builtins", "__import__"),
        ("argparse", "Namespace\nx"),
    ],
)
def test_names_similar_to_allowed_ones_are_refused(tmp_path, module, name):
    program = b"\x80\x04" + text(module.encode()) + text(name.encode()) + b"\x93."
    for zipped in (True, False):
        with pytest.raises(ValueError, match="refers to"):
            read_pickle(wrap(program, tmp_path / "a.pt", zipped=zipped))


@ZIPPED
def test_extension_codes_are_refused(tmp_path, monkeypatch, zipped):
    marker = tmp_path / "marker"
    monkeypatch.setattr(copyreg, "_extension_registry", copyreg._extension_registry)
    copyreg.add_extension(os.system.__module__, "system", 241)
    try:
        program = b"\x80\x04\x82\xf1" + text(b"touch " + str(marker).encode()) + b"\x85R."
        path = wrap(program, tmp_path / "a.pt", zipped=zipped)
        for _ in range(2):  # the second time, the code is in the cache of the process
            with pytest.raises(ValueError, match="uses EXT1"):
                read_pickle(path)
            assert not marker.exists()
            pickle.loads(program)
            assert marker.exists()
            marker.unlink()
    finally:
        copyreg.remove_extension(os.system.__module__, "system", 241)


SPACE = b"cargparse\nNamespace\n"


def test_a_state_cannot_change_what_an_object_is(tmp_path):
    state = b"}" + b"".join(text(key) + text(b"v") + b"s" for key in (b"__class__", b"__setstate__", b"args", b"_val"))
    got = read_pickle(wrap(b"\x80\x04" + SPACE + b")\x81" + state + b"b.", tmp_path / "a.pt", zipped=True))
    assert got == dict.fromkeys(("__class__", "__setstate__", "args", "_val"), "v")
    slots = b"N" + state + b"\x86b."
    got = read_pickle(wrap(b"\x80\x04" + SPACE + b")\x81" + slots, tmp_path / "a.pt", zipped=True))
    assert got["args"] == "v"


def test_a_state_cannot_change_a_class(tmp_path):
    before = dict(vars(pickle_records.Record))
    program = b"\x80\x04" + SPACE + b"N}" + text(b"hostile") + b"K\x01s\x86b."
    try:
        pickle.loads(program)
        assert argparse.Namespace.hostile == 1
    finally:
        del argparse.Namespace.hostile
    with pytest.raises(ValueError, match="is damaged"):
        read_pickle(wrap(program, tmp_path / "a.pt", zipped=True))
    assert dict(vars(pickle_records.Record)) == before
    assert not hasattr(argparse.Namespace, "hostile")


@pytest.mark.parametrize(
    "content",
    [
        Calls(collections.OrderedDict, 5),
        Calls(torch.Size, 5),
        Calls(complex, "x"),
        Calls(torch._utils._rebuild_parameter),
        Calls(torch._utils._rebuild_tensor_v2, 1, 2, 3, 4),
        Calls(PurePosixPath, 3),
        Calls(Calls(argparse.Namespace)),
        Calls(set, [[]]),
    ],
)
def test_invalid_arguments_raise_an_error(tmp_path, content):
    for zipped in (True, False):
        program = pickle.dumps(content, 2)
        with pytest.raises(ValueError, match="is damaged"):
            read_pickle(wrap(program, tmp_path / "a.pt", zipped=zipped))


def test_nothing_is_unpacked(tmp_path, monkeypatch):
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    path = save({"a": torch.ones(3)}, home / "a.pt")
    absolute = str(tmp_path / "absolute")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../../evil", "a/../../evil", absolute, "a/data/../../../evil"):
            archive.writestr(name, b"evil")
    before = sorted(tmp_path.rglob("*"))
    assert torch.equal(read_pickle(path)["a"], torch.ones(3))
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path / "absolute").exists()


def test_settings_of_the_process_have_no_effect(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "marker"
    with torch.serialization.safe_globals([exec]), pytest.raises(ValueError, match=r"builtins\.exec"):
        read_pickle(save(Calls(exec, touch(marker)), tmp_path / "a.pt"))
    assert not marker.exists()
