"""Dictionaries of fairseq, and files and models that cannot be read or written, each with its error message."""

import re

import pytest
import torch
from tests.checkpoints.formats.fairseq_files import (
    CODES,
    GENERATION,
    LETTERS,
    LINES,
    VOCABULARIES,
    D,
    fine_tuned_file,
    native,
    saved,
    settings,
    tensors_of,
)

from sori.checkpoints.formats import fairseq
from sori.checkpoints.formats.fairseq_fields import literal
from sori.checkpoints.formats.imported import Model
from sori.models.wav2vec2 import Wav2Vec2
from sori.nn.conv import ConvConfig
from sori.recipes import sizes


def symbols_with(tmp_path, lines):
    return fairseq.read(fine_tuned_file(tmp_path, lines=lines)).model.vocabulary


def test_a_dictionary_can_be_given_by_path(tmp_path):
    path = fine_tuned_file(tmp_path)
    other = (tmp_path / "dict.ltr.txt").rename(tmp_path / "letters")
    model, certificate = fairseq.read(path, dictionary=other)
    assert model.vocabulary.symbols[4:] == tuple(LETTERS)
    assert "letters" in certificate.sha256


def test_filler_rows_never_become_text(tmp_path):
    lines = [*LINES, "madeupword0000 0", "madeupword0001 0"]
    vocabulary = symbols_with(tmp_path, lines)
    assert len(vocabulary) == 12
    assert vocabulary.case == "upper"
    assert vocabulary.decode([5, 10, 11, 6]) == "ET"
    (tmp_path / "back").mkdir()
    fairseq.write(fairseq.read(tmp_path / "theirs.pt").model, tmp_path / "back")
    assert (tmp_path / "back" / "dict.ltr.txt").read_text().splitlines() == lines


def test_a_token_that_overwrites_an_earlier_one_replaces_it_in_text(tmp_path):
    lines = [*LINES, "T 5 #fairseq:overwrite", "Z 4 #fairseq:overwrite", "<unk> 3 #fairseq:overwrite"]
    vocabulary = symbols_with(tmp_path, lines)
    assert vocabulary.encode("ETZ") == [5, 10, 11]
    assert vocabulary.decode([5, 6, 3, 12, 10]) == "ET"  # the overwritten class has no text
    (tmp_path / "back").mkdir()
    fairseq.write(fairseq.read(tmp_path / "theirs.pt").model, tmp_path / "back")
    assert (tmp_path / "back" / "dict.ltr.txt").read_text().splitlines() == lines


def test_word_pieces_are_kept_with_a_note(tmp_path):
    path = fine_tuned_file(tmp_path, lines=["\u2581the 9", "ing 8", "e 7"])
    model, certificate = fairseq.read(path)
    assert model.vocabulary.symbols[4:] == ("\u2581the", "ing", "e")
    assert any("sentencepiece" in note for note in certificate.notes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["| 5", "E"], r"dict\.ltr\.txt, line 2: expected a token, a space and a count, got 'E'"),
        (["| 5", "E many"], r"line 2: expected a token, a space and a count"),
        (["| 5", "", "E 3"], r"line 2: expected a token"),
        (["E 5", "E 3"], r"line 2: 'E' already has a class"),
        (["<pad> 5", "E 3"], r"line 1: '<pad>' already has a class"),
    ],
)
def test_an_invalid_dictionary_is_refused_with_its_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        fairseq.read(fine_tuned_file(tmp_path, lines=lines))


def test_a_dictionary_of_another_model_is_refused(tmp_path):
    message = r"does not match the model: its output layer has 12 classes, and the dictionary 10 \(<s>.* and 6 lines\)"
    with pytest.raises(ValueError, match=message):
        fairseq.read(fine_tuned_file(tmp_path, classes=12))


def test_without_a_dictionary_the_message_says_where_to_find_it(tmp_path):
    path = fine_tuned_file(tmp_path, lines=None)
    with pytest.raises(ValueError, match=r"no .*dict\.ltr\.txt, which defines .* published with the checkpoint"):
        fairseq.read(path)


