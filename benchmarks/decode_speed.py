"""Compare the speed and errors of beam search with flashlight-text, with a lexicon and a 4-gram model.

    python benchmarks/decode_speed.py [--model RUN/model --data PREPARED --split test] [--arpa LM.arpa]

Both decoders run alternately in one process. The lexicon has every word of the texts whose characters are in the
vocabulary. The language model is `--arpa`, or interpolated Kneser-Ney on the same texts (n-grams of order 3 and 4 that
occur once are dropped), built in `--folder`. The emissions are those of a recogniser on the transcribed utterances of a
split, or synthetic: sentences of the texts, each letter one or two frames long with blanks in between, and noise. Both
decoders use the best alignment (flashlight's usual setting) on one thread with the same weights and thresholds. A frame
with a certain word boundary is appended, because flashlight's words end with one. sori is also run with its default
setting (sums over alignments), on one thread and on all.

Writes `benchmarks/results/decode_speed.json`, in which the results of the other kind of emissions are kept.
"""

import argparse
import json
import lzma
import math
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jiwer
import torch
from flashlight.lib.text import decoder as flashlight
from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary

import sori
from sori.checkpoints import store
from sori.core import audio
from sori.core.shapes import Frames, Tensor
from sori.data.manifest import read_manifest
from sori.decoding.beam import BeamConfig, BeamDecoder
from sori.decoding.greedy import greedy
from sori.lm.kneser_ney import build
from sori.lm.ngram import NgramModel
from sori.models.ctc import Ctc
from sori.text.vocabulary import Vocabulary

RESULTS = Path(__file__).parent / "results"
TEXTS = Path(__file__).parents[2] / "shared" / "data" / "text-english"
LETTERS = ("<blank>", "|", "'", *"abcdefghijklmnopqrstuvwxyz")
CERTAIN_LOGIT = 30.0


