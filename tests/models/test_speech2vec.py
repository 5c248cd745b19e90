"""Tests of the objective against loops in float64, of published facts, and of invariance to padding and splitting."""

import os
import signal

import numpy as np
import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.batch import SegmentBatch
from sori.core.seeds import Rng
from sori.core.shapes import Frames
from sori.data.batches.segment_pairs import neighbours
from sori.data.manifest import read_manifest
from sori.data.word_segments import SEGMENTS, Segment, write_segments
from sori.embeddings import spoken_words
from sori.models.speech2vec import Speech2Vec, Speech2VecConfig
from sori.runs import run
from sori.training.metrics import Reporter, read_metrics

KINDS = [
    Speech2VecConfig(dim=6),
    Speech2VecConfig(dim=6, attention=True),
    Speech2VecConfig(dim=6, objective="cbow"),
]
each_kind = pytest.mark.parametrize("config", KINDS, ids=["skipgram", "attention", "cbow"])


def build(config: Speech2VecConfig, seed=0) -> Speech2Vec:
    torch.manual_seed(seed)
    return Speech2Vec(config)


def random_segments(num=7, seed=0, dtype=torch.float32):
    """Return MFCC of unequal length in two utterances, and their pairs within two."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (num,), generator=generator)
    data = torch.randn(num, 9, 13, generator=generator, dtype=dtype)
    data[torch.arange(9) >= lengths[:, None]] = 0
    pairs = torch.from_numpy(neighbours(np.array([0] * 4 + [1] * (num - 4)), 2))
    return Frames(data, lengths), pairs


def wave_batch(seed=0):
    """Return two noises of unequal length with three and two segments."""
    generator = torch.Generator().manual_seed(seed)
    waveform = 0.1 * torch.randn(2, 16_000, generator=generator)
    waveform[1, 12_000:] = 0
    return SegmentBatch(
        waveform,
        torch.tensor([16_000, 12_000]),
        torch.tensor([0, 0, 0, 1, 1]),
        torch.tensor([0, 3_000, 9_000, 500, 7_000]),
        torch.tensor([3_000, 8_000, 16_000, 6_000, 12_000]),
        torch.from_numpy(neighbours(np.array([0, 0, 0, 1, 1]), 3)),
    )


# The reference: one segment, one frame, one gate at a time.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(rnn, rows, hidden):
    w, u, b, c = (rnn[name] for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
    cell, states = np.zeros_like(hidden), []
    for row in rows:
        i, f, g, o = np.split(w @ row + b + u @ hidden + c, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return states


def part(weights, prefix):
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def reference_objective(system: Speech2Vec, segments: Frames, pairs) -> tuple[float, int]:
    weights = {name: p.detach().numpy() for name, p in system.named_parameters()}
    half, dim = system.config.dim // 2, system.config.dim
    spoken = [x[:n].numpy() for x, n in zip(segments.data, segments.lengths.tolist(), strict=True)]

    def encode(x):
        ahead = lstm(part(weights, "encoder.forwards."), x, np.zeros(half))
        back = lstm(part(weights, "encoder.backwards."), x[::-1], np.zeros(half))
        steps = [np.concatenate(pair) for pair in zip(ahead, back[::-1], strict=True)]
        return np.concatenate([ahead[-1], back[-1]]), steps

    def error(z, steps, x):
        total = 0.0
        shown = [np.zeros(13), *x[:-1]]
        for state, row in zip(lstm(part(weights, "decoder.rnn."), shown, z), x, strict=True):
            y = state
            if system.config.attention:
                fit = np.array([state @ step for step in steps])
                attention = np.exp(fit) / np.exp(fit).sum()
                seen = sum(s * step for s, step in zip(attention, steps, strict=True))
                attend = part(weights, "decoder.attend.")
                y = np.tanh(attend["weight"] @ np.concatenate([seen, state]) + attend["bias"])
            out = part(weights, "decoder.out.")
            total += np.mean((out["weight"] @ y + out["bias"] - row) ** 2) / len(x)
        return total

    loss, count = 0.0, 0
    if system.config.objective == "skipgram":
        for middle, other in pairs.tolist():
            loss += error(*encode(spoken[middle]), spoken[other])
            count += 1
    else:
        for middle in sorted(set(pairs[:, 0].tolist())):
            z = sum((encode(spoken[m])[0] for n, m in pairs.tolist() if n == middle), np.zeros(dim))
            loss += error(z, None, spoken[middle])
            count += 1
    return loss, count


@each_kind
def test_the_objective_is_that_of_the_loops(config):
    system = build(config).double()
    segments, pairs = random_segments(dtype=torch.float64)
    found = system.objective(segments, pairs)
    total, count = reference_objective(system, segments, pairs)
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-10)
    assert int(found.count) == count
    single = build(config).objective(Frames(segments.data.float(), segments.lengths), pairs)
    assert float(single.total.detach()) == pytest.approx(total, rel=1e-5)


@each_kind
def test_single_precision_gives_the_gradients_of_double(config):
    """Tests another code path of torch, its fused LSTM."""
    gradients = []
    for dtype in (torch.float32, torch.float64):
        system = build(config).to(dtype)
        segments, pairs = random_segments(num=20)
        system.objective(Frames(segments.data.to(dtype), segments.lengths), pairs).total.backward()
        gradients.append(torch.cat([p.grad.flatten().double() for p in system.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_1_number_of_parameters():
    assert sum(p.numel() for p in Speech2Vec(Speech2VecConfig()).parameters()) == 21_663


def test_2_a_copy_is_learnt_and_only_past_frames_are_used():
    """Predict ten short segments, each from its own vector."""
    system = build(Speech2VecConfig(dim=50))
    segments, _ = random_segments(num=10)
    pairs = torch.arange(10)[:, None].expand(10, 2)
    optimizer = torch.optim.Adam(system.parameters(), lr=2e-2)
    for _ in range(250):
        optimizer.zero_grad()
        found = system.objective(segments, pairs)
        (found.total / found.count).backward()
        optimizer.step()
    assert float(found.total.detach() / found.count) < 0.05
    # the prediction of a frame does not depend on that frame, nor on later ones, but on those before it
    x = segments.data[:1, :8].clone().requires_grad_()
    y = system.decoder(torch.zeros(1, 50), Frames(x, torch.tensor([8])), None)
    y[0, 4].sum().backward()
    assert not x.grad[0, 4:].any()
    assert x.grad[0, :4].any(dim=-1).all()


@each_kind
def test_3_padding_changes_neither_vectors_nor_loss(config):
    system = build(config)
    segments, pairs = random_segments()
    wide = Frames(torch.nn.functional.pad(segments.data, (0, 0, 0, 30)), segments.lengths)
    torch.testing.assert_close(system.objective(wide, pairs).total, system.objective(segments, pairs).total)
    together = system.encoder(segments).vectors
    for row, count in enumerate(segments.lengths.tolist()):
        alone = system.encoder(Frames(segments.data[row : row + 1, :count], torch.tensor([count]))).vectors[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-6)


def test_3_padding_of_the_waveform_changes_no_vector():
    system, batch = build(Speech2VecConfig(dim=6)), wave_batch()
    alone = SegmentBatch(
        batch.waveform[1:, :12_000],
        batch.lengths[1:],
        batch.rows[3:] - 1,
        batch.starts[3:],
        batch.stops[3:],
        batch.pairs,
    )
    torch.testing.assert_close(system.vectors(batch)[3:], system.vectors(alone), rtol=0, atol=1e-5)


def test_4_context_vectors_are_summed_and_one_vector_predicts_all_neighbours():
    segments, pairs = random_segments()
    given = []
    for objective in ("cbow", "skipgram"):
        system = build(Speech2VecConfig(dim=6, objective=objective))
        system.decoder.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach()))
        system.objective(segments, pairs)
    single = system.encoder(segments).vectors.detach()
    for middle in range(7):
        context = pairs[pairs[:, 0] == middle, 1]
        torch.testing.assert_close(given[0][middle], single[context].sum(0))
        own = given[1][pairs[:, 0] == middle]
        assert len(own) == len(context)
        assert torch.equal(own, single[middle].expand_as(own))


@each_kind
def test_cutting_a_batch_does_not_change_the_gradient(config):
    system, batch = build(config), wave_batch()
    halves = []
    for row in (0, 1):
        own = batch.rows == row
        first = int(own.nonzero()[0])
        pairs = batch.pairs[own[batch.pairs[:, 0]]] - first
        length = int(batch.lengths[row])
        halves.append(
            SegmentBatch(
                batch.waveform[row : row + 1, :length],
                batch.lengths[row : row + 1],
                batch.rows[own] - row,
                batch.starts[own],
                batch.stops[own],
                pairs,
            )
        )
    gradients = []
    for parts in ([batch], halves):
        system.zero_grad()
        losses = [system.loss(one, step=0, rng=Rng(0)) for one in parts]
        (sum(one.total for one in losses) / sum(one.count for one in losses)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in system.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@each_kind
def test_every_parameter_gets_a_gradient_and_half_precision_changes_nothing(config):
    system, batch = build(config), wave_batch()
    found = system.loss(batch, step=0, rng=Rng(0))
    assert found.total.dtype == torch.float32
    assert all(not term.requires_grad and torch.isfinite(term) for term in found.terms.values())
    found.total.backward()
    assert [name for name, p in system.named_parameters() if p.grad is None or not p.grad.any()] == []
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(system.loss(batch, step=0, rng=Rng(0)).total, found.total)


def test_frames_are_those_whose_centre_is_in_the_segment():
    system, batch = build(Speech2VecConfig(dim=6, max_frames=20)), wave_batch()
    cepstra, lengths = system.cepstrum(batch.waveform, batch.lengths)
    found = system.segments(batch)
    for number, (row, start, stop) in enumerate(
        zip(batch.rows.tolist(), batch.starts.tolist(), batch.stops.tolist(), strict=True)
    ):
        inside = [n for n in range(int(lengths[row])) if start <= 160 * n + 200 < stop][:20]
        assert int(found.lengths[number]) == len(inside)
        assert torch.equal(found.data[number, : len(inside)], cepstra[row, inside])
        assert not found.data[number, len(inside) :].any()


@pytest.mark.parametrize(("start", "stop"), [(0, 50), (8_000, 8_010), (15_990, 16_000)])
def test_the_shortest_segment_has_one_frame(start, stop):
    batch = wave_batch()._replace(
        rows=torch.tensor([0]), starts=torch.tensor([start]), stops=torch.tensor([stop]), pairs=torch.zeros(0, 2).long()
    )
    system = build(Speech2VecConfig(dim=6))
    assert system.segments(batch).lengths.tolist() == [1]
    assert torch.isfinite(system.vectors(batch)).all()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="cbow sums several"):
        Speech2VecConfig(objective="cbow", attention=True)
    with pytest.raises(ValueError, match="multiple of 2"):
        Speech2VecConfig(dim=7)


@each_kind
def test_saved_and_loaded_it_computes_the_same(config, tmp_path):
    system, batch = build(config), wave_batch()
    store.save(system, tmp_path / "m")
    again = store.load(tmp_path / "m")
    assert isinstance(again, Speech2Vec)
    assert again.config == config
    assert torch.equal(again.vectors(batch), system.vectors(batch))


# A corpus of tones: twelve words, each followed by its partner, by three speakers.


@pytest.fixture(scope="module")
def aligned_tones(prepared_tones, tmp_path_factory):
    """Return the prepared tones with the times of their words: a letter lasts about 0.12 s, a pause 0.1 s."""
    folder = tmp_path_factory.mktemp("aligned_tones")
    (folder / "cuts.jsonl.gz").write_bytes((prepared_tones / "cuts.jsonl.gz").read_bytes())
    segments = []
    for u in read_manifest(folder):
        tempo = 1 + 0.1 * (["anna", "ben", "carl", "dora"].index(u.speaker) - 1.5) / 1.5
        time = 0.1
        for word in u.text.split():
            end = time + len(word) * (0.1 * tempo + 0.02)
            segments.append(Segment(u.id, round(time, 3), round(end, 3), word))
            time = end + 0.1
    write_segments(folder / SEGMENTS, segments)
    return folder


@pytest.fixture(scope="module")
def trained(aligned_tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "words"
    run.train(recipes.by_name("speech2vec_smoke"), into=folder, data=aligned_tones)
    return folder


def test_5_a_trained_model_is_far_below_the_mean_and_below_the_last_frame(trained):
    reports = [row for row in read_metrics(trained / "metrics.jsonl") if row["kind"] == "train"]
    assert 0.7 < reports[-1]["chance"] < 1.3
    assert reports[-1]["loss"] < 0.5 * reports[-1]["chance"]
    assert reports[-1]["loss"] < 0.8 * reports[0]["loss"]


def test_7_the_same_word_of_another_speaker_is_nearer_than_another_word(aligned_tones, trained):
    words = spoken_words.embed_segments(trained, data=[aligned_tones])
    unit = torch.nn.functional.normalize(words.vectors, dim=-1)
    labels = [one.word for one in words.segments]
    speakers = [words.utterances[one.utterance].speaker for one in words.segments]
    near = unit @ unit.T
    same_word = torch.tensor([[a == b for b in labels] for a in labels])
    same_speaker = torch.tensor([[a == b for b in speakers] for a in speakers])
    others = ~torch.eye(len(labels), dtype=torch.bool)
    assert float(near[same_word & ~same_speaker].mean()) > float(near[~same_word].mean()) + 0.1
    assert float(near[same_word & same_speaker & others].mean()) > 0.9


def test_an_interruption_changes_no_bit(aligned_tones, tmp_path, monkeypatch):
    whole = short_run(aligned_tones, tmp_path / "whole")
    other = short_run(aligned_tones, tmp_path / "other", **{"train.seed": 1})
    assert any(not torch.equal(whole[name], other[name]) for name in whole)

    interrupt_after(3, monkeypatch)
    assert short_run(aligned_tones, tmp_path / "parts") is None
    monkeypatch.undo()
    parts = short_run(aligned_tones, tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def short_run(data, into, **changes):
    changes = {"train.num_steps": 6, "train.log_every": 2, "segments.subsample": 0.05, **changes}
    run.train(recipes.by_name("speech2vec_smoke").override(changes), into=into, data=data)
    return store.load(into).state_dict() if (into / "model").exists() else None


def interrupt_after(step, monkeypatch):
    tick = Reporter.tick

    def stop(self, now):
        tick(self, now)
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Reporter, "tick", stop)


def test_other_segments_in_the_same_folder_are_refused(aligned_tones, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cuts.jsonl.gz", SEGMENTS):
        (folder / name).write_bytes((aligned_tones / name).read_bytes())
    short_run(folder, tmp_path / "r")
    lines = (folder / SEGMENTS).read_text().splitlines()
    (folder / SEGMENTS).write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(ValueError, match="other segments"):
        short_run(folder, tmp_path / "r")


def test_pieces_of_fixed_length_need_no_file(prepared_tones, tmp_path):
    assert not (prepared_tones / SEGMENTS).exists()
    with pytest.raises(FileNotFoundError, match="sori words align"):
        short_run(prepared_tones, tmp_path / "r")
    short_run(prepared_tones, tmp_path / "fixed", **{"segments.fixed_seconds": 0.4})
    pieces = spoken_words.embed_segments(tmp_path / "fixed")
    assert all(one.word is None and 0.3 < one.end - one.start < 0.5 for one in pieces.segments)


def test_training_continues_from_a_model(aligned_tones, trained, tmp_path):
    run.train(
        recipes.by_name("speech2vec_smoke").override({"train.num_steps": 2, "optim.lr": 0.0}),
        into=tmp_path / "r",
        data=aligned_tones,
        init=trained,
    )
    first, second = store.load(trained).state_dict(), store.load(tmp_path / "r").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_verbs_for_frames_refuse_it(trained, tone_corpus, call):
    sound = tone_corpus / "audio" / "anna" / "anna-000.wav"
    for verb in (["embed", trained, sound, "--into", "v"], ["convert", trained, "m", "--format", "onnx"]):
        code, _, error = call(*verb)
        assert code in {1, 2}
        assert "vectors of words" in error
