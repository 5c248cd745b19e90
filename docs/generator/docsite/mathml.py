"""Mathematics as MathML, written when the site is built: pages need no script and no font for it."""

import html
import re
from typing import Any
from xml.etree import ElementTree as ET

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

_log = logging.getLogger(__name__)
_SIZES = re.compile(r"\\(?:[bB]igg?[lrm]?|textstyle|displaystyle)(?![a-zA-Z])")
"""Sizes, which browsers choose themselves."""
_SPACE = "http://www.w3.org/1998/Math/MathML"
_ACCENTS = set("ˉˆ~⃗→˙¯^")
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot);)\w+;")
_DOTS = re.compile(r"\\dots[bcimo]?(?![a-zA-Z])")
_TAG = re.compile(r"\\tag\{([^}]*)\}")


def mathml(source: str, node: nodes.Node, *, block: bool) -> str:
    """Convert LaTeX to MathML; what cannot be converted is a warning, which fails the build."""
    source, number = _without_tag(_DOTS.sub(r"\\ldots", _SIZES.sub("", source)))
    if block and r"\\" in source and r"\begin" not in source:
        source = rf"\begin{{aligned}}{source}\end{{aligned}}"
    try:
        found = _accents(tex2mathml(source, as_block=block))
    except MathError as error:
        _log.warning("mathematics that cannot be written as MathML: %s: %s", source, error, location=node)
        return f"<code>{html.escape(source)}</code>"
    return f'{found}<span class="equation-number">({number})</span>' if number else found


def _accents(found: str) -> str:
    """Put the subscript of a letter with an accent beside it; the converter puts it below, like the limit of a sum."""
    tree = ET.fromstring(_ENTITY.sub(lambda named: html.unescape(named[0]), found))  # noqa: S314 - our own
    for node in tree.iter(f"{{{_SPACE}}}munderover"):
        letter, _, above = node
        if (above.text or "") in _ACCENTS:
            node.tag = f"{{{_SPACE}}}msub"
            node.remove(letter)
            node.remove(above)
            accented = ET.Element(f"{{{_SPACE}}}mover", {"accent": "true"})
            accented.extend([letter, above])
            node.insert(0, accented)
    ET.register_namespace("", _SPACE)
    return ET.tostring(tree, encoding="unicode")


def _without_tag(source: str) -> tuple[str, str]:
    r"""Return a formula without its number, and the number: `\tag{3}`."""
    number = _TAG.search(source)
    return _TAG.sub("", source).strip(), html.escape(number[1]) if number else ""


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), node, block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math-block">{mathml(node.astext(), node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
