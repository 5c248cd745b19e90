"""Beam search with a lexicon and a 4-gram model: time and errors, ours beside flashlight-text in one process, in turns.

    python benchmarks/decode_speed.py [--model RUN/model --data PREPARED --split test] [--arpa LM.arpa]

Lexicon: every word of the texts that the recogniser can spell. Language model: `--arpa`, or interpolated Kneser-Ney on
the same texts (n-grams of order 3 and 4 that occur once dropped), built into `--folder`. Class distributions: a
recogniser's on the transcribed utterances of a split, or synthetic ones: sentences of the texts, each letter one or two
frames with blanks between, and noise. Both decoders take the best alignment (flashlight's usual setting) on one thread
with the same weights and thresholds, and get one more frame, a sure word boundary, because flashlight's words end with
one. Ours runs once more as it comes (sums over alignments), on one thread and on all.

Writes `benchmarks/results/decode_speed.json`, keeping what the other kind of class distributions gave.
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
SURE = 30.0


def main() -> None:
    """Decode, print and store."""
    asked = parse()
    vocabulary, logits, references, hop_seconds = emissions(asked)
    arpa = asked.arpa or language_model(asked, vocabulary)
    start = time.perf_counter()
    lm = NgramModel.read(arpa)
    loaded = time.perf_counter() - start
    print(f"{sum(lm.counts):,} n-grams read in {loaded:.1f} s")
    start = time.perf_counter()
    decoder = BeamDecoder(vocabulary, lm=lm, lexicon=lm.words)
    begun = time.perf_counter() - start
    start = time.perf_counter()
    foreign = Flashlight(arpa, [word for word in lm.words if word not in {*decoder.unspelled, "<s>", "</s>", "<unk>"}])
    foreign.spell(vocabulary)
    foreign_begun = time.perf_counter() - start
    decoder.decode(Frames(logits.data[:1], logits.lengths[:1]))  # compiles
    seconds = float(logits.lengths.sum()) * hop_seconds
    rows = []
    for beam_size in asked.beams:
        best = BeamConfig(beam_size=beam_size, lm_weight=asked.lm_weight, word_score=asked.word_score, log_add=False)
        usual = best.override({"log_add": True})
        runs: dict[str, Callable[[], list[str]]] = {
            "flashlight": lambda config=best: foreign.decode(logits, config),
            "sori": lambda config=best: texts(decoder.with_config(config), logits, 1),
            "sori, summed": lambda config=usual: texts(decoder.with_config(config), logits, 1),
            "sori, summed, all cores": lambda config=usual: texts(decoder.with_config(config), logits, None),
        }
        rows += compare(runs, references, seconds, beam_size, asked.repeats)
    about: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "sori": sori.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numba", "flashlight-text")},
        },
        "emissions": "recogniser" if asked.model else "synthetic",
        "utterances": len(references),
        "audio_seconds": round(seconds, 1),
        "ngrams": lm.counts,
        "words_in_lexicon": len(lm.words) - 3 - len(decoder.unspelled),
        "seconds_to_read_arpa": round(loaded, 2),
        "seconds_to_build_lexicon": round(begun, 2),
        "flashlight_seconds_for_both": round(foreign_begun, 2),
        "greedy_wer": round(jiwer.wer(references, [vocabulary.decode(p.ids) for p in greedy(logits)]), 4),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "decode_speed.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    stored[about["emissions"]] = about
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a recogniser; without it, synthetic class distributions")
    parser.add_argument("--data", type=Path, help="prepared folder for it")
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
    """Each in turn, several times; the median of the ratios leaves out most of what else the machine does."""
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
    """The best text of each utterance."""
    return [best[0].text for best in decoder.decode(logits, num_threads=num_threads)]


class Flashlight:
    """Its lexicon decoder with KenLM, spelled as torchaudio and fairseq do: each word ends with a boundary."""

    def __init__(self, arpa: Path, words: list[str]) -> None:
        self.words = words
        self.numbers = Dictionary([*words, "<unk>"])
        self.numbers.set_default_index(self.numbers.get_index("<unk>"))
        self.lm = KenLM(str(arpa), self.numbers)

    def spell(self, vocabulary: Vocabulary) -> None:
        """Fill the trie."""
        self.index = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
        self.trie = flashlight.Trie(len(vocabulary), self.index["|"])
        start = self.lm.start(False)
        for word in self.words:
            number = self.numbers.get_index(word)
            symbols = [self.index[symbol] for symbol in [*vocabulary.split(word), "|"]]
            self.trie.insert(symbols, number, self.lm.score(start, number)[1])
        self.trie.smear(flashlight.SmearingMode.MAX)

    def decode(self, logits: Frames, config: BeamConfig) -> list[str]:
        """The best text of each utterance."""
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


def emissions(asked: argparse.Namespace) -> tuple[Vocabulary, Frames, list[str], float]:
    """Vocabulary, class scores with the boundary at the end, references, seconds a frame."""
    if asked.model is None:
        vocabulary = Vocabulary(symbols=LETTERS)
        rows, references = synthetic(asked, vocabulary)
        hop_seconds = 0.02
    else:
        model = store.load(asked.model)
        if not isinstance(model, Ctc) or model.vocabulary is None:
            raise SystemExit(f"{asked.model} is no recogniser")
        vocabulary, hop_seconds = model.vocabulary, model.logit_hop_samples / audio.SAMPLE_RATE
        chosen = [u for u in read_manifest(asked.data) if u.split == asked.split and u.text][: asked.utterances]
        references = [vocabulary.normalise(u.text or "") for u in chosen]
        rows = []
        for utterance in chosen:
            waveform = audio.read(utterance.path)[None]
            with torch.no_grad():
                rows.append(model.logits(waveform, torch.tensor([waveform.shape[1]])).data[0])
    end = torch.full((1, len(vocabulary)), -SURE)
    end[0, vocabulary.symbols.index("|")] = SURE
    rows = [torch.cat([row, end]) for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    return vocabulary, Frames(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths), references, hop_seconds


def synthetic(asked: argparse.Namespace, vocabulary: Vocabulary) -> tuple[list[Tensor], list[str]]:
    """Sentences of the texts that can be spelled, as a recogniser that is often unsure might hear them."""
    draw = random.Random(0)  # noqa: S311 - test data
    torch.manual_seed(0)
    lines = [vocabulary.normalise(line) for _, line in zip(range(20_000), sentences(asked.texts), strict=False)]
    usable = [line for line in lines if 5 <= len(line.split()) <= 25 and not vocabulary.unknown(line)]
    references = draw.sample(usable, asked.utterances)
    rows = []
    for line in references:
        frames = [0] * 5
        for label in vocabulary.encode(line):
            frames += [label] * draw.randint(1, 2) + [0] * draw.randint(1, 3)
        sure = torch.zeros(len(frames), len(vocabulary))
        sure[range(len(frames)), frames] = 7.0
        rows.append(sure + 2.0 * torch.randn(sure.shape))
    return rows, references


def sentences(folder: Path) -> Iterator[str]:
    """Every line of the texts but the names of documents."""
    for path in sorted(folder.glob("*.txt.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            yield from (line for line in file if not line.startswith("#DOC"))


def language_model(asked: argparse.Namespace, vocabulary: Vocabulary) -> Path:
    """Estimate it, unless an earlier run did."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    arpa: Path = asked.folder / "english4.arpa"
    if not arpa.exists():
        text = asked.folder / "english.txt"
        with text.open("w", encoding="utf-8") as file:
            file.writelines(sentences(asked.texts))
        build([text], order=4, into=arpa, vocabulary=vocabulary, prune=(0, 0, 1, 1))
    return arpa


if __name__ == "__main__":
    main()
