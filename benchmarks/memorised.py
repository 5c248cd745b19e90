"""Score recognisers, greedily, on the transcribed utterances that they were trained on.

    python benchmarks/memorised.py RUN [RUN ...]

Beside the error rate on other speakers, this tells memorising (low here, high there) from learning too little (high in
both). Only utterances of the split of the training are scored, without augmentation.
"""

import argparse
from pathlib import Path

from sori.checkpoints import store
from sori.core.run_folder import RunFolder
from sori.data.labels import choose_minutes
from sori.data.utterances import training_utterances, with_text
from sori.evaluation.recognition import require_recogniser, scored
from sori.recipes.recipe import Recipe, RecogniserRecipe


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folder of a recogniser")
    for path in parser.parse_args().runs:
        recipe = Recipe.from_yaml(RunFolder(path).recipe)
        if not isinstance(recipe, RecogniserRecipe):
            parser.error(f"expected runs of recognisers, got {path} of {recipe.name}")
        utterances = with_text(training_utterances(recipe.corpora, recipe.held_out))
        if recipe.labels.minutes is not None:
            utterances = choose_minutes(utterances, recipe.labels.minutes, seed=recipe.labels.seed)
        report = scored(require_recogniser(store.load(path).eval(), str(path)), utterances, None)
        print(f"{path}: {len(utterances)} training utterances, CER {report.cer.rate:.1%}, WER {report.wer.rate:.1%}")


if __name__ == "__main__":
    main()
