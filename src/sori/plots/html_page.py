"""Build blocks of self-contained HTML pages: no external resources, light and dark mode."""

import base64
import html
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import soundfile
from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.core.shapes import Float, Tensor
from sori.plots.style import INK
from sori.text.edit_distance import Step, align
from sori.text.vocabulary import graphemes

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #23262b; --soft: #5d636d; --paper: #fcfcfa; --card: #f1f2f0; --line: #d9dbd8;
  --bad: #b3243a; --good: #14785a; --accent: #2568a0; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e6ea; --soft: #a2a8b3; --paper: #15171b; --card: #1f2228;
  --line: #353a43; --bad: #ff8a97; --good: #5fd0ac; --accent: #7db8ea; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1.5rem 1.1rem 4rem; max-width: 52rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 .6rem; }}
h2 {{ font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .8rem; border-top: 1px solid var(--line); }}
p {{ margin: .5rem 0; }} .soft {{ color: var(--soft); }}
.picture {{ margin: .8rem 0; overflow-x: auto; color: var(--ink); }}
.picture svg {{ display: block; width: 100%; height: auto; }}
figcaption, small {{ color: var(--soft); font-size: .9rem; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }}
.tile {{ background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }}
.tile b {{ display: block; font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }}
.tile span {{ color: var(--soft); font-size: .88rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }}
th, td {{ text-align: left; padding: .3rem 1.1rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }}
th {{ font-weight: 600; color: var(--soft); }}
.example {{ background: var(--card); border-radius: .5rem; padding: .8rem .9rem; margin: .8rem 0; }}
.example audio {{ width: 100%; height: 2.2rem; margin: .2rem 0 .5rem; }}
.example dl {{ margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; }}
.example dt {{ color: var(--soft); }} .example dd {{ margin: 0; }}
@media (max-width: 34rem) {{ .example dl {{ grid-template-columns: 1fr; }} .example dd {{ margin-bottom: .4rem; }} }}
.wrong {{ color: var(--bad); text-decoration: underline wavy; text-underline-offset: .2em; }}
.extra {{ color: var(--bad); font-weight: 600; }}
.missing {{ color: var(--bad); text-decoration: line-through; opacity: .8; }}
rt {{ color: var(--soft); font-size: .7em; text-decoration: none; user-select: none; }}
.wrong b {{ font-weight: 800; }}
.reading table {{ width: 100%; table-layout: fixed; }} .reading td {{ padding-right: .9rem; }}
td.num, th.num {{ text-align: right; white-space: nowrap; }}
pre {{ background: var(--card); border-radius: .5rem; padding: .8rem .9rem; overflow-x: auto; font-size: .9rem; }}
{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""


def page(title: str, blocks: Iterable[str], *, style: str = "", script: str = "") -> str:
    """Return a complete page.

    Args:
        title: title of the window.
        blocks: HTML, from top to bottom.
        style: additional CSS.
        script: JavaScript, placed after the blocks.
    """
    run = f"<script>\n{script}</script>\n" if script else ""
    return _TEMPLATE.format(title=html.escape(title), body="\n".join(blocks), style=style, script=run)


def embedded_json(data: Any) -> str:
    """Return data as JSON that can be put into a `<script>` element: no text in it can end the element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def heading(text: str, *, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def paragraph(text: str, *, soft: bool = False) -> str:
    """Return a paragraph of plain text; `soft` is for secondary text."""
    return f"<p{' class=soft' if soft else ''}>{html.escape(text)}</p>"


def code(text: str) -> str:
    """Return a block of code."""
    return f"<pre><code>{html.escape(text)}</code></pre>"


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """Return large numbers, each with a description."""
    made = (
        f"<div class=tile><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for value, name in facts
    )
    return f"<div class=tiles>{''.join(made)}</div>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table of text.

    Args:
        header: heading of each column.
        rows: cells of each row.
        numbers: columns to align right.
    """
    return raw_table(header, (map(html.escape, row) for row in rows), numbers=numbers)


def raw_table(header: Sequence[str], rows: Iterable[Iterable[str]], *, numbers: Sequence[int] = ()) -> str:
    """Return a table like `table`, but with HTML in the cells below the header."""
    kinds = [" class=num" if column in numbers else "" for column in range(len(header))]
    head = "".join(f"<th{kind}>{html.escape(cell)}</th>" for kind, cell in zip(kinds, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def picture(figure: Figure, caption: str) -> str:
    """Return a figure as inline SVG with a caption."""
    return f"<figure class=picture>{svg(figure, label=caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"


def svg(figure: Figure, *, label: str) -> str:
    """Return a figure as inline SVG that uses the text colour of the page.

    Args:
        figure: drawn with `style.INK`.
        label: text for screen readers.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "sori"}):
        figure.savefig(buffer, format="svg", metadata=nothing)  # None leaves an entry out
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawing)  # HTML does not need these namespaces
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawing, count=1)
    drawing = drawing.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui")
    width = figure.get_figwidth()  # text is half to full page size; wide figures scroll
    size = f"min-width: {4.5 * width:.0f}rem; max-width: {7 * width:.0f}rem"
    return drawing.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}" style="{size}"', 1)


def audio(waveform: Float[Tensor, " sample"], *, small: bool = False) -> str:
    """Return an audio player with embedded audio, normalised to a common level.

    Args:
        waveform: 16 kHz.
        small: MP3 of about 6 kB per second, loaded on play, for pages with many players; otherwise FLAC. All browsers
            support both.
    """
    data = base64.b64encode(encoded(waveform, small=small)).decode()
    kind, preload = ("mpeg", "none") if small else ("flac", "metadata")
    return f'<audio controls preload="{preload}" src="data:audio/{kind};base64,{data}"></audio>'


def encoded(waveform: Float[Tensor, " sample"], *, small: bool) -> bytes:
    """Encode a waveform as MP3 (small) or FLAC, normalised in level."""
    loud = 0.8 * waveform / waveform.abs().max().clamp(min=1e-6)
    buffer = io.BytesIO()
    coding, subtype = ("MP3", "MPEG_LAYER_III") if small else ("FLAC", "PCM_16")
    soundfile.write(buffer, loud.numpy(), 16_000, format=coding, subtype=subtype)
    return buffer.getvalue()


def utterance(waveform: Float[Tensor, " sample"], *, reference: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return an audio player with the reference and the hypothesis of each recogniser, errors marked.

    Args:
        waveform: 16 kHz.
        reference: reference text.
        rows: label and hypothesis of each recogniser.
    """
    items = [("reference", html.escape(reference)), *((label, marked(_steps(reference, text))) for label, text in rows)]
    listed = "".join(f"<dt>{html.escape(label)}</dt><dd>{text}</dd>" for label, text in items)
    return f"<div class=example>{audio(waveform)}<dl>{listed}</dl></div>"


def reading(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return texts to read side by side, sentence by sentence.

    Args:
        header: heading of each column; the first is that of the references.
        rows: for each sentence, the reference and each hypothesis, whose errors are marked.
    """
    cells = (
        [html.escape(reference), *(_beside(_steps(reference, text)) for text in hypotheses)]
        for reference, *hypotheses in rows
    )
    return f"<div class=reading>{raw_table(header, cells)}</div>"


def _beside(steps: Iterable[Step]) -> str:
    """Return a hypothesis that stands beside its reference: what differs is marked, not repeated."""
    pieces = []
    for step in steps:
        match step.kind:
            case "right":
                pieces.append(html.escape(step.hypothesis))
            case "wrong" | "extra":
                pieces.append(f"<span class=wrong>{html.escape(step.hypothesis)}</span>")
            case "missing":
                pieces.append('<span class=wrong title="missing">\N{WHITE SQUARE}</span>')
    return " ".join(pieces)


def _steps(reference: str, hypothesis: str) -> list[Step]:
    return align([reference.split()], [hypothesis.split()])[0]


def marked(steps: Iterable[Step]) -> str:
    """Return a hypothesis with substitutions underlined below the reference, insertions bold, deletions struck."""
    pieces = []
    for step in steps:
        match step.kind:
            case "right":
                pieces.append(html.escape(step.hypothesis))
            case "wrong":
                word = _marked_word(step.reference, step.hypothesis)
                pieces.append(f"<ruby class=wrong>{word}<rt>{html.escape(step.reference)}</rt></ruby>")
            case "extra":
                pieces.append(f'<span class=extra title="insertion">+{html.escape(step.hypothesis)}</span>')
            case "missing":
                pieces.append(f'<span class=missing title="deletion">{html.escape(step.reference)}</span>')
    return " ".join(pieces)


def _marked_word(reference: str, hypothesis: str) -> str:
    """Return a wrong word; if most of its characters are correct, the wrong ones are bold."""
    (steps,) = align([graphemes(reference)], [graphemes(hypothesis)])
    if 2 * sum(step.kind == "right" for step in steps) <= len(steps):
        return html.escape(hypothesis)
    return "".join(
        html.escape(step.hypothesis) if step.kind == "right" else f"<b>{html.escape(step.hypothesis)}</b>"
        for step in steps
        if step.hypothesis
    )


def escaped(text: str) -> str:
    """Return text escaped for HTML."""
    return html.escape(text)


def finder(text: str, query: str) -> str:
    """Return a button that searches the utterances of the page."""
    return f'<button type=button class=find data-find="{html.escape(query)}">{html.escape(text)}</button>'


def finding(headline: str, detail: str) -> str:
    """Return a result as a headline with details."""
    return f"<div class=finding><b>{html.escape(headline)}</b> {html.escape(detail)}</div>"


def legend(rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of labels with their meanings."""
    items = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(name)}</dd>" for label, name in rows)
    return f"<dl class=legend>{items}</dl>"
