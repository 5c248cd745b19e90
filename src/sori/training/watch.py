"""Detect known training failures in the reported numbers, each with cause and cure.

Maps reports to findings without I/O. `state` is plain data stored in the checkpoint, so that an interrupted run yields
the same findings at the same updates as an uninterrupted one.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, final

from pydantic import Field

from sori.core.config import Config

Name = Literal[
    "chance_level",
    "collapse",
    "falling_perplexity",
    "vanishing_gradient",
    "non_finite",
    "blank_plateau",
    "evaluation_failed",
]

Action = Literal["warn", "stop", "recover", "roll_back"]
Report = Mapping[str, Any]
"""Numbers by name; `step` and `skipped` are integers, the others are floats."""


class WatchConfig(Config):
    """Thresholds for detecting a failure, and what to do about it."""

    stop_on_collapse: bool = True
    """Go back, or stop the run, when the codebook has collapsed: training does not recover from that."""
    max_rollbacks: int = Field(default=2, ge=0)
    """Maximal number of times that the run goes back to the last healthy checkpoint, to continue with a lower learning
    rate; after that, it stops."""
    rollback_lr_factor: float = Field(default=0.5, gt=0, le=1)
    """Factor on the learning rate after each of them, for the rest of the run."""
    recover_from_blank: bool = True
    """Call the system's `recover()`, if it has one, when it stays on the blank plateau."""
    num_reports: int = Field(default=3, ge=1)
    """Number of consecutive reports that must show a failure."""
    chance_updates: int = Field(default=2000, ge=1)
    """Number of updates at the chance level after which to warn; a tenth of the run if that is less."""
    blank_fraction: float = Field(default=0.3, ge=0, le=1)
    """Fraction of the run during which predicting only blank is normal for a recogniser."""
    falling_fraction: float = Field(default=0.1, ge=0, le=1)
    """It remains normal while the loss falls by 2 % within this fraction of the run: then the symbols are being learnt,
    and a new head would begin again. With ten minutes of Thai (268 symbols), this takes a third of the run."""
    max_recoveries: int = Field(default=2, ge=0)
    """Maximal number of recoveries from the blank plateau; after that, only warn."""


class Diverged(RuntimeError):  # noqa: N818 - names the event
    """Training failed in a known way; another seed may succeed."""


class Facts(NamedTuple):
    """Reference values for the reported numbers; None if not defined for the system."""

    num_steps: int
    chance_nats: float | None = None
    """Contrastive loss at chance level, ln(1 + number of distractors)."""
    max_code_perplexity: float | None = None
    """Codebook perplexity with all entries used equally often."""


class Finding(NamedTuple):
    """A detected failure; reported once each time it starts."""

    name: Name
    cause: str
    cure: str
    action: Action = "warn"

    def __str__(self) -> str:
        """Return one paragraph for the screen."""
        return f"{self.name.replace('_', ' ')}: {self.cause} {self.cure}"


