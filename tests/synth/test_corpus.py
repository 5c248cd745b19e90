import soundfile

from sori.synth import CorpusSize, corpus_texts, speak_corpus

SIZE = CorpusSize(3, 4, 2, 3, 2, 2, 1, 2)


def test_a_corpus_has_a_folder_for_each_voice_and_transcripts_beside_the_files(tmp_path):
    speak_corpus(tmp_path / "a", SIZE, seed=1)
    sounds = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.wav"))
    texts = {path: path.read_text() for path in (tmp_path / "a").rglob("*.txt")}
    assert len([path for path in sounds if path.parts[0] == "train"]) == 12
    assert len([path for path in sounds if path.parts[0] == "test"]) == 4
    assert len([path for path in texts if "train" in path.parts]) == 6
    assert len([path for path in texts if "test" in path.parts]) == 4
    assert len([path for path in texts if "dev" in path.parts]) == 2
    assert len(set(texts.values())) == 12
    names = {part: {path.parts[1] for path in sounds if path.parts[0] == part} for part in ("train", "dev", "test")}
    assert sum(map(len, names.values())) == len(set().union(*names.values())) == 6
    about = soundfile.info(tmp_path / "a" / sounds[0])
    assert (about.samplerate, about.channels, about.subtype) == (16_000, 1, "PCM_16")


def test_the_development_set_changes_nothing_else(tmp_path):
    without = SIZE._replace(num_dev_voices=0)
    for name, size in (("a", SIZE), ("b", without)):
        speak_corpus(tmp_path / name, size, seed=1)
    texts = [
        {path.relative_to(tmp_path / name): path.read_text() for path in (tmp_path / name).rglob("*.txt")}
        for name in "ab"
    ]
    assert texts[1] == {path: text for path, text in texts[0].items() if path.parts[0] != "dev"}
    assert len(texts[0]) == len(texts[1]) + 2


def test_no_sentence_is_in_two_parts():
    parts = corpus_texts(SIZE, seed=3)
    assert [len(part) for part in parts] == [4, 12, 2]
    assert len(set().union(*parts)) == 18


def test_the_seed_decides_voices_and_texts(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        speak_corpus(tmp_path / name, SIZE, seed=seed)
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_text() for path in (tmp_path / name).rglob("*.txt")}
        for name in "abc"
    )
    assert a == b
    assert a != c