def main() -> None:
    """Decode, print and write."""
    args = parse()
    vocabulary, logits, references, hop_seconds = emissions(args)
    arpa = args.arpa or language_model(args, vocabulary)
    start = time.perf_counter()
    lm = NgramModel.read(arpa)
    loaded = time.perf_counter() - start
    print(f"{sum(lm.counts):,} n-grams read in {loaded:.1f} s")
    start = time.perf_counter()
    decoder = BeamDecoder(vocabulary, lm=lm, lexicon=lm.words)
    initialised = time.perf_counter() - start
    start = time.perf_counter()
    theirs = Flashlight(arpa, [word for word in lm.words if word not in {*decoder.unspelled, "<s>", "</s>", "<unk>"}])
    theirs.spell(vocabulary)
    theirs_initialised = time.perf_counter() - start
    decoder.decode(Frames(logits.data[:1], logits.lengths[:1]))  # compiles
    seconds = float(logits.lengths.sum()) * hop_seconds
    rows = []
    for beam_size in args.beams:
        best = BeamConfig(beam_size=beam_size, lm_weight=args.lm_weight, word_score=args.word_score, log_add=False)
        usual = best.override({"log_add": True})
        runs: dict[str, Callable[[], list[str]]] = {
            "flashlight": lambda config=best: theirs.decode(logits, config),
            "sori": lambda config=best: texts(decoder.with_config(config), logits, 1),
            "sori, summed": lambda config=usual: texts(decoder.with_config(config), logits, 1),
            "sori, summed, all cores": lambda config=usual: texts(decoder.with_config(config), logits, None),
        }
        rows += compare(runs, references, seconds, beam_size, args.repeats)
    about: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "sori": sori.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numba", "flashlight-text")},
        },
        "emissions": "recogniser" if args.model else "synthetic",
        "utterances": len(references),
        "audio_seconds": round(seconds, 1),
        "ngrams": lm.counts,
        "words_in_lexicon": len(lm.words) - 3 - len(decoder.unspelled),
        "seconds_to_read_arpa": round(loaded, 2),
        "seconds_to_build_lexicon": round(initialised, 2),
        "flashlight_seconds_for_both": round(theirs_initialised, 2),
        "greedy_wer": round(jiwer.wer(references, [vocabulary.decode(p.ids) for p in greedy(logits)]), 4),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "decode_speed.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    stored[about["emissions"]] = about
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="recogniser; by default, synthetic emissions")
    parser.add_argument("--data", type=Path, help="prepared folder for the recogniser")
    parser.add_argument("--split", default="test")
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--arpa", type=Path)
    parser.add_argument("--texts", type=Path, default=TEXTS, help="folder of .txt.xz")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/decode_speed"))  # noqa: S108 - to be reused
    parser.add_argument("--beams", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--lm-weight", type=float, default=0.8)
    parser.add_argument("--word-score", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def compare(
    runs: dict[str, Callable[[], list[str]]], references: list[str], seconds: float, beam_size: int, repeats: int
) -> list[dict[str, Any]]:
    """Run all decoders alternately, several times; the median ratio is robust to other load on the machine."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, list[str]] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            taken[name].append(time.perf_counter() - start)
    rows = []
    for name, times in taken.items():
        ratios = [theirs / mine for mine, theirs in zip(times, taken["flashlight"], strict=True)]
        same = sum(a == b for a, b in zip(found[name], found["flashlight"], strict=True))
        row = {
            "decoder": name,
            "beam": beam_size,
            "seconds": round(statistics.median(times), 3),
            "times_real_time": round(seconds / statistics.median(times), 1),
            "speed_over_flashlight": round(statistics.median(ratios), 2),
            "wer": round(jiwer.wer(references, found[name]), 4),
            "same_text_as_flashlight": round(same / len(references), 3),
        }
        print(row)
        rows.append(row)
    return rows


def texts(decoder: BeamDecoder, logits: Frames, num_threads: int | None) -> list[str]:
    """Return the best text of each utterance."""
    return [best[0].text for best in decoder.decode(logits, num_threads=num_threads)]


class Flashlight:
    """flashlight's lexicon decoder with KenLM, used as in torchaudio and fairseq: each word ends with a boundary."""

    def __init__(self, arpa: Path, words: list[str]) -> None:
        self.words = words
        self.numbers = Dictionary([*words, "<unk>"])
        self.numbers.set_default_index(self.numbers.get_index("<unk>"))
        self.lm = KenLM(str(arpa), self.numbers)

    def spell(self, vocabulary: Vocabulary) -> None:
        """Build the trie of the lexicon."""
        self.index = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
        self.trie = flashlight.Trie(len(vocabulary), self.index["|"])
        start = self.lm.start(False)
        for word in self.words:
            number = self.numbers.get_index(word)
            symbols = [self.index[symbol] for symbol in [*vocabulary.split(word), "|"]]
            self.trie.insert(symbols, number, self.lm.score(start, number)[1])
        self.trie.smear(flashlight.SmearingMode.MAX)

    def decode(self, logits: Frames, config: BeamConfig) -> list[str]:
        """Return the best text of each utterance."""
        options = flashlight.LexiconDecoderOptions(
            beam_size=config.beam_size,
            beam_size_token=len(self.index),
            beam_threshold=config.beam_threshold,
            lm_weight=config.lm_weight * math.log(10),
            word_score=config.word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=config.log_add,
            criterion_type=flashlight.CriterionType.CTC,
        )
        unknown = self.numbers.get_index("<unk>")
        decoder = flashlight.LexiconDecoder(options, self.trie, self.lm, self.index["|"], 0, unknown, [], False)
        found = []
        for row, length in zip(logits.data.log_softmax(-1), logits.lengths.tolist(), strict=True):
            row = row[:length].contiguous()  # noqa: PLW2901
            best = decoder.decode(row.data_ptr(), *row.shape)[0]
            found.append(" ".join(self.numbers.get_entry(number) for number in best.words if number >= 0))
        return found


def emissions(args: argparse.Namespace) -> tuple[Vocabulary, Frames, list[str], float]:
    """Return vocabulary, logits with a final word boundary, references, and seconds per frame."""
    if args.model is None:
        vocabulary = Vocabulary(symbols=LETTERS)
        rows, references = synthetic(args, vocabulary)
        hop_seconds = 0.02
    else:
        model = store.load(args.model)
        if not isinstance(model, Ctc) or model.vocabulary is None:
            raise SystemExit(f"{args.model} is not a recogniser")
        vocabulary, hop_seconds = model.vocabulary, model.logit_hop_samples / audio.SAMPLE_RATE
        chosen = [u for u in read_manifest(args.data) if u.split == args.split and u.text][: args.utterances]
        references = [vocabulary.normalise(u.text or "") for u in chosen]
        rows = []
        for utterance in chosen:
            waveform = audio.read(utterance.path)[None]
            with torch.no_grad():
                rows.append(model.logits(waveform, torch.tensor([waveform.shape[1]])).data[0])
    end = torch.full((1, len(vocabulary)), -CERTAIN_LOGIT)
    end[0, vocabulary.symbols.index("|")] = CERTAIN_LOGIT
    rows = [torch.cat([row, end]) for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    return vocabulary, Frames(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths), references, hop_seconds


def synthetic(args: argparse.Namespace, vocabulary: Vocabulary) -> tuple[list[Tensor], list[str]]:
    """Generate the logits of an uncertain recogniser for sentences of the texts that the vocabulary can spell."""
    draw = random.Random(0)  # noqa: S311 - test data
    torch.manual_seed(0)
    lines = [vocabulary.normalise(line) for _, line in zip(range(20_000), sentences(args.texts), strict=False)]
    usable = [line for line in lines if 5 <= len(line.split()) <= 25 and not vocabulary.unknown(line)]
    references = draw.sample(usable, args.utterances)
    rows = []
    for line in references:
        frames = [0] * 5
        for label in vocabulary.encode(line):
            frames += [label] * draw.randint(1, 2) + [0] * draw.randint(1, 3)
        clean = torch.zeros(len(frames), len(vocabulary))
        clean[range(len(frames)), frames] = 7.0
        rows.append(clean + 2.0 * torch.randn(clean.shape))
    return rows, references


def sentences(folder: Path) -> Iterator[str]:
    """Yield every line of the texts except document names."""
    for path in sorted(folder.glob("*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            yield from (line for line in file if not line.startswith("#DOC"))


def language_model(args: argparse.Namespace, vocabulary: Vocabulary) -> Path:
    """Build the language model, unless it already exists."""
    args.folder.mkdir(parents=True, exist_ok=True)
    arpa: Path = args.folder / "english4.arpa"
    if not arpa.exists():
        text = args.folder / "english.txt"
        with text.open("w", encoding="utf-8") as file:
            file.writelines(sentences(args.texts))
        build([text], order=4, into=arpa, vocabulary=vocabulary, prune=(0, 0, 1, 1))
    return arpa


if __name__ == "__main__":
    main()
