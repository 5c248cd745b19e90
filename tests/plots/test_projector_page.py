"""Projector page: its content, and its behaviour in a browser without network."""

import base64
import html
import json
import math
import re

import numpy as np
import pytest
import torch
from tests.plots import browser

from sori.embeddings.space import unit
from sori.plots.projection import neighbours, pca
from sori.plots.projector_page import Column, Points, page, write_tensorboard

in_browser = pytest.mark.skipif(browser.FOUND is None, reason="Chromium is not installed: apt-get install chromium")


def points(num=300, dim=8, *, sound=False, named=True):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(num, dim)).astype(np.float32)
    labels = [f"w{n}" for n in range(num)]
    labels[:3] = ["<b>&", "</script><script>fail()", 'quo"te']
    kinds = ["low" if n < num // 3 else "high" for n in range(num)]
    tone = torch.sin(torch.arange(4800) * 0.3)
    return Points(
        "Title <i>",
        ["Notes & text."],
        labels,
        [f"detail {n}" for n in range(num)],
        [Column("band", kinds, ["low", "high"]), Column("speaker", [f"s{n % 30}" for n in range(num)])],
        vectors,
        (lambda _: tone) if sound else None,
        named=named,
    )


def made(one, **options):
    near = neighbours(unit(one.vectors), number=5)
    return page(one, {"principal components": pca(one.vectors)}, near, **options)


def data_of(text):
    return json.loads(re.search(r"id=data>(.*?)</script>", text, re.DOTALL)[1])


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_the_page_contains_all_points_and_requests_nothing():
    one = points()
    text = made(one)
    data = data_of(text)
    assert data["labels"] == one.labels
    bare = text.replace(re.search(r"id=data>(.*?)</script>", text, re.DOTALL)[1], "")
    bare = re.sub(r"^\s*// .*$", "", bare, flags=re.MULTILINE)  # comments
    for address in ("http", "//", "url(", "@import", "<link", "fetch(", "XMLHttpRequest", "WebSocket", "import("):
        assert address not in bare
    assert text.count("<script") == 2
    assert html.escape(one.title) in text
    assert one.title not in text
    near = neighbours(unit(one.vectors), number=5)
    assert numbers(data["near"], "<u4").reshape(-1, 5).tolist() == near.rows.tolist()
    np.testing.assert_allclose(numbers(data["cosines"], "<i2") / 32767, near.cosines.ravel(), atol=2e-5)
    places = numbers(data["places"]["principal components"], "<i2").reshape(-1, 3) / 32767
    wanted = pca(one.vectors).places
    np.testing.assert_allclose(places, wanted / np.linalg.norm(wanted, axis=1).max(), atol=2e-5)
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1, abs=1e-4)


def test_values_are_in_their_order_or_the_most_frequent_first():
    band, _ = data_of(made(points()))["columns"]
    assert (band["values"], band["ordered"]) == (["low", "high"], True)
    assert numbers(band["of"], "<u4").tolist() == [0] * 100 + [1] * 200
    some = points(5)._replace(columns=[Column("phone", ["", "b", "a", "b", ""])])
    assert data_of(made(some))["columns"][0]["values"] == ["b", "a", ""]


