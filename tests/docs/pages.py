"""The code blocks of the documentation, with what stands around them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOW_TO = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
"""README and how-to pages; the pages of the article have their own test."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_ANOTHER_LANGUAGE = ".ko.md"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    """Why it is not run; None: it is."""

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page, language):
    """Return the blocks of a language in a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        if match["language"] != language:
            continue
        reason = _NOT_RUN.search(text[: match.start()])
        body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, body, reason[1] if reason else None))
    return found


def pages_with(language):
    """Return the README and how-to pages that have such blocks; of a translated page, the English one."""
    return [page for page in HOW_TO if not page.name.endswith(_ANOTHER_LANGUAGE) and blocks(page, language)]


def outputs(page):
    """Return each Python block with the text block that follows it directly, or None: its expected output."""
    text = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    pairs = []
    for match, after in zip(found, [*found[1:], None], strict=True):
        if match["language"] == "python":
            follows = after and after["language"] == "text" and not text[match.end() : after.start()].strip()
            pairs.append((match["text"], after["text"] if follows else None))
    return pairs


def pictures(page):
    """Return the addresses of the pictures of a page, in order; each must have a text in place of it."""
    found = re.findall(r"!\[(.*?)\]\((.+?)\)", page.read_text(encoding="utf-8"), re.DOTALL)
    assert all(text.strip() for text, _ in found), f"a picture of {page} has no text in place of it"
    return [address for _, address in found]
