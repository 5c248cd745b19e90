import pytest
import torch

from sori.plots.language_map import languages, scaled


def test_points_in_a_plane_are_recovered():
    points = torch.randn(7, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    places, kept = scaled(torch.cdist(points, points))
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(points, points))
    assert kept == pytest.approx(1)


def test_the_explained_variance_is_returned():
    corners = 1 - torch.eye(4, dtype=torch.double)  # of a tetrahedron: three equal axes
    assert scaled(corners)[1] == pytest.approx(2 / 3)
    assert scaled(torch.zeros(4, 4))[1] == 0


def test_distances_map_and_units_are_drawn():
    names = ["eng", "kor", "mdw"]
    distances = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    distances = (distances + distances.T) / 2
    distances.fill_diagonal_(0)
    between = torch.tensor([[0.1, 0.4, 0.3], [0.4, 0.1, 0.2], [0.3, 0.2, 0.1]])
    owned = torch.tensor([[[0.2, 0.9, 0.0]], [[0.7, 0.1, 0.0]], [[0.1, 0.0, 0.0]]])
    matrix, plane, units, _ = languages(names, distances, between, owned).axes
    assert [text.get_text() for text in matrix.texts[:4]] == ["0.10", "0.40", "0.30", "0.40"]
    assert [text.get_text() for text in plane.texts] == names
    assert len(plane.lines) == 3
    assert units.images[0].get_array().tolist() == pytest.approx(
        torch.tensor([[90.0, 20.0], [10.0, 70.0], [0.0, 10.0]])
    )
    assert [label.get_text() for label in units.get_yticklabels()] == ["eng: 1 own", "kor: 1 own", "mdw: 0 own"]
    assert "1 not used here" in units.get_xlabel()


def test_many_languages_have_no_numbers():
    num = 30
    distances = 1 - torch.eye(2 * num)
    matrix, *_ = languages([f"l{i}" for i in range(num)], distances, torch.ones(num, num), torch.rand(num, 2, 8)).axes
    assert not matrix.texts