def test_a_dictionary_in_another_encoding_is_refused(tmp_path):
    path = fine_tuned_file(tmp_path)
    (tmp_path / "dict.ltr.txt").write_bytes("é 1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="expected UTF-8"):
        fairseq.read(path)


def test_a_pretrained_model_takes_no_dictionary(tmp_path):
    path = saved(tmp_path, settings("group", "cfg"), tensors_of("group"))
    with pytest.raises(ValueError, match="has no output classes"):
        fairseq.read(path, dictionary=tmp_path / "dict.ltr.txt")


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("hubert", "x", "is HuBERT"),
        ("data2vec_audio", "x", "is data2vec"),
        ("data2vec_multi", "x", "is data2vec"),
        ("wav2vec_seq2seq", "x", "autoregressive decoder"),
        ("audio_cpc", "x", r"is wav2vec \(2019\)"),
        ("wav2vec", "x", r"is wav2vec \(2019\) \(its architecture is 'wav2vec'\)"),
        ("transformer_lm", "x", "is another model"),
        (None, "label_embs_concat", "is HuBERT"),
        (None, "regression_head.0.weight", "is data2vec"),
    ],
)
@GENERATION
def test_other_models_are_named(tmp_path, name, tensor, message, generation):
    about = settings("group", generation)
    if generation == "args":
        about.arch = name
    else:
        about["model"]["_name"] = name
    path = saved(tmp_path, about, {tensor: torch.zeros(1)})
    with pytest.raises(ValueError, match=message) as error:
        fairseq.read(path)
    assert "this version reads wav2vec 2.0, pre-trained" in str(error.value)


def test_another_encoder_of_a_recogniser_is_named(tmp_path):
    about = settings("layer", "cfg", fine_tuned=True)
    about["model"]["w2v_args"]["model"]["_name"] = "data2vec_audio"
    with pytest.raises(ValueError, match=r"is data2vec \(its encoder is 'data2vec_audio'\)"):
        fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_fn": "relu"}, "activation_fn is 'relu', sori supports only 'gelu'"),
        ({"layer_type": "conformer"}, "layer_type is 'conformer'"),
        ({"pos_enc_type": "rope"}, "pos_enc_type is 'rope'"),
        ({"pos_conv_depth": 5}, "pos_conv_depth is 5"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True"),
        ({"crop_seq_to_multiple": 2}, "crop_seq_to_multiple is 2"),
        ({"quantize_input": True}, "quantize_input is True"),
        ({"quantizer_depth": 2}, "quantizer_depth is 2"),
        ({"target_glu": True}, "target_glu is True"),
        ({"extractor_mode": "other"}, "extractor_mode is 'other'"),
        ({"conv_feature_layers": "[(64, 10, 5), (32, 3, 2)]"}, r"the convolutions have \[64, 32\] channels"),
        ({"encoder_embed_dim": 64}, "no post_extract_proj"),
    ],
)
def test_unsupported_settings_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        fairseq.read(saved(tmp_path, settings("group", "cfg", changes=changes), tensors_of("group")))


def test_all_reasons_are_given_at_once(tmp_path):
    about = settings("group", "cfg", changes={"activation_fn": "relu", "target_glu": True})
    tensors = tensors_of("group") | {"target_glu.0.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"(?s)activation_fn is.*target_glu is.*it has target_glu\.0\.weight"):
        fairseq.read(saved(tmp_path, about, tensors))


@pytest.mark.parametrize(
    "tensor",
    [
        "project_inp.weight",
        "quantizer.weight_proj.0.0.weight",
        "encoder.layers.0.conv_module.layer_norm.weight",
        "encoder.layers.0.adapter_layer.W_a",
    ],
)
def test_an_unsupported_part_is_refused_by_the_name_of_its_tensor(tmp_path, tensor):
    tensors = tensors_of("group") | {tensor: torch.zeros(1)}
    with pytest.raises(ValueError, match=rf"it has {re.escape(tensor)}, which sori does not support"):
        fairseq.read(saved(tmp_path, settings("group", "cfg"), tensors))


@pytest.mark.parametrize(
    ("outer", "message"),
    [({"blank_weight": 2.0}, "blank_weight 2.0 changes"), ({"layer_type": "trf_adp"}, "layer_type is 'trf_adp'")],
)
def test_unsupported_heads_and_layers_are_refused(tmp_path, outer, message):
    with pytest.raises(ValueError, match=message):
        fairseq.read(fine_tuned_file(tmp_path, outer=outer))


def test_unused_and_missing_tensors_are_named(tmp_path):
    tensors = tensors_of("group") | {"encoder.layers.0.extra": torch.zeros(2, 3)}
    del tensors["encoder.layers.2.fc1.bias"]
    message = r"(?s)missing: encoder\.layers\.2\.fc1\.bias.*not accounted for: encoder\.layers\.0\.extra \[2, 3\]"
    with pytest.raises(ValueError, match=message):
        fairseq.read(saved(tmp_path, settings("group", "cfg"), tensors))


def test_codebooks_that_do_not_match_the_settings_are_refused(tmp_path):
    path = saved(tmp_path, settings("group", "cfg", changes={"latent_vars": CODES + 1}), tensors_of("group"))
    with pytest.raises(ValueError, match=r"quantizer\.vars should be \(1, 82, 16\), got \(1, 80, 16\)"):
        fairseq.read(path)


def test_another_sampling_rate_is_refused(tmp_path):
    path = saved(tmp_path, settings("group", "args", task={"sample_rate": 8000}), tensors_of("group"))
    with pytest.raises(ValueError, match=r"expects audio at 8000 Hz \(task\.sample_rate\).*16000 Hz"):
        fairseq.read(path)


def test_contradictory_settings_of_normalisation_are_refused(tmp_path):
    about = settings("layer", "cfg", fine_tuned=True)
    about["model"]["w2v_args"]["task"]["normalize"] = False
    with pytest.raises(ValueError, match="contradictory settings on whether the waveform is normalised"):
        fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True)))