def test_audio_respects_the_size_limit():
    one = points(20, sound=True)
    every, some, none = (data_of(made(one, audio_megabytes=size))["sounds"] for size in (1.0, 0.008, 0.0))
    size = len(base64.b64decode(every["0"]))
    assert (len(every), len(some), len(none)) == (20, 8000 // size, 0)
    assert base64.b64decode(every["3"])[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")
    text = made(one, audio_megabytes=0.008)
    assert f"{len(some)} of 20 points have audio, sampled at random: 0.0 MB" in text
    assert data_of(made(one, audio_megabytes=0.008))["sounds"] == some
    assert "have audio" not in made(points())


def test_tensorboard_gets_equal_vectors_and_a_row_each(tmp_path):
    one = points(10)
    one.labels[4] = "tab\tand\nline"
    write_tensorboard(one, tmp_path)
    vectors = np.loadtxt(tmp_path / "vectors.tsv", delimiter="\t", dtype=np.float32)
    assert vectors.tobytes() == one.vectors.tobytes()
    rows = [line.split("\t") for line in (tmp_path / "metadata.tsv").read_text().splitlines()]
    assert rows[0] == ["label", "detail", "band", "speaker"]
    assert rows[5] == ["tab and line", "detail 4", "high", "s4"]
    assert len(rows) == 11
    assert 'tensor_path: "vectors.tsv"' in (tmp_path / "projector_config.pbtxt").read_text()
    write_tensorboard(one._replace(details=[], columns=[]), tmp_path)
    assert len((tmp_path / "metadata.tsv").read_text().splitlines()) == 10  # a single column has no header


@pytest.fixture
def opened(tmp_path):
    """Open a browser on a page of points with audio."""
    (tmp_path / "page.html").write_text(made(points(300, sound=True)), encoding="utf-8")
    with browser.Browser(tmp_path / "profile") as one:
        yield one


def chosen(one):
    return one.run("[projector.chosen(), document.getElementById('label').textContent]")


@pytest.mark.parametrize("fragment", ["", "#canvas"])
@pytest.mark.slow
@in_browser
def test_points_are_picked_found_and_played(opened, tmp_path, fragment):
    one = points(300)
    opened.open(tmp_path / "page.html", fragment)
    assert opened.run("projector.kind()") == ("canvas" if fragment else "WebGL")
    # A click on a point selects it or one in front of it.
    box = opened.run("(b => [b.left, b.top])(document.getElementById('view').getBoundingClientRect())")
    spot = opened.run("[...projector.spots.slice(3 * 7, 3 * 7 + 2)]")
    opened.click(box[0] + spot[0], box[1] + spot[1])
    picked, label = chosen(opened)
    assert label == one.labels[picked]
    away = opened.run(
        f"Math.hypot(projector.spots[3 * {picked}] - {spot[0]}, projector.spots[3 * {picked} + 1] - {spot[1]})"
    )
    assert away < 12
    # Neighbours are those of all dimensions.
    opened.run("projector.choose(9)")
    near = neighbours(unit(one.vectors), number=5)
    listed = opened.run("[...document.querySelectorAll('#near button')].map(b => b.firstChild.textContent)")
    assert listed == [one.labels[row] for row in near.rows[9]]
    shown = opened.run("document.querySelector('#near button').lastChild.textContent")
    assert float(shown.removeprefix("\N{EIGHTH NOTE} ")) == pytest.approx(near.cosines[9, 0], abs=6e-4)
    assert opened.run("new Promise(d => setTimeout(() => d(document.getElementById('player').duration), 500))") > 0.2
    # Search: prefix matches come first; labels are text, never tags.
    opened.run("(s => { s.value = 'W29'; s.dispatchEvent(new Event('input')); })(document.getElementById('search'))")
    opened.run("new Promise(done => setTimeout(done, 300))")
    hits = opened.run("[...document.querySelectorAll('#results button')].map(b => b.firstChild.textContent)")
    assert hits == ["w29", *(f"w29{n}" for n in range(10))]
    opened.run("projector.choose(0)")
    assert chosen(opened) == [0, "<b>&"]
    assert opened.errors() == []
    page, *others = opened.requested()
    assert page.partition("#")[0] == (tmp_path / "page.html").as_uri()
    assert all(url.startswith("data:") for url in others)


@pytest.mark.slow
@in_browser
def test_keys_rotate_select_and_clear(opened, tmp_path):
    opened.open(tmp_path / "page.html")
    turn = np.array(opened.run("Draw.turn({yaw: 0.7, pitch: 0.3})")).reshape(3, 3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)  # a rotation without reflection
    assert np.linalg.det(turn) == pytest.approx(1)
    opened.run("document.getElementById('view').focus()")
    before = opened.run("projector.scene.look.yaw")
    opened.key("ArrowRight")
    assert opened.run("projector.scene.look.yaw") == pytest.approx(before + 0.1)
    far = opened.run("projector.scene.look.distance")
    opened.key("+")
    assert opened.run("projector.scene.look.distance") < far
    opened.run("projector.choose(9)")
    near = neighbours(unit(points(300).vectors), number=5).rows[9].tolist()
    for wanted in (*near, near[0]):
        opened.key("n")
        assert chosen(opened)[0] == wanted
    opened.key("Escape")
    assert chosen(opened)[0] == -1
    opened.key("0")
    assert opened.run("projector.scene.look.distance") == far


@pytest.mark.slow
@in_browser
def test_fingers_rotate_and_zoom(opened, tmp_path):
    opened.open(tmp_path / "page.html")
    look = "[projector.scene.look.yaw, projector.scene.look.pitch, projector.scene.look.distance]"
    yaw, pitch, far = opened.run(look)
    opened.touch([(200, 300)], [(250, 300)], [(300, 300)])
    turned = opened.run(look)
    assert turned[0] == pytest.approx(yaw + 0.6, abs=0.1)
    assert turned[1:] == [pitch, far]
    opened.touch([(250, 300), (350, 300)], [(220, 300), (380, 300)], [(200, 300), (400, 300)])
    yaw, pitch, near = opened.run(look)
    assert near == pytest.approx(far / 2, rel=0.05)
    assert [yaw, pitch] == turned[:2]
    assert opened.run("projector.chosen()") == -1


@pytest.mark.slow
@in_browser
def test_both_ways_of_drawing_put_points_at_the_same_places(tmp_path):
    """Ink within two pixels of every point that nothing hides, in both; the dark page is dark."""
    (tmp_path / "page.html").write_text(made(points(12, named=False)), encoding="utf-8")
    for fragment, dark in (("", False), ("#canvas", True)):
        with browser.Browser(tmp_path / f"profile{fragment}", dark=dark) as one:
            one.open(tmp_path / "page.html", fragment)
            seen = one.run("""(() => {
              const view = document.getElementById('view'), copy = document.createElement('canvas');
              [copy.width, copy.height] = [view.width, view.height];
              const pen = copy.getContext('2d');
              pen.drawImage(view, 0, 0);
              const at = (x, y) => [...pen.getImageData(x, y, 1, 1).data.slice(0, 3)];
              const ratio = view.width / projector.scene.width;
              const spots = [];
              for (let i = 0; i < 12; i++)
                spots.push(at(projector.spots[3 * i] * ratio, projector.spots[3 * i + 1] * ratio));
              return { paper: at(1, 1), spots };
            })()""")
        assert all(math.dist(spot, seen["paper"]) > 20 for spot in seen["spots"])
        assert (sum(seen["paper"]) < 120) == dark
