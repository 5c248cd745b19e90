"""The picture of the folders shows today's imports."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool():
    """The program behind `make architecture`."""
    specification = importlib.util.spec_from_file_location("import_graph", ROOT / "tools" / "import_graph.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_picture_shows_the_imports_of_today(tool):
    drawn, today = tool.stored(), tool.imports()
    different = {
        (one, other): f"drawn {drawn.get(one, {}).get(other, 0)}, today {today.get(one, {}).get(other, 0)}"
        for one in drawn.keys() | today.keys()
        for other in drawn.get(one, {}).keys() | today.get(one, {}).keys()
        if drawn.get(one, {}).get(other, 0) != today.get(one, {}).get(other, 0)
    }
    assert not different, f"{different}: run `make architecture`"
    assert drawn.keys() == today.keys()


def test_the_graph_points_down_and_is_that_of_the_sources(tool):
    height = {folder: -row for row, folders in enumerate(tool.layers()) for folder in folders}
    found = tool.imports()
    assert all(height[other] < height[one] for one in found for other in found[one])
    assert found["models"]["nn"] > 20
    assert "cli" not in found["core"]


def test_a_folder_without_a_place_is_named(tool, monkeypatch):
    monkeypatch.setitem(tool.PLACES, "elsewhere", (0.0, "nothing"))
    with pytest.raises(ValueError, match="elsewhere"):
        tool.draw(tool.imports())


def test_the_picture_is_small_enough_for_a_repository(tool):
    assert tool.PICTURE.stat().st_size <= tool.MAX_BYTES
