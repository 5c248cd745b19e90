"""Parts of the documentation's generator: pairs of pages, words of the search, mathematics, links, public names."""

import re
import sys

import pytest
from tests.docs import pages

pytest.importorskip("sphinx")
sys.path.insert(0, str(pages.DOCS / "generator"))

from docsite import check, languages, links, mathml, public_names, signatures, words


@pytest.mark.parametrize(
    ("page", "other", "language"),
    [
        ("article/en/05-cpc", "article/ko/05-cpc", "en"),
        ("article/ko/index", "article/en/index", "ko"),
        ("glossary", "glossary.ko", "en"),
        ("index.ko", "index", "ko"),
        ("systems/cpc", "systems/cpc.ko", "en"),
    ],
)
def test_pairs_of_pages(page, other, language):
    assert languages.twin_of(page) == other
    assert languages.language_of(page) == language


def test_a_page_in_one_language_only_is_found():
    whole = {"index", "index.ko", "glossary", "glossary.ko", "train", "article/en/index", "article/ko/index"}
    assert languages.untranslated(whole) == []
    for lost in ("index.ko", "glossary.ko", "article/en/index", "article/ko/index", "index"):
        assert len(languages.untranslated(whole - {lost})) == 1, lost
    assert languages.untranslated(whole | {"train.ko"}) == []
    assert languages.untranslated(whole | {"serve.ko"}) == ["serve.ko (no serve)"]


def test_words_of_the_search():
    search = words.SearchBoth({})
    assert {"코드북을", "코드북", "음소"} <= set(search.split("코드북을 음소"))
    assert search.split("음소") == ["음소"]
    assert search.word_filter("음소")
    assert search.stem("quantisers") == search.stem("quantiser")
    assert not search.word_filter("the")


def test_mathematics_becomes_mathml():
    found = mathml.mathml(r"\sum_{i=1}^N \frac{x_i}{\tau}", None, block=True)
    assert found.startswith("<math")
    assert "<mfrac>" in found
    assert "τ" in found
    assert "…" in mathml.mathml(r"\big( x_1, \dots, x_n \big)", None, block=False)
    accented = mathml.mathml(r"\bar p_{g} + \sum_k^n k", None, block=False)
    assert re.search(r"<msub>\s*<mover accent=.true.>\s*<mi>p</mi>", accented)
    assert "<munderover>" in accented or "<msubsup>" in accented
    numbered = mathml.mathml(r"a = b \tag{3}", None, block=True)
    assert numbered.endswith('</math><span class="equation-number">(3)</span>')
    assert "mtr" in mathml.mathml(r"a &= b \\ c &= d", None, block=True)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="other.html">', ""),
        ('<a href="other.html#there">', ""),
        ('<a href="https://example.org">', ""),
        ('<img src="data:image/png;base64,AA">', ""),
        ('<a href="missing.html">', "no such file"),
        ('<a href="other.html#nowhere">', "no such place"),
        ('<a href="#nowhere">', "no such place"),
        ('<script src="https://example.org/a.js"></script>', "from the network"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "from the network"),
        ('<img src="missing.png">', "no such file"),
    ],
)
def test_check_of_finished_pages(tmp_path, page, problem):
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "page.html").write_text(page)
    found = check.problems(tmp_path)
    assert bool(found) == bool(problem)
    assert all(problem in one for one in found)


def test_style_sheets_are_checked(tmp_path):
    (tmp_path / "a.css").write_text('@import "https://example.org/b.css"; p { background: url(ours.png) }')
    assert len(check.problems(tmp_path)) == 1


def test_public_names():
    names = public_names.public_names()
    assert {"sori.train", "sori.Recipe", "sori.Recipe.override", "sori.recipes.by_name", "sori.SAMPLE_RATE"} <= set(
        names
    )
    assert public_names.undocumented(names, set(names)) == []
    assert public_names.undocumented(names, set(names) - {"sori.train"}) == ["sori.train is not in docs/api.md"]
    silent = {"sori.silent": lambda: None}
    assert public_names.undocumented(silent, set(silent)) == ["sori.silent has no docstring"]


def test_signatures_are_those_of_the_source():
    def example(self, model: "System", *, most: int = 3) -> bool: ...  # noqa: F821

    assert signatures.signature(example) == ("(model: 'System', *, most: int=3)", "bool")


def test_files_become_pages_or_copies():
    assert links._address("src/sori/nn/mask.py") == "files/src/sori/nn/mask.py.html"
    assert links._address("docs/article/interactive/words.html") == "article/interactive/words.html"