@final
class Watch:
    """Checks one report after the other.

    Reports hold numbers by the names listed in `metrics.py`; failures whose numbers are missing are not checked.
    """

    def __init__(self, config: WatchConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts
        self.state: dict[str, Any] = {"since": {}, "count": {}, "raised": [], "best_perplexity": 0.0, "recoveries": 0}
        """Plain data: when each failure started, how many reports showed it, and which are already reported."""

    @property
    def alarmed(self) -> bool:
        """Whether the last report showed a collapse, or one that may be coming."""
        return bool({"collapse", "falling_perplexity"} & self.state["since"].keys())

    def check(self, report: Report, *, can_roll_back: bool = False) -> list[Finding]:
        """Return the failures in this report that have not been reported yet.

        Args:
            report: Numbers of the updates since the last report.
            can_roll_back: Whether there is a healthy checkpoint to go back to.
        """
        self.state["best_perplexity"] = max(self.state["best_perplexity"], report.get("code_perplexity", 0.0))
        signs = {
            "chance_level": self._at_chance(report),
            "collapse": self._collapsed(report),
            "falling_perplexity": self._falling(report),
            "vanishing_gradient": report.get("grad_norm", 1.0) < 1e-6,
            "non_finite": report.get("skipped", 0) > 0,
            "blank_plateau": self._blank(report),
        }
        lasting = [name for name, shown in signs.items() if self._persists(name, shown, report)]
        return [self._finding(name, report, can_roll_back) for name in lasting]

    def _persists(self, name: str, shown: bool, report: Report) -> bool:
        """Return whether a failure has lasted long enough and has not been reported yet."""
        since, count, raised = self.state["since"], self.state["count"], self.state["raised"]
        if not shown:
            since.pop(name, None)
            count.pop(name, None)
            if name in raised:
                raised.remove(name)
            return False
        since.setdefault(name, report["step"])
        count[name] = count.get(name, 0) + 1
        enough = 1 if name == "non_finite" else self.config.num_reports
        updates = {"chance_level": min(self.config.chance_updates, 0.1 * self.facts.num_steps)}.get(name, 0)
        if name in raised or count[name] < enough or report["step"] - since[name] < updates:
            return False
        raised.append(name)
        return True

    def _at_chance(self, report: Report) -> bool:
        chance = self.facts.chance_nats
        return chance is not None and contrastive(report) > 0.98 * chance

    def _collapsed(self, report: Report) -> bool:
        solved = self.facts.chance_nats is not None and contrastive(report) < 0.05 and report.get("correct", 0) > 0.99
        # Perplexity of a healthy BASE model: 18 of 640 after 1,000 updates; of a collapsed model: 2 or 3 of 320.
        few = report.get("code_perplexity", math.inf) < 0.01 * (self.facts.max_code_perplexity or 0)
        return bool(solved or few or report.get("equal_share", 0) > 0.5)

    def _falling(self, report: Report) -> bool:
        halved = report.get("code_perplexity", math.inf) < 0.5 * self.state["best_perplexity"]
        return bool(halved or report.get("equal_share", 0) > 0.1) and not self._collapsed(report)

    def _blank(self, report: Report) -> bool:
        falls = self._label_loss_falls(report)  # at every report, because it keeps the lowest loss
        late = report["step"] > self.config.blank_fraction * self.facts.num_steps
        return bool(late and not falls and report.get("blank_share", 0) > 0.99)

    def _label_loss_falls(self, report: Report) -> bool:
        step, loss = report["step"], report.get("per_label", math.nan)
        lowest, since = self.state.get("lowest_label_loss", (math.inf, -math.inf))
        if loss < 0.98 * lowest:
            since = step
            self.state["lowest_label_loss"] = [loss, since]
        return bool(step - since <= self.config.falling_fraction * self.facts.num_steps)

    def _finding(self, name: str, report: Report, can_roll_back: bool) -> Finding:
        match name:
            case "chance_level":
                return _chance_level(report, self.facts)
            case "collapse":
                failing: Action = "roll_back" if can_roll_back else "stop"
                return _collapse(report, self.facts, failing if self.config.stop_on_collapse else "warn")
            case "falling_perplexity":
                return _falling_perplexity(report, self.state["best_perplexity"])
            case "vanishing_gradient":
                return _vanishing_gradient(report)
            case "non_finite":
                return Finding("non_finite", *_non_finite(int(report["skipped"])))
            case _:
                return self._blank_plateau(report)

    def _blank_plateau(self, report: Report) -> Finding:
        recover = self.config.recover_from_blank and self.state["recoveries"] < self.config.max_recoveries
        if recover:
            self.state["recoveries"] += 1
            # Reset, so that it is reported again only if it persists again.
            for history in (self.state["since"], self.state["count"]):
                history.pop("blank_plateau", None)
            self.state.pop("lowest_label_loss", None)
            self.state["raised"].remove("blank_plateau")
        return Finding(
            "blank_plateau",
            f"{report['blank_share']:.1%} of the frames are still predicted as blank at update {report['step']:.0f} of "
            f"{self.facts.num_steps}. Every CTC run starts on this plateau; this one has not left it: the head does "
            "not yet detect any symbols in the features.",
            "The recogniser is restarted from its features."
            if recover
            else "Train longer, raise the learning rate of the head, or lower that of the encoder to preserve its "
            "features; also check that the transcripts match the audio.",
            "recover" if recover else "warn",
        )


def contrastive(report: Report) -> float:
    """Return the part of the loss that the chance level refers to: `contrastive` or `mlm` if present, else `loss`."""
    return float(report.get("contrastive", report.get("mlm", report.get("loss", math.nan))))


def non_finite_error(num_skipped: int, step: int) -> str:
    """Return the error message for a run stopped because loss or gradient stayed infinite or NaN."""
    cause, cure = _non_finite(num_skipped)
    return f"stopped at update {step}: {cause} {cure}"


def evaluation_failed(error: Exception) -> Finding:
    """Return the finding for an evaluation that raised an error."""
    return Finding(
        "evaluation_failed",
        f"an evaluation failed with {type(error).__name__}: {error}.",
        "Training continues and is saved; fix the cause, then run `sori evaluate` on the finished model.",
    )


def _non_finite(num_skipped: int) -> tuple[str, str]:
    cause = f"{num_skipped} update(s) were skipped: loss or gradient was not finite, or there was no target."
    cure = (
        "Likely the learning rate is too high (try a third of it, or a longer warm-up), gradients are not clipped "
        "(optim.max_norm), or the audio holds NaN or extreme values (`sori prepare` lists such files)."
    )
    return cause, cure


def _chance_level(report: Report, facts: Facts) -> Finding:
    seconds = report.get("batch_seconds", 0.0)
    return Finding(
        "chance_level",
        f"the loss is {contrastive(report):.3f} nats after {report['step']:.0f} updates and chance level is "
        f"{facts.chance_nats:.3f}: the model does not solve the contrastive task yet. An update processes "
        f"{seconds:.0f} s of audio, in the published recipes 5,600 s.",
        "With small batches lower the learning rate in proportion, accumulate (train.num_accumulate), or use the "
        "front end of `tiny`, which makes the task easier.",
    )


def _collapse(report: Report, facts: Facts, action: Action) -> Finding:
    perplexity = report.get("code_perplexity", math.nan)
    return Finding(
        "collapse",
        f"the codebook has collapsed: codebook perplexity {perplexity:.1f} of "
        f"{facts.max_code_perplexity or math.nan:.0f}, {report.get('equal_share', math.nan):.0%} of the distractors "
        f"equal their positive, accuracy {report.get('correct', math.nan):.0%}. The loss is no longer meaningful.",
        "The run goes back to its last healthy checkpoint and continues with a lower learning rate."
        if action == "roll_back"
        else "Raise the diversity weight, lower the learning rate or lengthen its warm-up, and make batches larger; "
        "then start in a new folder.",
        action,
    )


def _falling_perplexity(report: Report, best: float) -> Finding:
    return Finding(
        "falling_perplexity",
        f"the codebook perplexity is {report.get('code_perplexity', math.nan):.1f}, down from {best:.1f}, and "
        f"{report.get('equal_share', math.nan):.1%} of the distractors equal their positive: the codebook may be "
        "collapsing.",
        "This is harmless while accuracy rises and perplexity settles well above the number of groups; otherwise raise "
        "the diversity weight or lower the learning rate.",
    )


def _vanishing_gradient(report: Report) -> Finding:
    return Finding(
        "vanishing_gradient",
        f"the gradient norm is {report['grad_norm']:.1e}: the model is not learning.",
        "Likely the codebook has collapsed, all parts are frozen, or the inputs are constant (silence).",
    )
