"""Links from pages to files of the repository that are no pages.

The repository has no public address, so a source file becomes a page of the site (`files/PATH.html`, with its lines),
and a file below docs/ (an interactive page, a script) is copied to the same place on the site. A link to anything else,
or to nothing, fails the build.
"""

import html
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging

ROOT = Path(__file__).parents[3]
_log = logging.getLogger(__name__)
_LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".js": "javascript",
    ".css": "css",
    ".html": "html",
    ".sh": "bash",
    ".sbatch": "bash",
}
_MOST_CHARACTERS = 300_000


def _files(app: Sphinx) -> dict[str, set[str]]:
    """Return which page links to which file, both for pages of source and for copies."""
    if not hasattr(app.env, "sori_files"):
        app.env.sori_files = {}
    return app.env.sori_files


def _resolve(app: Sphinx, tree: nodes.document) -> None:
    """Replace what would be a download by a link to a page or a copy."""
    page = app.env.docname
    _files(app)[page] = set()
    for node in list(tree.findall(_leads_to_a_file)):
        named, mark, query = node["reftarget"].partition("?")
        if node.get("refdomain") == "doc":
            named += ".md"
        path = Path(os.path.normpath((Path(app.srcdir) / page).parent / named))
        if not path.is_file() or not path.is_relative_to(ROOT):
            _log.warning("link to %s, which is no file of the repository", node["reftarget"], location=node)
            continue
        inside = path.relative_to(ROOT).as_posix()
        _files(app)[page].add(inside)
        here = PurePosixPath(page).parent
        link = nodes.reference(
            "", "", refuri=os.path.relpath(_address(inside), here) + mark + query, classes=["repository-file"]
        )
        link += node.children
        node.replace_self(link)


def _leads_to_a_file(node: nodes.Node) -> bool:
    """Return whether a node is a link to a file that is no page; Markdown outside docs/ has an absolute path."""
    if isinstance(node, addnodes.pending_xref):
        outside = node.get("refdomain") == "doc" and node["reftarget"].startswith("/")
        return outside or (node.get("refdomain") is None and ".html?" in node["reftarget"])
    return isinstance(node, addnodes.download_reference)


def _address(inside: str) -> str:
    """Return the place on the site of a file of the repository."""
    if inside.startswith("docs/"):
        return inside.removeprefix("docs/")
    return f"files/{inside}.html"


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make the pages of source files."""
    wanted = set().union(*_files(app).values())
    bridge = PygmentsBridge("html", app.config.html_theme_options["pygments_light_style"])
    for inside in sorted(one for one in wanted if not one.startswith("docs/")):
        text = (ROOT / inside).read_text(encoding="utf-8")
        if len(text) > _MOST_CHARACTERS:
            _log.warning("%s is too large to be shown: link to something smaller", inside)
            continue
        shown = bridge.highlight_block(text, _LANGUAGES.get(Path(inside).suffix, "text"), linenos="inline", force=True)
        body = f"<h1><code>{html.escape(inside)}</code></h1>{shown}"
        yield f"files/{inside}", {"title": inside, "body": body, "parents": []}, "page.html"


def _copy(app: Sphinx, error: Exception | None) -> None:
    """Copy linked files below docs/, and every interactive page and picture of the article."""
    if error or app.builder.format != "html":
        return
    wanted = {one for one in set().union(*_files(app).values()) if one.startswith("docs/")}
    docs = ROOT / "docs"
    wanted |= {one.relative_to(ROOT).as_posix() for one in (docs / "article" / "interactive").glob("*")}
    for inside in sorted(wanted):
        to = Path(app.outdir) / _address(inside)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / inside, to)


def setup(app: Sphinx) -> dict[str, Any]:
    """Resolve links, make pages of source, copy files."""
    app.connect("doctree-read", _resolve, priority=1)
    app.connect("env-purge-doc", lambda app, _env, page: _files(app).pop(page, None))
    app.connect("html-collect-pages", _pages)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
