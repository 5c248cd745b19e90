"""Every Python block of the article runs: those of a page in order, in one namespace, in an empty folder."""

import contextlib
import io
import os

import pytest
from tests.docs import pages

ARTICLE = pages.DOCS / "article"
ENGLISH = sorted((ARTICLE / "en").glob("*.md"))
WITH_CODE = [page for page in ENGLISH if pages.outputs(page)]

if not ENGLISH:
    pytest.skip("no page of the article here", allow_module_level=True)


@pytest.fixture
def empty(tmp_path, monkeypatch, data_dir):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SORI_DATA", str(data_dir))
    return tmp_path


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_blocks_run_and_print_what_the_page_says(page, empty):
    names = {"__name__": "__main__"}
    for number, (code, expected) in enumerate(pages.outputs(page), 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page.name}, block {number}", "exec"), names)  # noqa: S102 - our own pages
        if expected is not None:
            assert printed.getvalue().strip() == expected.strip()


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_each_block_shows_or_asserts_something(page):
    for code, expected in pages.outputs(page):
        assert expected is not None or "assert " in code or "print(" not in code


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_both_languages_have_the_same_code(page):
    korean = ARTICLE / "ko" / page.name
    assert [code for code, _ in pages.outputs(page)] == [code for code, _ in pages.outputs(korean)]
    assert [out for _, out in pages.outputs(page)] == [out for _, out in pages.outputs(korean)]


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_both_languages_show_the_same_pictures(page):
    def pictures(path):
        return [name.replace(".ko.svg", ".svg") for name in pages.pictures(path)]

    assert pictures(page) == pictures(ARTICLE / "ko" / page.name)


@pytest.mark.skipif("CI" not in os.environ and len(ENGLISH) < 12, reason="the article is not complete")
def test_the_article_has_every_heading():
    assert [page.stem[:2] for page in ENGLISH] == [*(f"{n:02}" for n in range(1, 12)), "in"]
