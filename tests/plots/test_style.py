import pytest

from sori.plots.style import figure, save_figure


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.png.partial", ".png"])
def test_a_name_without_a_known_extension_is_refused_with_the_known_ones(name, tmp_path):
    with pytest.raises(ValueError, match=r"ends in .*\.pdf, .*\.png, .*got '" + name):
        save_figure(figure([1.0])[0], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b.PDF", b"%PDF"), ("c.svg", b"<?xml")])
def test_the_extension_says_the_format(name, start, tmp_path):
    save_figure(figure([1.0])[0], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
