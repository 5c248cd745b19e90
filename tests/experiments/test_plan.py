"""Plans: what fits, what is refused with what would, and that the measured cost is that of real updates."""

import math
import re

import pytest
import torch

import sori
from sori import recipes
from sori.data.manifest import read_manifest
from sori.experiments.planning import costs, recorded
from sori.experiments.planning import plan as planning
from sori.experiments.planning.calibration import Measured, calibrate
from sori.experiments.planning.gpu_estimates import FRACTION_OF_PEAK, memory_gib, size_of
from sori.experiments.planning.stage import duration
from sori.models import factory
from sori.recipes import sizes


def plan(hours, **options):
    """Plan with whole numbers where the function has amounts."""
    amounts = {name: float(options[name]) for name in ("deadline_hours", "minutes_of_labels") if name in options}
    return planning.plan(float(hours), **options | amounts)


@pytest.fixture
def measured(monkeypatch):
    """Updates take a hundredth of the length of their audio; calls are listed by recipe."""
    calls = []

    def fake(recipe, encoder, *, seconds, lengths):
        audio = recipe.data.batch_seconds * recipe.train.num_accumulate
        calls.append(recipe.name)
        return Measured(audio / 100, audio / 100, audio, 5.0, 5.0, 10, 1.5, "this CPU, 1 threads", "float32")

    monkeypatch.setattr(costs, "calibrate", fake)
    monkeypatch.setattr(costs, "free_gib", lambda _: 8.0)
    return calls


def test_the_whole_recipe_if_there_is_time(measured):
    found = plan(6, deadline_hours=48)
    (stage,) = found.stages
    assert measured == ["wav2vec2_tiny"]
    assert (stage.num_steps, stage.of_steps, stage.batch_seconds, stage.accumulate) == (4_000, 4_000, 24.0, 1)
    assert stage.seconds == pytest.approx(5 + 4_000 * 0.24)
    assert stage.hours_processed == pytest.approx(26.67, abs=0.01)
    assert stage.command == "sori train wav2vec2_tiny --data PREPARED --into runs/wav2vec2_tiny"
    assert stage.lr == recipes.by_name("wav2vec2_tiny").optim.lr
    assert found.seconds == stage.seconds


def test_a_deadline_shortens_the_run_and_the_temperature_falls_as_far(measured):
    (stage,) = plan(6, deadline_hours=0.2).stages
    assert stage.num_steps == int((720 * 0.95 - 5) / 0.24)
    assert stage.seconds <= 720
    decay = float(re.search(r"--system.gumbel-decay (\S+)", stage.command)[1])
    assert decay**stage.num_steps == pytest.approx(0.99951**4_000, rel=0.01)
    assert f"--train.num-steps {stage.num_steps}" in stage.command


def test_the_largest_recipe_that_fits_is_chosen(measured):
    assert [stage.recipe for stage in plan(30, deadline_hours=20).stages] == ["wav2vec2_small"]
    assert measured == ["wav2vec2_small"]  # larger ones are refused without being measured
    assert plan(30, deadline_hours=0.7).stages[0].recipe == "wav2vec2_tiny"
    assert plan(19, deadline_hours=20).stages[0].recipe == "wav2vec2_tiny"


def test_labels_add_fine_tuning_and_share_the_deadline(measured):
    alone, both = plan(6, deadline_hours=0.3), plan(6, deadline_hours=0.3, minutes_of_labels=10)
    assert [stage.recipe for stage in both.stages] == ["wav2vec2_tiny", "ctc_10min"]
    assert both.seconds <= 0.3 * 3600
    assert both.stages[0].num_steps < alone.stages[0].num_steps
    tuning = both.stages[1]
    evaluations = 2500 / 250 * 600 / 3 * (12 / 100) / 12
    assert tuning.seconds == pytest.approx(5 + 2500 * 12 / 100 + evaluations)
    assert "--init runs/wav2vec2_tiny" in tuning.command
    names = [plan(400, minutes_of_labels=m).stages[1].recipe for m in (30, 31, 300, 301, 3001)]
    assert names == ["ctc_10min", "ctc_1h", "ctc_1h", "ctc_10h", "ctc_100h"]


