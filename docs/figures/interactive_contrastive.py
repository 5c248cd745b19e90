"""Interactive page: similarities and a temperature, and the softmax, loss and gradients that follow from them.

    python docs/figures/interactive_contrastive.py

writes `docs/article/interactive/contrastive.html`, which requests nothing. It is in English, and in Korean
with `?lang=ko` or its button.
"""

from pathlib import Path

from sori.core.files import write_text
from sori.plots import html_page

_HERE = Path(__file__).parent
INTO = _HERE.parent / "article" / "interactive" / "contrastive.html"
_SITUATIONS = ("untrained", "learnt", "hard", "false", "collapsed")
_TILES = ("loss", "equal", "right", "bound", "hardest")
_BODY = """<button id=language type=button></button>
<h1 data-text=title></h1>
<p data-text=intro></p>
<fieldset id=situations class=choices><legend data-text=situations></legend>{situations}</fieldset>
<p id=explanation aria-live=polite></p>
<div id=settings>
<label><span><span data-text=temperature></span><output id=shown></output></span>
<input id=temperature type=range min=0 max=200 step=1></label>
<label><span data-text=kind></span><select id=kind><option value=softmax data-text=softmax></option>
<option value=binary data-text=binary></option></select></label>
</div>
<div class="row head" aria-hidden=true><span data-text=candidate></span><span data-text=similarity></span><span></span>
<span data-text=probability></span><span data-text=gradient></span></div>
<ul id=candidates></ul>
<p class=choices><button id=fewer type=button data-text=fewer></button>
<button id=more type=button data-text=more></button></p>
<div class=tiles role=status>{tiles}</div>
<p class=soft data-text=legend></p>
<h2 data-text=curve></h2>
<svg id=curve viewBox="0 0 330 142" role=img></svg>"""


def page() -> str:
    """Return the page."""
    situations = "".join(f"<button type=button data-text={name}></button>" for name in _SITUATIONS)
    tiles = "".join(f"<div class=tile><b id={name}></b><span data-text={name}></span></div>" for name in _TILES)
    style, script = ((_HERE / f"interactive_contrastive.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    body = _BODY.format(situations=situations, tiles=tiles)
    return html_page.page("Contrastive loss", [body], style=style, script=script)


def main() -> None:
    """Write the page."""
    write_text(INTO, page())


if __name__ == "__main__":
    main()
