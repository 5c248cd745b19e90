"""Synthetic runs, one for each known failure, and healthy ones without findings."""

import json
import math

import pytest

from sori.training.watch import Facts, Watch, WatchConfig

CHANCE = math.log(101)
PRETRAIN = Facts(num_steps=10_000, chance_nats=CHANCE, max_code_perplexity=640.0)
CTC = Facts(num_steps=10_000)


def healthy(step: int) -> dict[str, float]:
    """As in published BASE: perplexity 18 early, then higher; loss leaves chance within a few hundred updates."""
    progress = min(1.0, step / 2_000)
    return {
        "step": step,
        "loss": 5.0 - 2 * progress,
        "contrastive": CHANCE - 2 * progress,
        "correct": 0.01 + 0.4 * progress,
        "code_perplexity": 18 + 200 * progress,
        "equal_share": 0.02,
        "grad_norm": 0.5,
        "skipped": 0,
        "batch_seconds": 90.0,
    }


def follow(watch, changes, *, start=100, end=10_000, every=100):
    """Return findings with their updates; `changes(step)` replaces numbers of a healthy run."""
    found = []
    for step in range(start, end + 1, every):
        found += [(step, finding) for finding in watch.check(healthy(step) | changes(step))]
    return found


def names(found):
    return [finding.name for _, finding in found]


def test_a_healthy_run_raises_nothing():
    assert follow(Watch(WatchConfig(), PRETRAIN), lambda _: {}) == []


def test_a_falling_ctc_run_raises_nothing():
    watch = Watch(WatchConfig(), CTC)
    assert follow(watch, lambda step: {"blank_share": 1.0 if step < 2_900 else 0.6}) == []


def test_chance_level_is_reported_once_with_batch_size_and_cure():
    found = follow(Watch(WatchConfig(), PRETRAIN), lambda _: {"contrastive": CHANCE + 0.01})
    assert names(found) == ["chance_level"]
    step, finding = found[0]
    assert step == 1_100  # a tenth of the run after the first report
    assert finding.action == "warn"
    assert "4.615" in str(finding)
    assert "90 s" in str(finding)
    assert "learning rate" in finding.cure


def test_chance_level_of_a_long_run_is_reported_early():
    facts = PRETRAIN._replace(num_steps=400_000)
    found = follow(Watch(WatchConfig(chance_updates=3_000), facts), lambda _: {"contrastive": CHANCE - 0.01})
    assert [step for step, _ in found] == [3_100]


def test_a_run_that_leaves_chance_in_time_has_no_findings():
    changes = lambda step: {"contrastive": CHANCE} if step <= 900 else {}  # noqa: E731
    assert follow(Watch(WatchConfig(), PRETRAIN), changes) == []


@pytest.mark.parametrize(
    "collapsed",
    [
        {"code_perplexity": 2.0, "equal_share": 1.0, "contrastive": 0.0, "correct": 1.0},
        {"code_perplexity": 6.0},
        {"equal_share": 0.6},
        {"contrastive": 0.01, "correct": 1.0},
    ],
)
def test_collapse_stops_after_three_reports(collapsed):
    found = follow(Watch(WatchConfig(), PRETRAIN), lambda step: collapsed if step >= 3_000 else {})
    collapses = [(step, finding) for step, finding in found if finding.name == "collapse"]
    assert [(step, finding.action) for step, finding in collapses] == [(3_200, "stop")]
    assert "diversity weight" in collapses[0][1].cure


def test_collapse_only_warns_where_stopping_is_off():
    found = follow(Watch(WatchConfig(stop_on_collapse=False), PRETRAIN), lambda _: {"equal_share": 0.9})
    assert [finding.action for _, finding in found] == ["warn"]


def test_a_collapse_goes_back_where_there_is_a_healthy_checkpoint_and_warns_of_it_before():
    watch = Watch(WatchConfig(), PRETRAIN)
    assert not watch.alarmed
    watch.check(healthy(100) | {"equal_share": 0.2})
    assert watch.alarmed  # one may be coming
    watch.check(healthy(200))
    assert not watch.alarmed
    found = [watch.check(healthy(step) | {"equal_share": 0.9}, can_roll_back=True) for step in (300, 400, 500)]
    assert watch.alarmed
    assert [finding.action for finding in found[-1]] == ["roll_back"]
    assert "lower learning rate" in found[-1][0].cure
    only_warning = Watch(WatchConfig(stop_on_collapse=False, num_reports=1), PRETRAIN)
    assert [f.action for f in only_warning.check(healthy(100) | {"equal_share": 0.9}, can_roll_back=True)] == ["warn"]


