"""`sori languages` on two languages, and training with balanced languages."""

import re
import shutil
from pathlib import Path

import pytest

from sori import recipes
from sori.data.preparation.prepare import prepare
from sori.runs import run


@pytest.fixture
def two_folders(tone_corpus, tmp_path):
    """The speakers of the tone corpus as two languages, a folder each."""
    for language, speakers in (("eng", ("anna", "ben")), ("mdw", ("carl", "dora"))):
        for speaker in speakers:
            shutil.copytree(tone_corpus / "audio" / speaker, tmp_path / "sounds" / language / speaker)
        prepare(tmp_path / "sounds" / language, tmp_path / language, language=language, num_workers=1)
    return ["--data", str(tmp_path / "eng"), "--data", str(tmp_path / "mdw")]


def test_units_of_two_languages_are_compared(call, two_folders, encoder_run, tmp_path):
    target = tmp_path / "pictures" / "map.png"
    code, out, _ = call("languages", encoder_run, *two_folders, "--minutes", 1, "--into", target)
    assert code == 0
    assert target.stat().st_size > 5_000
    names, first, second = out.splitlines()[1:4]
    assert names.split() == ["eng", "mdw", "own"]
    assert first.split()[0] == "eng"
    assert first.split()[2] == second.split()[1]
    assert 0 < float(first.split()[2]) < 1


def test_models_without_a_quantiser_are_refused(call, two_folders, recogniser_run, encoder_run, prepared_tones):
    code, _, err = call("languages", recogniser_run, *two_folders)
    assert code == 2
    assert "expected a model with a quantiser" in err
    code, _, err = call("languages", encoder_run, "--data", prepared_tones)
    assert code == 2
    assert "of und (" in err


def test_a_run_logs_its_language_balance_and_refuses_other_languages_later(call, two_folders, tmp_path, capsys):
    recipe = recipes.by_name("wav2vec2_smoke").override({"data.language_exponent": 0.5, "train.num_steps": 6})
    folders = [Path(folder) for folder in two_folders[1::2]]
    run.train(recipe, into=tmp_path / "run", data=folders)
    said = capsys.readouterr().err
    assert "language sampling: " in said
    assert "(of the audio " in said
    for folder in folders:  # the same recordings, told otherwise
        shutil.rmtree(folder)
        prepare(tmp_path / "sounds" / folder.name, folder, language="und", num_workers=1)
    with pytest.raises(ValueError, match=r"but the data are now .* or differ in content"):
        run.train(recipe, into=tmp_path / "run", data=folders)


def test_a_recogniser_of_two_languages_is_trained_in_balance(two_folders, tmp_path, capsys):
    changes = {"data.language_exponent": 0.0, "train.num_steps": 2, "train.evaluate_every": None}
    recipe = recipes.by_name("ctc_smoke").override(changes)
    run.train(recipe, into=tmp_path / "run", data=[Path(folder) for folder in two_folders[1::2]])
    (said,) = re.findall("language sampling: (.*)", capsys.readouterr().err)
    assert {part.split(" (")[0] for part in said.split(", ")} == {"eng 50.0%", "mdw 50.0%"}
    assert float(re.findall(r"eng.*?of the audio ([\d.]+)%", said)[0]) > 60