def test_a_recogniser_that_does_not_describe_its_encoder_is_refused(tmp_path):
    about = settings("layer", "cfg", fine_tuned=True)
    about["model"]["w2v_args"] = None
    with pytest.raises(ValueError, match="w2v_args is missing"):
        fairseq.read(saved(tmp_path, about, tensors_of("layer", fine_tuned=True)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.zeros(2)}, "is not a fairseq checkpoint: expected .* got weight"),
        ([1, 2], "got list"),
        ({"model": {"mask_emb": torch.zeros(2)}, "epoch": 3}, "tensors without settings.*got epoch, model"),
        (
            {"model": {"_x": 5}, "cfg": {"model": {"_name": "wav2vec2"}}},
            "expected only tensors in `model`, got others as well: _x",
        ),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        fairseq.read(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["conv_feature_layers", "latent_temp"])
@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('{folder}')",
        "[(64, 10, 5)] * 1000000000",
        "[[1] * 1000] * 1000 + [2] * 10 ** 9",
        "[(64, 10, 5)",
        "'abc'",
        "(" * 300,
        "[(64, 10, 5)] + " * 100 + "[(64, 10, 5)]",
        "[(64, 10)]",
        "7",
        "[(64, 10, 0)]",
    ],
)
def test_python_expressions_are_parsed_and_never_executed(tmp_path, name, text):
    evidence = tmp_path / "evidence"
    path = saved(tmp_path, settings("group", "args", changes={name: text.format(folder=evidence)}), tensors_of("group"))
    if name == "latent_temp":
        about = settings("group", "cfg", changes={name: text.format(folder=evidence)})
        path = saved(tmp_path, about, tensors_of("group"))
    with pytest.raises(ValueError, match=rf"{name} should be .*No code in it was executed"):
        fairseq.read(path)
    assert not evidence.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[(512, 10, 5), (512, 8, 4)] + [(512, 4, 2)] * 3 + [(512, 1, 1)]", "itself"),
        ("2 * [(512,2,2)]", "itself"),
        (" (2,0.5,0.999995) ", (2, 0.5, 0.999995)),
    ],
)
def test_python_expressions_have_their_value_in_python(text, value):
    expected = eval(text) if value == "itself" else value  # noqa: S307 - our own text, the reference
    assert literal(text, name="x", origin="y") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter_dim": 8}, "an adapter after each block"),
        ({"position_norm": True}, "position_norm"),
        ({"front": ConvConfig(dim=D)}, r"as many channels as the blocks \(96\)"),
    ],
)
def test_parts_that_fairseq_does_not_support_are_refused(tmp_path, changes, message):
    config = native("lv60k").system.model_copy(update=changes)
    with pytest.raises(ValueError, match=message):
        fairseq.write(Model(config, None, None, Wav2Vec2(config).state_dict(), {}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_spectral_front_end_and_its_targets_are_refused(tmp_path):
    model = Model(sizes.tiny_attention(), None, None, Wav2Vec2(sizes.tiny_attention()).state_dict(), {})
    with pytest.raises(ValueError, match=r"(?s)is spectral \(cepstrum\).*cepstra as input \(targets\).*--format onnx"):
        fairseq.write(model, tmp_path)
    model = Model(sizes.tiny(), None, None, Wav2Vec2(sizes.tiny()).state_dict(), {})
    with pytest.raises(ValueError, match=r"(?s)is spectral \(mel_conv\).*convolutions, not attention \(conv_blocks\)"):
        fairseq.write(model, tmp_path)


@pytest.mark.parametrize(("changes", "message"), [({"read": "mix"}, "a mix of layers"), ({"upsample": 2}, "2 symbols")])
def test_heads_that_fairseq_does_not_support_are_refused(tmp_path, changes, message):
    model = native("lv60k", vocabulary=VOCABULARIES["ours"])
    with pytest.raises(ValueError, match=message):
        fairseq.write(model._replace(system=model.system.model_copy(update=changes)), tmp_path)


def test_an_encoder_without_quantiser_is_refused(tmp_path):
    model = native("lv60k")
    weights = {name: tensor for name, tensor in model.weights.items() if name.split(".")[0] not in Wav2Vec2.OBJECTIVE}
    with pytest.raises(ValueError, match="it has no quantiser"):
        fairseq.write(model._replace(weights=weights), tmp_path)