def test_a_short_dip_is_no_collapse():
    assert (
        follow(Watch(WatchConfig(), PRETRAIN), lambda step: {"equal_share": 0.9 if step in {500, 600} else 0.0}) == []
    )


def test_falling_perplexity_warns_before_the_collapse():
    def changes(step):
        return {"code_perplexity": max(2.0, 200 * 0.8 ** ((step - 4_000) / 100))} if step > 4_000 else {}

    found = follow(Watch(WatchConfig(), PRETRAIN), changes)
    assert names(found) == ["falling_perplexity", "collapse"]
    assert found[0][0] + 500 < found[1][0]
    assert "218.0" in str(found[0][1])


def test_a_fraction_of_equal_distractors_above_a_tenth_warns():
    assert names(follow(Watch(WatchConfig(), PRETRAIN), lambda _: {"equal_share": 0.2})) == ["falling_perplexity"]


def test_a_vanished_gradient_is_reported():
    found = follow(Watch(WatchConfig(), PRETRAIN), lambda step: {"grad_norm": 1e-18} if step > 500 else {})
    assert names(found) == ["vanishing_gradient"]
    assert "1.0e-18" in str(found[0][1])


def test_skipped_updates_are_reported_at_once_and_again_when_they_recur():
    found = follow(Watch(WatchConfig(), PRETRAIN), lambda step: {"skipped": 2} if step in {500, 600, 900} else {})
    assert [(step, finding.name) for step, finding in found] == [(500, "non_finite"), (900, "non_finite")]
    assert "2 update(s)" in str(found[0][1])


def test_the_blank_plateau_triggers_two_recoveries_then_a_warning():
    found = follow(Watch(WatchConfig(), CTC), lambda _: {"blank_share": 0.999})
    assert [(step, finding.action) for step, finding in found] == [
        (3_300, "recover"),
        (3_600, "recover"),
        (3_900, "warn"),
    ]
    assert "99.9%" in str(found[0][1])


def test_a_plateau_whose_loss_still_falls_is_left_alone():
    def changes(step):
        slowly = 4.7 - 2e-4 * min(step, 5_000) + 0.05 * (step % 200 == 0)  # nats per label, noisy, until update 5,000
        return {"blank_share": 0.999, "per_label": slowly}

    found = follow(Watch(WatchConfig(), CTC), changes)
    assert [finding.action for _, finding in found] == ["recover", "recover", "warn"]
    assert 5_800 < found[0][0] < 6_300  # a tenth of the run after the last fall, and three reports
    first, second = Watch(WatchConfig(), CTC), Watch(WatchConfig(), CTC)
    before = follow(first, changes, end=4_000)
    second.state = json.loads(json.dumps(first.state, allow_nan=False))  # an interruption
    assert before + follow(second, changes, start=4_100) == found
    level = follow(Watch(WatchConfig(), CTC), lambda _: {"blank_share": 0.999, "per_label": 4.7})
    assert level[0][0] == 3_300


def test_recovery_can_be_turned_off():
    found = follow(Watch(WatchConfig(recover_from_blank=False), CTC), lambda _: {"blank_share": 1.0})
    assert [finding.action for _, finding in found] == ["warn"]


def test_a_report_without_the_numbers_raises_nothing():
    assert Watch(WatchConfig(), PRETRAIN).check({"step": 9_000}) == []


def test_numbers_that_are_not_finite_give_one_finding():
    """A window in which every update was skipped."""
    report = {"step": 9_000, "loss": math.nan, "grad_norm": math.nan, "skipped": 25}
    assert names([(0, f) for f in Watch(WatchConfig(), PRETRAIN).check(report)]) == ["non_finite"]


@pytest.mark.parametrize("cut", [2_050, 3_050, 3_150, 3_250, 3_450, 4_050])
def test_findings_do_not_depend_on_an_interruption(cut):
    def changes(step):
        return {"blank_share": 1.0, "equal_share": 0.2 if step > 4_000 else 0.0}

    whole = follow(Watch(WatchConfig(), CTC), changes)
    first, second = Watch(WatchConfig(), CTC), Watch(WatchConfig(), CTC)
    found = follow(first, changes, end=cut)
    second.state = json.loads(json.dumps(first.state))
    assert found + follow(second, changes, start=(cut // 100 + 1) * 100) == whole
    assert len(whole) == 4
