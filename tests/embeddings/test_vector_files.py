"""Formats of word vectors: bit-exact round trips, agreement with gensim, damaged files."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sori.embeddings import vector_files
from sori.embeddings.space import WordSpace

ENDINGS = (".vec", ".txt", ".bin", ".vec.gz", ".bin.gz")
each_ending = pytest.mark.parametrize("ending", ENDINGS)


def some(num=30, dim=5):
    rng = np.random.default_rng(0)
    words = [f"w{n}" for n in range(num - 3)] + ["größe", "밥", "a\N{NO-BREAK SPACE}b"]
    return WordSpace(words, (rng.normal(size=(num, dim)) * 10.0 ** rng.integers(-30, 30, (num, 1))).astype(np.float32))


def same(a, b):
    return a.words == b.words and a.vectors.tobytes() == b.vectors.tobytes()


@each_ending
def test_round_trips_are_bit_exact(tmp_path, ending):
    path = tmp_path / "deep" / f"words{ending}"
    vector_files.write(some(), path)
    assert same(vector_files.read(path), some())
    few = vector_files.read(path, limit=4)
    assert same(few, some().most_frequent(4))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_any_float_survives_a_round_trip(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("any") / "words.vec"
    one = WordSpace(["a"], np.array([numbers], dtype=np.float32))
    vector_files.write(one, path)
    assert same(vector_files.read(path), one)


@pytest.mark.foreign
@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_ours_and_we_read_theirs(tmp_path, binary):
    keyed = pytest.importorskip("gensim.models.keyedvectors").KeyedVectors
    ours, theirs = tmp_path / f"ours{'.bin' if binary else '.vec'}", tmp_path / f"theirs{'.bin' if binary else '.vec'}"
    space = some().most_frequent(27)
    vector_files.write(space, ours)
    read = keyed.load_word2vec_format(ours, binary=binary)
    assert read.index_to_key == space.words
    assert read.vectors.tobytes() == space.vectors.tobytes()
    read.save_word2vec_format(theirs, binary=binary)
    assert same(vector_files.read(theirs), space)
    assert theirs.read_bytes().replace(b"\n", b"") == ours.read_bytes().replace(b"\n", b"")


def test_glove_has_no_first_line(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 0.5 -1e-3\n. . . 1 2\nof 3 4 \n")
    found = vector_files.read(path)
    assert found.words == ["the", ". . .", "of"]
    assert found.vectors.tolist() == [[0.5, np.float32(-1e-3)], [1, 2], [3, 4]]
    assert len(vector_files.read(path, limit=2)) == 2


def test_trailing_spaces_and_windows_line_ends_are_accepted(tmp_path):
    path = tmp_path / "words.vec"
    path.write_bytes(b"2 2\r\na 1 2 \r\nb 3 4 \r\n")
    assert vector_files.read(path).vectors.tolist() == [[1, 2], [3, 4]]


def test_binary_files_may_leave_out_line_breaks(tmp_path):
    path = tmp_path / "words.bin"
    row = np.array([1, 2], dtype="<f4").tobytes()
    path.write_bytes(b"2 2\na " + row + b"b " + row)
    assert vector_files.read(path).words == ["a", "b"]


TEXT = b"3 2\na 1 2\nb 3 4\nc 5 6\n"
ROW = np.array([1, 2], dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.vec", TEXT.replace(b"c 5 6\n", b""), "announces 3 words, but it ends after 2"),
        ("x.vec", TEXT.replace(b"3 2", b"2 2"), "line 4: .* announces 2 words, but there are more"),
        ("x.vec", TEXT.replace(b"3 4", b"3"), "line 3: expected a word and 2 numbers"),
        ("x.vec", TEXT.replace(b"3 4", b"3 4 5"), "line 3: expected a word and 2 numbers"),
        ("x.vec", TEXT.replace(b"3 4", b"3 x"), "line 3: expected a word and 2 numbers"),
        ("x.vec", TEXT.replace(b"3 4", b"3 nan"), "line 3: the vector of 'b' contains NaN"),
        ("x.vec", TEXT.replace(b"3 4", b"3 1e39"), "beyond float32"),
        ("x.vec", TEXT.replace(b"b", b"a"), "line 3: the word 'a' occurs a second time, first as word 1"),
        ("x.vec", TEXT.replace(b"b", "ü".encode("latin-1")), "line 3: the word .* is not UTF-8"),
        ("x.vec", TEXT.replace(b"3 2", b"99999999999 300"), "announces 99,999,999,999 words"),
        ("x.vec", b"", "line 1: expected"),
        ("x.vec", b"Hello, this is a letter.\n", "line 1: expected the numbers of words"),
        ("x.vec", b"2 2\na " + ROW + b"\nb " + ROW, "the name of a binary file must end in .bin"),
        ("x.bin", TEXT, "takes at least 24 bytes|truncated"),
        ("x.bin", b"2 2\na " + ROW + b"\nb " + ROW[:5], "ends after 1; the file is truncated"),
        ("x.bin", b"2 2\na " + ROW + b"\na " + ROW, "word 2: the word 'a' occurs a second time"),
        ("x.bin", b"1 2\na " + ROW + b"\nb " + ROW, "more data follows"),
        ("x.bin", b"1 1\n\xff " + ROW[:4], "not UTF-8"),
        ("x.bin", b"2 1\na " + np.array([np.nan], dtype="<f4").tobytes() + b"\nb " + ROW[:4], "contains NaN"),
        ("x.bin", b"\xba\x16O/" + bytes(60), "first line"),
        ("x.bin", b"2 2\n" + b"x" * 20_000, "no space within"),
        ("x.vec.gz", TEXT, "damaged data"),
        ("x.vec.gz", gzip.compress(TEXT, mtime=0)[:-12], "damaged data"),
        ("x.npy", b"", "name that ends in"),
    ],
)
def test_messages_name_the_damage(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        vector_files.read(path)


def test_errors_of_reading_and_writing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        vector_files.read(tmp_path / "none.vec")
    with pytest.raises(ValueError, match="contains a space"):
        vector_files.write(WordSpace(["a b"], np.ones((1, 2), dtype=np.float32)), tmp_path / "x.vec")
    with pytest.raises(ValueError, match="limit of 1"):
        vector_files.read(tmp_path / "x.vec", limit=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".vec", ".bin"])
@pytest.mark.slow
def test_memory_is_that_of_the_vectors_kept(tmp_path, ending):
    """20,000 vectors of 100 dimensions take 8 MB, 1,000 of them 0.4 MB."""
    path = tmp_path / f"many{ending}"
    many = np.random.default_rng(0).normal(size=(20_000, 100)).astype(np.float32)
    vector_files.write(WordSpace([f"w{n}" for n in range(20_000)], many), path)
    peaks = {}
    for limit in (1_000, None):
        tracemalloc.start()
        vector_files.read(path, limit=limit)
        peaks[limit] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1_000] < 4e6
    assert peaks[None] < 8e6 + 8e6
