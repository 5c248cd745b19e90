"""The built site: strict, complete, without a network, in both languages, on a telephone and in the dark."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from tests.docs import pages
from tests.serve.chromium import FLAGS, FOUND, in_browser

pytest.importorskip("sphinx")
NARROW = ("index", "index.ko", "which-road", "results", "api", "commands", "troubleshooting")
ARTICLE = ("article/en/index", "article/ko/index", "article/en/09-wav2vec2", "article/ko/10-cross-lingual")
BUILD = pages.DOCS / "generator" / "build.py"


def build(into, script=BUILD):
    settings = {**os.environ, "PYTHONPATH": str(pages.ROOT / "src")}
    command = [sys.executable, script, into]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=settings)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The site, built once for all workers, or before by `make docs` (`.ci/run`)."""
    if built := os.environ.get("SORI_SITE"):
        return Path(built)
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "site"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            done = build(folder)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout + done.stderr == ""
    return folder


def test_every_page_is_there(site):
    written = {path.relative_to(pages.DOCS).with_suffix(".html") for path in pages.DOCS.rglob("*.md")}
    assert {path for path in written if not (site / path).is_file()} == set()


def test_pages_have_their_language_and_a_switch(site):
    english, korean = ((site / name).read_text(encoding="utf-8") for name in ("index.html", "index.ko.html"))
    assert '<html lang="en"' in english
    assert '<html lang="ko"' in korean
    assert 'href="index.ko.html" hreflang="ko"' in english
    assert 'hreflang="en"' in korean
    assert "목차" in (site / "glossary.ko.html").read_text(encoding="utf-8")


def test_the_reference_shows_signatures_and_options(site):
    assert "Train by a recipe" in (site / "api.html").read_text(encoding="utf-8")
    assert "--train.num-steps" in (site / "commands.html").read_text(encoding="utf-8")
    assert "wav2vec2_xlsr_300m" in (site / "recipes.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=FOUND, args=[*FLAGS])
        yield found
        found.close()


@pytest.fixture
def opened(browser, site):
    """Open a page as a file; afterwards no request has left, and nothing was wrong."""
    contexts, requested, wrong = [], [], []

    def open_page(name, *, width=1280, dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        path, _, query = name.partition("?")
        page.goto((site / path).as_uri() + (f"?{query}" if query else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
    assert wrong == []


@in_browser
@pytest.mark.parametrize(
    ("word", "leads_to"),
    [("plateau", "troubleshooting.html"), ("quantisers", "glossary.html"), ("사전학습", "index.ko.html")],
)
def test_search_finds_a_word_in_each_language(opened, word, leads_to):
    page = opened(f"search.html?q={word}")
    page.locator(f"#search-results a[href*='{leads_to}']").first.wait_for()


@in_browser
@pytest.mark.parametrize("name", [*NARROW, *(one for one in ARTICLE if (pages.DOCS / f"{one}.md").is_file())])
def test_pages_fit_a_telephone(opened, name):
    page = opened(f"{name}.html", width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@in_browser
def test_the_dark_is_dark(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = opened("index.html").evaluate(colour)
    dark = opened("index.html", dark=True).evaluate(colour)
    assert sum(map(int, light[4:-1].split(","))) > 600
    assert sum(map(int, dark[4:-1].split(","))) < 150


@in_browser
def test_the_switch_leads_to_the_other_language_and_back(opened):
    page = opened("glossary.html")
    page.locator("a.language-switch").first.click()
    assert page.url.endswith("glossary.ko.html")
    page.locator("a.language-switch").first.click()
    assert page.url.endswith("glossary.html")


@in_browser
def test_a_link_to_a_source_file_shows_it(opened):
    page = opened("systems/word2vec.html")
    found = page.locator("a.repository-file").first
    if found.count():
        found.click()
        assert "/files/" in page.url
        page.locator("h1 code").wait_for()


BROKEN = {
    "a broken link": ("train.md", "\n[here](nowhere.md)\n"),
    "a broken anchor": ("train.md", "\n[here](prepare.md#no-such-place)\n"),
    "a missing file": ("train.md", "\n[here](../src/sori/nothing.py)\n"),
    "mathematics": ("train.md", "\n$\\nosuchcommand{x}$\n"),
    "a page in one language": ("article/en/99-alone.md", "# Alone\n\ntext\n"),
    "an undocumented name": ("api.md", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BROKEN)
def test_a_fault_ends_the_build(what, tmp_path):
    docs = tmp_path / "docs"
    shutil.copytree(pages.DOCS, docs)
    for name in ("src", "benchmarks", "README.md", "CONTRIBUTING.md", "examples"):
        if (pages.ROOT / name).exists():
            (tmp_path / name).symlink_to(pages.ROOT / name)
    name, text = BROKEN[what]
    page = docs / name
    before = page.read_text() if page.exists() else ""
    page.write_text(before.replace(".. autofunction:: sori.align\n", "") if text is None else before + text)
    done = build(tmp_path / "site", docs / "generator" / "build.py")
    assert done.returncode != 0
    assert Path(name).stem in done.stderr or "undocumented" in done.stderr
