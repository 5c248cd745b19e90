"""Check the built site: each local link leads to a file and an anchor, and nothing is loaded from another host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src"}
_STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """What one page links to, loads and can be reached by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses and names of an element."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") in {"stylesheet", "icon", "preload"}:
            self.loads.append(found["href"])
        if tag in _LOADED and _LOADED[tag] in found:
            self.loads.append(found[_LOADED[tag]])


def problems(site: Path) -> list[str]:
    """Return what is wrong with the pages and style sheets of a folder, one line each."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in _pages(site)}
    found = []
    for path, page in pages.items():
        here = path.relative_to(site)
        found += [f"{here}: loads {one} from the network" for one in page.loads if _is_foreign(one)]
        for link in [*page.links, *page.loads]:
            local = not _is_foreign(link) and not link.startswith("data:")
            problem = _problem(link, path, pages) if local else ""
            if problem:
                found.append(f"{here}: link {link}: {problem}")
    for path in sorted(site.rglob("*.css")):
        urls = (one or other for one, other in _STYLE_URL.findall(path.read_text(encoding="utf-8")))
        found += [f"{path.relative_to(site)}: loads {one} from the network" for one in urls if _is_foreign(one)]
    return found


def _pages(site: Path) -> list[Path]:
    """Return the pages; what lies with the theme's scripts are templates."""
    return [path for path in sorted(site.rglob("*.html")) if path.relative_to(site).parts[0] != "_static"]


def _is_foreign(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in {"", "file", "data"}


def _problem(link: str, path: Path, pages: dict[Path, Page]) -> str:
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return "no such place on the page"
    return ""
