"""Collect what the unit explorer shows of a model and a corpus (`plots/units_page.py` makes the page)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.counts import require_count
from sori.data.manifest import Utterance
from sori.data.sources.alignments import Alignment
from sori.evaluation.codebook_use import codebook_use
from sori.evaluation.unit_statistics import Integers, stretches_of
from sori.inference.unit_examples import Clips, choose, example_of, place_of
from sori.inference.unit_views import LONGEST_PHONE_SECONDS, SILENCE, Corpus, numbered, read_corpus, view_of
from sori.models.encoders import Quantizing, codebook_of
from sori.plots.units_page import Explored, UnitView

NUM_EXAMPLES = 8
"""Examples of each unit."""


@torch.no_grad()
def explore(
    encoder: Quantizing,
    utterances: Sequence[Utterance],
    *,
    name: str,
    alignments: Sequence[Alignment | None] | None = None,
    num_examples: int = NUM_EXAMPLES,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Explored:
    """Collect the units of utterances, with examples.

    Args:
        encoder: encoder with a quantiser, see `inference.units.require_quantizer`.
        utterances: from `data.manifest.read_manifest`; those that cannot be read are left out with a warning.
        name: name of the model, for the title.
        alignments: phones of each utterance; None: no phones are shown.
        num_examples: examples of each unit, of as many speakers as possible.
        notes: further sentences for the page, such as the licence of the recordings.
        seed: seed of the choice of examples.

    Raises:
        ValueError: no utterance could be read, or alignments were given and no frame has a phone.
    """
    require_count("number of examples of each unit", num_examples, least=0, most=1000)
    corpus = read_corpus(encoder.eval(), utterances, alignments)
    codebook = codebook_of(encoder).float().cpu()
    numberings = numbered(corpus)
    views = [view_of(corpus, one, codebook) for one in numberings]
    ends = np.cumsum(corpus.lengths)
    stretches = stretches_of(np.split(numberings[0].frames, ends[:-1]))
    frames = (ends - corpus.lengths)[stretches.owners] + stretches.firsts
    members = np.stack([one.frames[frames] for one in numberings], axis=1)
    speakers = corpus.of_frames(corpus.speakers, [one.speaker for one in corpus.utterances])[frames]
    chosen = choose(members, stretches, speakers, num_examples=num_examples, seed=seed)
    places = [place_of(corpus, stretches, one) for one in chosen]
    return Explored(
        title=f"Units of {name}",
        notes=[*_notes(corpus, views), *notes],
        facts=list(_facts(corpus, views, numberings[0].frames)),
        frame_seconds=corpus.timing.hop_samples / SAMPLE_RATE,
        views=views,
        phones=corpus.phones,
        speakers=corpus.speakers,
        languages=corpus.languages,
        num_examples=num_examples,
        examples=[example_of(corpus, place, row) for place, row in zip(places, chosen.values(), strict=True)],
        sound=Clips(corpus.utterances, places),
    )


def _notes(corpus: Corpus, views: Sequence[UnitView]) -> Iterator[str]:
    minutes = sum(one.duration_seconds for one in corpus.utterances) / 60
    spoken = "".join(
        f", {len(names):,} {noun}{'s' if len(names) > 1 else ''}"
        for names, noun in ((corpus.speakers, "speaker"), (corpus.languages, "language"))
        if names
    )
    yield f"Every unit that the model assigns to {len(corpus.utterances):,} utterances ({minutes:.1f} min{spoken})."
    if len(views) > 1:
        yield (
            f"The model has {len(views) - 1} codebook groups. A unit is the combination of one entry of each, as "
            "`sori units` writes it; the entries of each group are another view."
        )
    if corpus.phones:
        yield (
            "A frame has the phone that the alignment has at its middle; phones of more than "
            f'{LONGEST_PHONE_SECONDS:g} s are left out, and all silences and noises are "{SILENCE}". The purity of a '
            "unit is the fraction of its most frequent phone."
        )


def _facts(corpus: Corpus, views: Sequence[UnitView], frames: Integers) -> Iterator[tuple[str, str]]:
    for view in views:
        frequency = view.num_frames / view.num_frames.sum()
        effective = np.exp(-(frequency * np.log(frequency)).sum())
        yield (f"{len(view.labels):,}", f"{view.name} of {view.num_possible:,} occur; perplexity {effective:,.0f}")
    if corpus.phones:
        phones = corpus.phones_of_frames
        spoken = np.array([name != SILENCE for name in corpus.phones])[phones] & (phones >= 0)
        use = codebook_use(frames, np.where(spoken, phones, -1), num_codes=views[0].num_possible)
        yield (f"{use.phone_purity:.0%}", "phone purity, silences left out")
        yield (f"{use.pnmi:.2f}", f"phone-normalised mutual information (shuffled: {use.chance_pnmi:.2f})")