def test_other_encoders_are_planned_here_and_not_estimated(measured):
    found = plan(6, recipe="cpc_tiny", minutes_of_labels=10)
    assert [stage.recipe for stage in found.stages] == ["cpc_tiny", "ctc_10min"]
    assert found.disk_gb["models"] > 0
    with pytest.raises(ValueError, match=r"expected a recipe of wav2vec 2.0 for an estimate, got one of cpc"):
        plan(6, recipe="cpc_tiny", device="h100")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hours": 0.5}, r"nothing fits:[^$]*wav2vec2_tiny: 0.5 h of recordings; it was made for 1 h and more"),
        ({"hours": 6, "deadline_hours": 0.1}, r"wav2vec2_tiny: it processes 9\.4 h until the deadline, .* below 12 h"),
        ({"hours": 6, "recipe": "wav2vec2_base"}, "wav2vec2_base: 6 h of recordings; it was made for 300 h"),
        ({"hours": 500, "recipe": "wav2vec2_base", "deadline_hours": 48}, "far more than this processor can in"),
        (
            {"hours": 6, "recipe": "ctc_10min"},
            "that pre-trains on speech, or ctc_10min_xlsr_laptop, got ctc_10min",
        ),
        ({"hours": 6, "device": "abacus"}, "expected a device of here, h100, .* got 'abacus'"),
        ({"hours": 6, "devices": 2}, "expected devices=1 with device here, got 2"),
        ({"hours": 6, "devices": 0, "device": "h100"}, "expected devices to be a whole number"),
        ({"hours": 0.1, "minutes_of_labels": 10}, "expected the labelled speech to be part of the recordings"),
        ({"hours": -1}, "hours"),
        ({"hours": math.nan}, "hours"),
        ({"hours": 6, "deadline_hours": 0}, "deadline_hours"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(measured, options, message):
    with pytest.raises(ValueError, match=message):
        plan(**options)


def test_the_deadline_that_a_refusal_names_works(measured):
    with pytest.raises(ValueError, match="possible with a deadline of 8 min, more"):
        plan(6, deadline_hours=0.1, recipe="wav2vec2_tiny")
    assert plan(6, deadline_hours=8.1 / 60, recipe="wav2vec2_tiny").stages[0].hours_processed >= 12


def test_too_little_memory_is_refused(measured, monkeypatch):
    monkeypatch.setattr(costs, "free_gib", lambda _: -1.0)
    with pytest.raises(ValueError, match=r"wav2vec2_tiny needs 2 GiB .* a device has 0"):
        plan(6, recipe="wav2vec2_tiny")
    with pytest.raises(ValueError, match=r"wav2vec2_xlsr_2b needs \d+ GiB with micro-batches of 75 s, a device has 24"):
        plan(60_000, device="l4", devices=128, recipe="wav2vec2_xlsr_2b")


@pytest.mark.parametrize("devices", [1, 3, 8, 64, 1000])
def test_an_update_has_the_audio_of_the_recipe_on_any_number_of_devices(devices):
    found = plan(60_000, device="h100", devices=devices, recipe="wav2vec2_large")
    (stage,) = found.stages
    assert stage.devices * stage.accumulate * stage.batch_seconds == pytest.approx(75.0 * 128, rel=1e-4)
    assert stage.batch_seconds <= 75.0
    assert stage.devices == min(devices, 960)
    assert "ESTIMATED, nothing was recorded on this GPU: 10 % of the 989 TFLOP/s" in stage.based_on
    assert (f"{devices - 960} devices stay idle" in str(found)) == (devices > 960)


def test_more_devices_and_better_ones_are_faster():
    times = [
        plan(60_000, device=device, devices=number, recipe="wav2vec2_base").seconds
        for device, number in (("a100", 8), ("h100", 8), ("h100", 16))
    ]
    assert times == sorted(times, reverse=True)


def test_a_stage_on_fewer_devices_has_their_audio_and_time():
    found = plan(30, device="a100", devices=8, recipe="wav2vec2_small", minutes_of_labels=10)
    alone = plan(30, device="a100", recipe="wav2vec2_small", minutes_of_labels=10)
    (small, tuning), (_, tuning_alone) = found.stages, alone.stages
    assert (small.devices, small.batch_seconds) == (8, 12.0)
    assert small.hours_processed == pytest.approx(40_000 * 96 / 3600)
    assert tuning == tuning_alone
    assert tuning.hours_processed == pytest.approx(2500 * 12 / 3600)
    assert any("more than 11 passes were never recorded" in note for note in found.notes)


def test_recorded_speeds_of_a_gpu_replace_the_estimate(monkeypatch):
    known = {"h100": {"wav2vec2_base": {"hours_per_hour": 1000.0, "gib": 30.0, "command": "python a.py"}}}
    monkeypatch.setattr(recorded, "recorded", lambda: {"gpus": known, "pre_training": []})
    (stage,) = plan(960, device="h100", recipe="wav2vec2_base").stages
    assert stage.seconds_per_update == pytest.approx(87.5 * 64 / 1000)
    assert stage.based_on == "recorded on this GPU (`python a.py`)"


def test_sizes_are_those_of_the_models():
    assert size_of(sizes.base(), 15.0).num_parameters == 95_044_608
    assert size_of(sizes.xlsr_2b(), 15.0).num_parameters == 2_162_932_352
    one, two = (memory_gib(size_of(sizes.base(), 15.0), seconds) for seconds in (30.0, 60.0))
    assert two - one == pytest.approx(one - memory_gib(size_of(sizes.base(), 15.0), 0.0))


@pytest.mark.parametrize(
    ("size", "batch", "seconds"), [("base", 87.5, 1.6 * 86_400 / 4e5), ("large", 75.0, 2.3 * 86_400 / 2.5e5)]
)
def test_the_assumed_fraction_of_the_peak_is_near_that_of_the_paper(size, batch, seconds):
    operations = size_of(getattr(sizes, size)(), 15.0).flops_per_second * batch
    assert operations / seconds / 125e12 == pytest.approx(FRACTION_OF_PEAK, abs=0.025)


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    # Without groups: torch counts the gradient of the weights of grouped convolutions as if there were none.
    changes = {"num_layers": 2, "layerdrop": 0.0, "position_groups": 1, "position_kernel": 15}
    config, seconds = sizes.base().model_copy(update=changes), 2.0
    system = factory.build(config)
    waveform, lengths = 0.1 * torch.randn(1, int(16_000 * seconds)), torch.tensor([int(16_000 * seconds)])
    from sori.core.batch import WaveformBatch
    from sori.core.seeds import Rng

    with FlopCounterMode(display=False) as counter:
        system.loss(WaveformBatch(waveform, lengths), step=0, rng=Rng(0)).total.backward()
    assert size_of(config, seconds).flops_per_second * seconds == pytest.approx(counter.get_total_flops(), rel=0.15)


def test_the_lengths_of_the_utterances_decide_how_full_a_batch_is(prepared_tones, monkeypatch):
    recipe = recipes.by_name("wav2vec2_smoke").override({"data.batch_seconds": 5.0, "data.max_crop_seconds": 4.0})
    whole, half = (calibrate(recipe, None, seconds=0.0, lengths=[one] * 8) for one in (2.5, 3.0))
    assert (whole.audio_seconds_per_update, half.audio_seconds_per_update) == (5.0, 3.0)
    seen = []
    monkeypatch.setattr(
        costs, "calibrate", lambda *_, lengths, **__: seen.append(lengths) or calibrate(recipe, None, seconds=0.0)
    )
    plan(6, recipe="wav2vec2_tiny", data=prepared_tones)
    assert seen == [[one.duration_seconds for one in read_manifest(prepared_tones)]]


@pytest.mark.parametrize("name", ["wav2vec2_smoke", "cpc_smoke", "ctc_smoke"])
def test_real_updates_are_measured(name):
    recipe = recipes.by_name(name)
    found = calibrate(recipe, sizes.smoke(), seconds=0.1)
    assert found.num_updates >= 3
    assert 0 < found.audio_seconds_per_update <= recipe.data.batch_seconds * recipe.train.num_accumulate
    assert found.cpu_seconds_per_update > 0
    assert 0.1 < found.peak_gib < 16


def test_frozen_blocks_are_computed_once_for_each_speed(monkeypatch):
    once = Measured(0.5, 0.4, 12.0, 5.0, 5.0, 10, 4.5, "this CPU, 1 threads", "bfloat16", 0.2, 0.1)
    monkeypatch.setattr(costs, "calibrate", lambda *_, **__: once)
    monkeypatch.setattr(costs, "free_gib", lambda _: 8.0)
    (stage,) = plan(1, recipe="ctc_10min_xlsr_laptop").stages
    cached, evaluated = 600 * (1 / 0.9 + 1 + 1 / 1.1), 4 * 180
    assert stage.seconds == pytest.approx(5 + 1600 * 0.5 + cached * 0.2 + evaluated * (0.5 / 12 / 3 + 0.2))
    assert stage.frozen_cpu_seconds == pytest.approx(cached * 0.1)
    assert (stage.gib, stage.num_steps) == (4.5, 1600)
    assert "--init hf://facebook/wav2vec2-xls-r-300m" in stage.command
    (less,) = plan(1, recipe="ctc_10min_xlsr_laptop", minutes_of_labels=5).stages
    assert less.frozen_cpu_seconds == pytest.approx(stage.frozen_cpu_seconds / 2)
    with pytest.raises(ValueError, match=r"it takes 22 min; possible with a deadline of 23 min"):
        plan(1, recipe="ctc_10min_xlsr_laptop", deadline_hours=0.1)
    plan(1, recipe="ctc_10min_xlsr_laptop", deadline_hours=23.5 / 60)


def test_the_plan_of_a_public_model_on_a_laptop_has_the_recorded_disk_space(measured):
    """`benchmarks/results/laptop.json` has 176 MiB of frames and 151 M weights that are trained; docs/train.md 5 GB."""
    found = plan(1, recipe="ctc_10min_xlsr_laptop")
    frames = next(size for name, size in found.disk_gb.items() if "frozen" in name)
    assert frames == pytest.approx(176 * 2**20 / 1e9, rel=0.01)
    assert found.disk_gb["checkpoints"] == pytest.approx(2 * (315.5e6 * 4 + 151.2e6 * 8) / 1e9, rel=0.01)
    assert found.disk_gb["models"] == pytest.approx(1.26, abs=0.01)
    assert found.minutes_of_labels == 10
    assert plan(0.1, recipe="ctc_10min_xlsr_laptop").minutes_of_labels == pytest.approx(6)
    with pytest.raises(ValueError, match="expected device here for ctc_10min_xlsr_laptop, got h100"):
        plan(1, recipe="ctc_10min_xlsr_laptop", device="h100")


def test_frozen_blocks_are_measured_by_themselves():
    frozen = {"system.frozen_blocks": 1, "labels.minutes": 1.0}
    recipe = recipes.by_name("ctc_smoke").override(frozen)
    found = calibrate(recipe.model_copy(update={"cache_frozen": True}), sizes.smoke(), seconds=0.1)
    assert found.frozen_cpu_seconds > 0
    assert found.frozen_seconds > 0
    assert found.seconds_per_update > 0
    alone = calibrate(recipe, sizes.smoke(), seconds=0.1)
    assert (alone.frozen_seconds, alone.frozen_cpu_seconds) == (0, 0)


def test_few_updates_of_a_recogniser_count_as_much_audio_as_most_have():
    """An epoch has six batches of 1 to 6 s, and the few that are measured have another mean than all of them."""
    recipe = recipes.by_name("ctc_smoke").override({"data.batch_seconds": 6.0})
    lengths = [1.0, 2.0, 2.5, 4.0, 5.0, 5.5, 6.0]
    few, many = (calibrate(recipe, sizes.smoke(), seconds=some, lengths=lengths) for some in (0.0, 2.0))
    assert few.num_updates < many.num_updates
    assert few.audio_seconds_per_update == pytest.approx(many.audio_seconds_per_update)
    assert few.audio_seconds_per_update == pytest.approx(sum(lengths) / 6)


def test_the_command(measured, call):
    code, out, _ = call("plan", "--hours", 6, "--deadline", "90min", "--minutes-of-labels", 10)
    assert code == 0
    assert "wav2vec2_tiny: 4,000 updates of 24 s of audio: 1 x 1 x 24 s" in out
    assert "sori train ctc_10min --data PREPARED --init runs/wav2vec2_tiny" in out
    assert "recorded results of similar runs:" in out
    assert "CER 51.3 %" in out
    code, _, err = call("plan", "--hours", 6, "--deadline", "soon")
    assert (code, "expected a time such as 90min, 48h or 3d for --deadline, got 'soon'" in err) == (2, True)
    code, _, err = call("plan", "--hours", 6, "--deadline", "5min")
    assert code == 2
    assert "nothing fits" in err


def test_durations_and_the_public_function():
    assert [duration(seconds) for seconds in (40.0, 150.0, 7_300.0, 200_000.0, 3599.9)] == [
        "40 s",
        "2 min",
        "2 h 2 min",
        "2 d 8 h",
        "60 min",
    ]
    assert sori.plan is planning.plan
    commands = {row["command"] for row in recorded.recorded()["pre_training"]}
    assert None in commands
    assert all(math.isfinite(row["hours_processed"]) for row in recorded.recorded()["pre_training"])
