"""Names from elsewhere never lead anywhere else; what is written can be read by whom the umask allows."""

import os
import stat

import pytest
import safetensors.torch
import torch

from sori.core.files import inside, write_tensors

PLAIN = (
    "vocab.json",
    "adapter.swh.safetensors",
    "adapter.uig-script_arabic.safetensors",
    "한국어.json",
    ".hidden",
    "a b",
)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_a_file_in_the_folder(name, tmp_path):
    assert inside(tmp_path, name) == tmp_path / name
    inside(tmp_path, name).write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/etc/passwd", "../x", "a/b", "a/..", "a\\b", "..\\x", "C:x", "C:\\x", "\\\\host\\share"),
        *("nul\0byte", "line\nbreak", "\x1b[2Jscreen", "right\u202eleft", "\udcff", "x" * 252 + ".txt", "é" * 128),
        *("a.", "a ", "CON", "con.json", "nul .txt", "COM1", "lpt9.safetensors", "com¹.x", 'a"b', "a*", "a|b", "a?"),
    ],
)
def test_any_other_name_is_refused_with_its_reason(name, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)expected a plain name of a file .*, which .*likely"):
        inside(tmp_path, name)


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_tensors_get_the_permissions_of_any_new_file(umask, expected, tmp_path):
    before = os.umask(umask)
    try:
        write_tensors({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"format": "pt"})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == expected
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("a").tolist() == [1, 1]


def test_tensors_that_replace_a_file_keep_its_permissions(tmp_path):
    path = tmp_path / "a.safetensors"
    path.touch(mode=0o600)
    path.chmod(0o640)
    write_tensors({"a": torch.ones(2)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
