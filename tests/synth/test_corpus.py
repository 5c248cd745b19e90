import soundfile

from sori.synth import CorpusSize, speak_corpus

SIZE = CorpusSize(3, 4, 2, 3, 2, 2)


def test_a_corpus_has_a_folder_for_each_voice_and_transcripts_beside_the_files(tmp_path):
    speak_corpus(tmp_path / "a", SIZE, seed=1)
    sounds = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.wav"))
    texts = {path: path.read_text() for path in (tmp_path / "a").rglob("*.txt")}
    assert len([path for path in sounds if path.parts[0] == "train"]) == 12
    assert len([path for path in sounds if path.parts[0] == "test"]) == 4
    assert len([path for path in texts if "train" in path.parts]) == 6
    assert len([path for path in texts if "test" in path.parts]) == 4
    assert len(set(texts.values())) == 10
    assert {path.parts[1] for path in sounds if path.parts[0] == "test"}.isdisjoint(
        {path.parts[1] for path in sounds if path.parts[0] == "train"}
    )
    about = soundfile.info(tmp_path / "a" / sounds[0])
    assert (about.samplerate, about.channels, about.subtype) == (16_000, 1, "PCM_16")


def test_the_seed_decides_voices_and_texts(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        speak_corpus(tmp_path / name, SIZE, seed=seed)
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_text() for path in (tmp_path / name).rglob("*.txt")}
        for name in "abc"
    )
    assert a == b
    assert a != c
