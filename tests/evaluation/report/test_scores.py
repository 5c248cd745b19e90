import functools
import json
import random

import numpy as np
import pytest
from tests.reference.edits import edit_distance
from tests.reference.published import RECOGNISERS, paths, published, substitution_range

from sori.evaluation import differences
from sori.evaluation.report import scores

SPEAKER = "^[^-]+"
scored = functools.cache(scores.score)


def write(path, rows):
    path.write_text("".join(f"{key}\t{text}\n" for key, text in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", RECOGNISERS)
def test_published_scores(data_dir, name):
    reference, hypothesis, result = paths(data_dir, name)
    found = scored(reference, hypothesis, speaker_of=SPEAKER)
    (report,) = found.reports
    rate, num_words, *kinds = published(result)
    edits = report.wer.edits
    assert (edits.errors, edits.total) == (sum(kinds), num_words)
    assert 100 * edits.errors / edits.total == rate
    assert (report.unit, found.num_drawn) == ("speakers", 40)
    # the lengths fix the difference of insertions and deletions; how many substitutions there are may be open
    assert edits.insertions - edits.deletions == kinds[1] - kinds[2]
    ours = (edits.substitutions, edits.insertions, edits.deletions)
    assert ours == ((1503, 194, 224) if name == "b1.rnnt_baseline" else tuple(kinds))


@pytest.mark.parametrize("name", RECOGNISERS)
def test_alignments_by_a_slow_table(data_dir, name):
    """Each utterance has the fewest errors, and the published substitutions are possible with as few."""
    reference, hypothesis, result = paths(data_dir, name)
    (report,) = scored(reference, hypothesis, speaker_of=SPEAKER).reports
    lowest = highest = 0
    for one in report.utterances:
        if one.reference == one.hypothesis:
            assert one.words.errors == 0
            continue
        errors, fewest, most = substitution_range(one.reference.split(), one.hypothesis.split())
        assert one.words.errors == errors
        assert fewest <= one.words.substitutions <= most
        lowest, highest = lowest + fewest, highest + most
    substitutions = published(result)[2]
    assert lowest == substitutions
    assert highest - lowest == (2 if name == "b1.rnnt_baseline" else 0)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 2)])
def test_the_comparison_agrees_with_flipped_signs(data_dir, first, second):
    """Sign-flip test: for equal systems, the sign of each speaker's difference is random."""
    reference, one, _ = paths(data_dir, RECOGNISERS[first])
    _, other, _ = paths(data_dir, RECOGNISERS[second])
    found = scores.score(reference, one, against=other, speaker_of=SPEAKER)
    assert found.difference is not None
    clear = found.difference["wer"].is_clear
    assert clear == (sign_flip(found) < 0.05)
    assert clear
    assert "B makes" in found.table()


def test_the_comparison_of_alike_systems_agrees_with_flipped_signs(data_dir, tmp_path):
    """Two random mixtures of the same two recognisers, which are equally good."""
    reference, one, _ = paths(data_dir, RECOGNISERS[0])
    _, other, _ = paths(data_dir, RECOGNISERS[1])
    texts = [dict(line.split("\t") for line in path.read_text().splitlines()) for path in (one, other)]
    keys, chance = sorted(texts[0]), random.Random(3)
    swapped = {key for key in keys if chance.random() < 0.5}
    mixed = [
        write(tmp_path / f"{side}.tsv", [(key, texts[side ^ (key in swapped)][key]) for key in keys]) for side in (0, 1)
    ]
    found = scores.score(reference, mixed[0], against=mixed[1], speaker_of=SPEAKER)
    assert found.difference is not None
    assert sign_flip(found) > 0.1
    assert not found.difference["wer"].is_clear
    assert "do not differ significantly in their word errors" in found.table()


def sign_flip(found, *, num=4000):
    """Return the fraction of random sign flips of the speakers' differences with a sum as far from zero."""
    sums = {}
    for one, other in zip(found.reports[0].utterances, found.reports[1].utterances, strict=True):
        sums[one.speaker] = sums.get(one.speaker, 0) + one.words.errors - other.words.errors
    gaps = np.array(list(sums.values()))
    signs = np.random.default_rng(0).choice([-1, 1], (num, len(gaps)))
    return float((np.abs(signs @ gaps) >= abs(gaps.sum())).mean())


@pytest.fixture
def small(tmp_path):
    reference = write(tmp_path / "ref.tsv", [("ann-1", "The cat."), ("ann-2", "a big dog"), ("ben-1", "it's so")])
    hypothesis = write(tmp_path / "hyp.tsv", [("ben-1", "it's so"), ("ann-1", "the cat"), ("ann-2", "a pig")])
    return reference, hypothesis


def test_ids_match_lines_whatever_their_order(small):
    found = scores.score(*small)
    assert found.ids == ("ann-1", "ann-2", "ben-1")
    assert [one.words.errors for one in found.reports[0].utterances] == [2, 2, 0]
    assert found.names == ("hyp",)
    assert found.notes == ()
    assert found.reports[0].unit == "utterances"


