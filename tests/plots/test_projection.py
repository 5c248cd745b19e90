"""Projections against a singular value decomposition in double precision, neighbours against a slow search."""

import sys

import numpy as np
import pytest

from sori.embeddings.space import unit
from sori.plots import projection
from sori.plots.projection import neighbours, pca, umap


def cloud(num=200, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num, dim)) * rng.uniform(0.1, 3, dim) + 5).astype(np.float32)


def test_the_axes_are_those_of_a_singular_value_decomposition():
    x = cloud()
    found = pca(x)
    centred = x.astype(np.float64) - x.astype(np.float64).mean(0)
    u, s, axes = np.linalg.svd(centred, full_matrices=False)
    for axis in range(3):
        sign = np.sign(axes[axis][np.abs(axes[axis]).argmax()])
        np.testing.assert_allclose(found.places[:, axis], sign * u[:, axis] * s[axis], rtol=1e-4, atol=1e-4)
    assert found.kept == pytest.approx((s[:3] ** 2).sum() / (s**2).sum())


@pytest.mark.foreign
def test_the_explained_variance_is_that_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    theirs = decomposition.PCA(3, svd_solver="full").fit(cloud().astype(np.float64))
    assert pca(cloud()).kept == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-6)


def test_few_dimensions_and_equal_points_can_be_projected():
    found = pca(np.array([[0.0], [1.0], [2.0]], dtype=np.float32))
    assert found.places.tolist() == [[-1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert found.kept == pytest.approx(1)
    assert pca(np.ones((4, 5), dtype=np.float32)).kept == 1.0


@pytest.mark.parametrize("at_once", [1 << 24, 500])
def test_neighbours_are_those_of_a_slow_search(monkeypatch, at_once):
    monkeypatch.setattr(projection, "_NUMBERS_AT_ONCE", at_once)
    x = unit(cloud(60))
    found = neighbours(x, number=7)
    rows = x.astype(np.float64)
    for one in range(60):
        cosines = {other: rows[one] @ rows[other] for other in range(60) if other != one}
        expected = sorted(cosines, key=lambda other: -cosines[other])[:7]
        assert found.rows[one].tolist() == expected
        assert found.cosines[one] == pytest.approx([cosines[other] for other in expected], abs=1e-6)


def test_ties_are_in_row_order_and_few_points_have_few_neighbours():
    x = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], dtype=np.float32)
    assert neighbours(x, number=10).rows.tolist() == [[1, 2, 3], [2, 3, 0], [1, 3, 0], [1, 2, 0]]


@pytest.mark.slow
def test_umap_missing_or_with_too_few_points_is_refused(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "umap", None)
        with pytest.raises(ValueError, match=r"pip install 'sori\[umap\]'"):
            umap(cloud())
    pytest.importorskip("umap")
    with pytest.raises(ValueError, match="20 points or more, got 5"):
        umap(cloud(5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_clusters_together():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 20)) * 10
    x = np.concatenate([centre + rng.normal(size=(30, 20)) for centre in centres]).astype(np.float32)
    places = umap(x).places
    near = neighbours(unit(places - places.mean(0)), number=5).rows // 30
    assert (near == np.arange(90)[:, None] // 30).mean() > 0.95
