"""`sori plot units`: explore the discrete units of a model on a web page."""

from pathlib import Path

from sori.cli.output import write
from sori.core.counts import require_amount
from sori.core.files import write_text
from sori.inference.unit_explorer import NUM_EXAMPLES
from sori.plots.units_page import MEGABYTES


def units(
    model: str,
    *,
    data: list[Path],
    split: str = "all",
    alignments: Path | None = None,
    into: Path | None = None,
    examples: int = NUM_EXAMPLES,
    megabytes: float = MEGABYTES,
    seed: int = 0,
) -> None:
    """Explore the discrete units of a model on an offline web page: contexts, phones, speakers, and audio.

    Args:
        model: Folder, run folder or name of a pre-trained model with its quantiser.
        data: Prepared folder with recordings to process; may be given several times.
        split: Split to use, or `all`. Folders without splits are used as a whole.
        alignments: Phone alignments: a .jsonl file (.gz, .xz) or a folder of TextGrids.
        into: Web page to write. By default `units.html` in the run folder, or NAME.units.html in the current folder.
        examples: Number of examples of each unit.
        megabytes: Maximum size of the page, in megabytes; rare units go without audio if it is too small.
        seed: Random seed of the choice of examples.
    """
    from sori.checkpoints import store
    from sori.core import distributed
    from sori.data.sources.alignments import match, read_alignments
    from sori.data.utterances import utterances_of
    from sori.inference.unit_explorer import explore
    from sori.inference.units import require_quantizer
    from sori.plots.units_page import page

    require_amount("--megabytes", megabytes)
    encoder = require_quantizer(store.load(model), model).to(distributed.device())
    utterances = utterances_of(data, None if split == "all" else split)
    known = None
    if alignments is not None:
        found = match(utterances, read_alignments(alignments))
        known = found.alignments
        write(found.table())
    name = Path(model).resolve().name if Path(model).is_dir() else model
    explored = explore(encoder, utterances, name=name, alignments=known, num_examples=examples, seed=seed)
    text = page(explored, megabytes=megabytes)
    target = into or (Path(model) / "units.html" if Path(model).is_dir() else Path(f"{Path(model).name}.units.html"))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    write(f"{target}\t{len(explored.views[0].labels):,} units, {target.stat().st_size / 1e6:.1f} MB")
