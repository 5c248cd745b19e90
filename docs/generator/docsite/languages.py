"""Pages in English and Korean: which belong together, the switch between them, the language of a page's frame."""

import gettext
from pathlib import Path, PurePosixPath
from typing import Any

import sphinx
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.locale import get_translator

_CATALOGUES = Path(sphinx.__file__).parent / "locale"
_KOREAN = {
    "Search the docs ...": "문서 검색",
    "Search": "검색",
    "On this page": "이 페이지의 내용",
    "Section Navigation": "목차",
    "previous": "이전",
    "next": "다음",
    "Skip to main content": "본문으로 건너뛰기",
    "Back to top": "맨 위로",
    "Site navigation": "사이트 메뉴",
    "Collapse Sidebar": "목차 접기",
    "Expand Sidebar": "목차 펼치기",
    "Home": "처음",
    "More": "더 보기",
}
_INDEX = "\n\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"
"""The pages of the article are plain Markdown; their order is that of their names."""


def language_of(page: str) -> str:
    """Return the language of a page, `en` or `ko`."""
    name = PurePosixPath(page)
    return "ko" if "ko" in name.parent.parts or name.name.endswith(".ko") else "en"


def twin_of(page: str) -> str:
    """Return the name of a page in the other language, whether it exists or not."""
    name = PurePosixPath(page)
    if len(name.parts) > 1 and name.parts[0] == "article":
        other = "en" if name.parts[1] == "ko" else "ko"
        return str(PurePosixPath("article", other, *name.parts[2:]))
    return page.removesuffix(".ko") if page.endswith(".ko") else f"{page}.ko"


def untranslated(pages: set[str]) -> list[str]:
    """Return pages that must exist in both languages and lack one: the article, the first page and the glossary."""
    both = {page for page in pages if page.startswith("article/") or language_of(page) == "ko"} | {"index", "glossary"}
    return sorted(f"{page} (no {twin_of(page)})" for page in both if twin_of(page) not in pages)


def _check(_app: Sphinx, env: BuildEnvironment) -> None:
    missing = untranslated(env.found_docs)
    if missing:
        raise ExtensionError(f"pages in one language only: {', '.join(missing)}; write the other one")


def _add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    if page in {"article/en/index", "article/ko/index"}:
        source[0] += _INDEX


def _korean(text: str) -> str:
    return _KOREAN.get(text) or gettext.translation("sphinx", _CATALOGUES, ["ko"]).gettext(text)


def _frame(app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: nodes.document | None) -> None:
    found = language_of(page)
    pages = app.env.found_docs
    other = twin_of(page)
    there = other in pages
    if not there:
        other = "index" if found == "ko" else "index.ko"
    translate = _korean if found == "ko" else get_translator().gettext
    context |= {"language": found, "other_page": other, "has_twin": there, "_": translate, "gettext": translate}


def setup(app: Sphinx) -> dict[str, Any]:
    """Check the pairs of pages and give each page its language."""
    app.connect("env-before-read-docs", lambda app, env, _names: _check(app, env))
    app.connect("source-read", _add_contents)
    app.connect("html-page-context", _frame)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
