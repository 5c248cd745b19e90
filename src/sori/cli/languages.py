"""`sori languages`: compare how languages use the discrete units of a model."""

from pathlib import Path

from sori.cli.output import write


def languages(
    model: str, *, data: list[Path], split: str = "all", minutes: float = 10.0, into: Path = Path("languages.png")
) -> None:
    """Compare how languages use the discrete units of a model: distances, a map, and units used by one language.

    Args:
        model: Folder, run folder or name of a pre-trained model with its quantiser.
        data: Prepared folder whose recordings have a language label; may be given several times.
        split: Split to use, or `all`. Folders without splits are used as a whole.
        minutes: Maximum amount of audio of each language, in minutes.
        into: Figure to write (.png, .svg, .pdf).
    """
    import torch

    from sori.checkpoints import store
    from sori.core.counts import require_amount
    from sori.data.utterances import utterances_of
    from sori.evaluation.unit_languages import count_units
    from sori.inference.units import require_quantizer
    from sori.plots.language_map import languages as draw
    from sori.plots.style import save_figure

    require_amount("--minutes", minutes)
    encoder = require_quantizer(store.load(model), model).eval()
    with torch.no_grad():
        use = count_units(
            lambda waveform: encoder.units(waveform, torch.tensor([waveform.shape[1]])).data,
            utterances_of(data, None if split == "all" else split),
            num_codes=encoder.config.num_codes,
            minutes=minutes,
            shortest=encoder.field_samples,
        )
    figure = draw(use.names, use.distances, use.between, use.owned)
    into.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, into)
    write("distances of code use, 0 alike to 1 without a code in common; diagonal: halves of one language")
    write(" " * 8 + "".join(f"{name:>8}" for name in use.names) + "     own")
    for name, row, own in zip(use.names, use.between.tolist(), use.num_owned, strict=True):
        write(f"{name:8}" + "".join(f"{distance:8.3f}" for distance in row) + f"{own:8}")
    write(f"figure written to {into}")