def test_spelling_is_normalised_on_request(small):
    found = scores.score(*small, case="lower", punctuation="drop")
    assert [one.words.errors for one in found.reports[0].utterances] == [0, 2, 0]
    assert found.reports[0].utterances[2].reference == "it's so"
    assert "note: before scoring, case: lower, punctuation: drop" in found.table()
    assert [one.words.errors for one in scores.score(*small, case="lower").reports[0].utterances] == [1, 2, 0]


def test_a_permuted_file_changes_only_the_order(data_dir, tmp_path):
    reference, hypothesis, _ = paths(data_dir, RECOGNISERS[1])
    lines = reference.read_text().splitlines()[:300]
    keys = {line.split("\t")[0] for line in lines}
    kept = [line for line in hypothesis.read_text().splitlines() if line.split("\t")[0] in keys]
    found = []
    for number in (0, 1):
        random.Random(number).shuffle(lines)
        for name, rows in (("r", lines), ("h", kept)):
            (tmp_path / f"{name}.tsv").write_text("\n".join(rows))
        found.append(scores.score(tmp_path / "r.tsv", tmp_path / "h.tsv", speaker_of=SPEAKER))
    one, other = found
    assert one.ids != other.ids
    assert dict(zip(one.ids, one.reports[0].utterances, strict=True)) == dict(
        zip(other.ids, other.reports[0].utterances, strict=True)
    )
    assert (one.reports[0].wer, one.reports[0].cer) == (other.reports[0].wer, other.reports[0].cer)
    assert differences.confusions(differences.words(one.reports[0])) == differences.confusions(
        differences.words(other.reports[0])
    )


def test_a_system_against_itself(small):
    found = scores.score(small[0], small[1], against=small[1], speaker_of=SPEAKER)
    assert found.difference is not None
    for one in found.difference.values():
        assert one.absolute == (0, 0, 0)
        assert (one.share_better, one.share_worse) == (0, 0)
        assert not one.is_clear
    assert all("do not differ significantly" in verdict.headline for verdict in found.verdicts())
    assert "only 2 speakers" in found.table()
    json.dumps(found.to_data(), allow_nan=False)


def test_lines_without_ids(tmp_path):
    for name, text in (("r.txt", "a b\n\nc\n"), ("h.txt", "a b\nd\n\n")):
        (tmp_path / name).write_text(text)
    found = scores.score(tmp_path / "r.txt", tmp_path / "h.txt")
    assert found.ids == ("1", "2", "3")
    assert [edit_distance(u.reference.split(), u.hypothesis.split()) for u in found.reports[0].utterances] == [0, 1, 1]
    assert found.reports[0].wer.edits.errors == 2


def test_data_contain_every_id(small):
    data = scores.score(*small, speaker_of=SPEAKER).to_data()
    assert [row["id"] for row in data["utterances"]] == ["ann-1", "ann-2", "ben-1"]
    assert [row["speaker"] for row in data["utterances"]] == ["ann", "ann", "ben"]
    both = scores.score(small[0], small[1], against=small[0]).to_data()
    assert both["difference"]["wer"]["absolute"][0] > 0
    assert both["difference"]["wer"]["relative"] == (None, None, None)
    assert both["second"]["wer"]["errors"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speaker_of": "^(x)"}, "expected a speaker in every id, got none in 'ann-1'"),
        ({"speaker_of": "("}, "expected a regular expression"),
        ({"form": "trn"}, "expected a text and its id at the end"),
    ],
)
def test_bad_options_are_refused(small, options, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        scores.score(*small, **options)


def test_files_of_other_utterances_are_refused(small, tmp_path):
    reference, _ = small
    lost = write(tmp_path / "lost.tsv", [("ann-1", "a")])
    with pytest.raises(ValueError, match=r"expected the 3 utterances of .*ref\.tsv, got 1: 2 missing, such as 'ann-2'"):
        scores.score(reference, lost)
    strange = write(tmp_path / "strange.tsv", [("ann-1", ""), ("ann-2", ""), ("ben-1", ""), ("eve-1", "")])
    with pytest.raises(ValueError, match="1 without a reference, such as 'eve-1'"):
        scores.score(reference, strange)
    lines = tmp_path / "lines.txt"
    lines.write_text("a\nb\nc\n")
    with pytest.raises(ValueError, match="all have ids, or all have none"):
        scores.score(reference, lines)
    fewer = tmp_path / "fewer.txt"
    fewer.write_text("a\nb\n")
    with pytest.raises(ValueError, match="got 2: 1 missing, such as '3'"):
        scores.score(lines, fewer)
    with pytest.raises(ValueError, match="expected files with ids"):
        scores.score(lines, lines, speaker_of=SPEAKER)


def test_turkish_texts_are_compared_in_their_own_case(tmp_path):
    reference = write(tmp_path / "r.tsv", [("a", "IŞIK İki")])
    hypothesis = write(tmp_path / "h.tsv", [("a", "ışık iki")])  # noqa: RUF001 - Turkish
    assert scores.score(reference, hypothesis, case="lower", language="tur").reports[0].cer.rate == 0
    assert scores.score(reference, hypothesis, case="lower").reports[0].cer.rate > 0
