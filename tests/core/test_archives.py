import zipfile

import pytest

from sori.core.archives import open_zip


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", "text " * 100)
    return path


def test_members_are_read(archive):
    with open_zip(archive) as opened:
        assert opened.read("a.txt") == b"text " * 100


def test_encrypted_archives_are_refused_with_the_cure(archive):
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    archive.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.zip without a password.*unpack it first"), open_zip(archive):
        pass


@pytest.mark.parametrize("error", [RuntimeError("a fault elsewhere"), KeyError("x"), OSError(2, "gone")])
def test_errors_of_the_caller_are_not_taken_for_a_damaged_archive(archive, error):
    with pytest.raises(type(error)), open_zip(archive):
        raise error


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_cut_archives_are_named(archive, kept):
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"a\.zip cannot be read as a zip archive.*get it again"), open_zip(archive):
        pass


def test_archives_that_expand_too_much_are_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", b"\0" * (80 << 20))
    with pytest.raises(ValueError, match="to expand at most"), open_zip(path):
        pass
