"""Walking through folders: hidden ones and trash are left out, links are followed once."""

from sori.core.walk import folders_below, listings
from sori.data.sources.recordings import read_folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")


def test_hidden_folders_and_trash_are_not_searched(tmp_path):
    skipped = [".Trash-1000/files", ".git", "$RECYCLE.BIN/S-1-5", "System Volume Information", "__MACOSX", "lost+found"]
    touch(tmp_path, "a.wav", "kept/b.wav", *(f"{name}/old.wav" for name in skipped))
    found = read_folder(tmp_path)
    assert [item.id for item in found.items] == ["a", "kept/b"]
    assert found.others == {"hidden folders and trash": 6}


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path, "outside/a.wav", "in/b.wav")
    (tmp_path / "in/one").symlink_to(tmp_path / "outside")
    (tmp_path / "in/two").symlink_to(tmp_path / "outside")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/broken").symlink_to(tmp_path / "gone")
    visited = [listing.folder.name for listing in listings(tmp_path / "in")]
    assert visited == ["in", "one"]


def test_folders_down_to_a_depth(tmp_path):
    touch(tmp_path, "a/b/c/d.wav", ".hidden/x.wav")
    assert [path.name for path in folders_below(tmp_path, 2)] == [tmp_path.name, "a", "b"]
    assert list(folders_below(tmp_path / "gone", 1)) == [tmp_path / "gone"]
