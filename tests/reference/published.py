"""Recognisers whose transcripts and scores on LibriSpeech's test-clean were published."""

import re

RECOGNISERS = ("b1.rnnt_baseline", "b2.b1+nnlm", "s5.s3+db-nnlm.biasing_1000")


def paths(data_dir, name):
    """Return the paths of references, hypotheses and published score."""
    folder = data_dir / "wer-reference"
    return [folder / f"test-clean.{end}" for end in ("ref.tsv", f"{name}.hyp.tsv", f"{name}.result.txt")]


def published(path):
    """Read error rate in percent, words, substitutions, insertions and deletions."""
    line = path.read_text(encoding="utf-8").splitlines()[0]
    found = dict(re.findall(r"(\w+)=([\d.]+)", line))
    return float(found["error_rate"]), *(int(found[key]) for key in ("ref_words", "subs", "ins", "dels"))


def substitution_range(reference, hypothesis):
    """Return the fewest errors, and the fewest and most substitutions among alignments with that number of errors."""
    found, one_error = [], 1_000_000
    for sign in (1, -1):
        row = [one_error * j for j in range(len(hypothesis) + 1)]
        for token in reference:
            previous, row = row, [row[0] + one_error]
            for j, other in enumerate(hypothesis):
                diagonal = previous[j] if token == other else previous[j] + one_error + sign
                row.append(min(diagonal, previous[j + 1] + one_error, row[j] + one_error))
        errors = round(row[-1] / one_error)
        found.append((errors, sign * (row[-1] - errors * one_error)))
    assert found[0][0] == found[1][0]
    return found[0][0], found[0][1], found[1][1]
