"""Known ways in which training goes wrong, recognised in the reported numbers, each with its cause and its cure.

Pure logic: reports go in, findings come out; the only memory is `state`, plain data that the checkpoint carries, so
that an interrupted run finds the same things at the same updates as an uninterrupted one.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, final

from pydantic import Field

from sori.core.config import Config

Name = Literal["chance_level", "collapse", "falling_perplexity", "vanishing_gradient", "non_finite", "blank_plateau"]

Report = Mapping[str, Any]
"""Numbers by name; `step` and `skipped` are whole, the others are floats."""


class WatchConfig(Config):
    """When a signature counts as found, and what follows."""

    stop_on_collapse: bool = True
    """End the run when the codebook has collapsed for good: nothing is learnt from there on."""
    recover_from_blank: bool = True
    """Let the system recover (`recover()`, where it has one) when it stays on the blank plateau."""
    num_reports: int = Field(default=3, ge=1)
    """Reports in a row that must show a signature."""
    chance_updates: int = Field(default=2000, ge=1)
    """Updates at the chance level after which to warn; a tenth of the run where that is less."""
    blank_fraction: float = Field(default=0.3, ge=0, le=1)
    """Fraction of the run in which a recogniser that only answers blank is normal."""
    max_recoveries: int = Field(default=2, ge=0)
    """Recoveries from the blank plateau before only a warning remains."""


class Diverged(RuntimeError):  # noqa: N818 - what happened, not whose fault it was
    """Training came to nothing in a known way; another seed may do better."""


class Facts(NamedTuple):
    """What the signatures are measured against; None where the system has no such thing."""

    num_steps: int
    chance_nats: float | None = None
    """Contrastive loss of a guess, ln(1 + distractors)."""
    max_code_perplexity: float | None = None
    """Code perplexity with all codes in equal use."""


class Finding(NamedTuple):
    """Something found, once for each time it begins."""

    name: Name
    cause: str
    cure: str
    action: Literal["warn", "stop", "recover"] = "warn"

    def __str__(self) -> str:
        """One paragraph for the screen."""
        return f"{self.name.replace('_', ' ')}: {self.cause} {self.cure}"


@final
class Watch:
    """Looks at one report after the other.

    Reports hold numbers by the names of `log.py`; a signature whose numbers are missing is not looked for.
    """

    def __init__(self, config: WatchConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts
        self.state: dict[str, Any] = {"since": {}, "count": {}, "raised": [], "best_perplexity": 0.0, "recoveries": 0}
        """Plain data: when each signature began and how many reports showed it, which are already raised."""

    def see(self, report: Report) -> list[Finding]:
        """What this report shows that was not already said."""
        self.state["best_perplexity"] = max(self.state["best_perplexity"], report.get("code_perplexity", 0.0))
        signs = {
            "chance_level": self._at_chance(report),
            "collapse": self._collapsed(report),
            "falling_perplexity": self._falling(report),
            "vanishing_gradient": report.get("grad_norm", 1.0) < 1e-6,
            "non_finite": report.get("skipped", 0) > 0,
            "blank_plateau": self._blank(report),
        }
        return [self._finding(name, report) for name, shown in signs.items() if self._persists(name, shown, report)]

    def _persists(self, name: str, shown: bool, report: Report) -> bool:
        """Whether a signature has now been seen for long enough and was not raised yet."""
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
        # A healthy BASE shows 18 codes of 640 after 1,000 updates, a collapsed model 2 or 3 of 320.
        few = report.get("code_perplexity", math.inf) < 0.01 * (self.facts.max_code_perplexity or 0)
        return bool(solved or few or report.get("equal_share", 0) > 0.5)

    def _falling(self, report: Report) -> bool:
        halved = report.get("code_perplexity", math.inf) < 0.5 * self.state["best_perplexity"]
        return bool(halved or report.get("equal_share", 0) > 0.1) and not self._collapsed(report)

    def _blank(self, report: Report) -> bool:
        late = report["step"] > self.config.blank_fraction * self.facts.num_steps
        return bool(late and report.get("blank_share", 0) > 0.99)

    def _finding(self, name: str, report: Report) -> Finding:
        match name:
            case "chance_level":
                return _chance_level(report, self.facts)
            case "collapse":
                return _collapse(report, self.facts, stop=self.config.stop_on_collapse)
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
            # It is raised again only if it persists anew.
            for memory in (self.state["since"], self.state["count"]):
                memory.pop("blank_plateau", None)
            self.state["raised"].remove("blank_plateau")
        return Finding(
            "blank_plateau",
            f"{report['blank_share']:.1%} of the frames still answer blank at update {report['step']:.0f} of "
            f"{self.facts.num_steps}. Every CTC run begins on this plateau, this one has not left it: the head has "
            "found no letters in the features yet.",
            "The recogniser is restarted from its features."
            if recover
            else "More updates or a higher rate for the head leave it sooner; a lower rate for the encoder keeps the "
            "features; or the transcripts do not belong to the audio.",
            "recover" if recover else "warn",
        )


def contrastive(report: Report) -> float:
    """The part of the loss that the chance level belongs to: `contrastive` or `mlm` where there is one, else `loss`."""
    return float(report.get("contrastive", report.get("mlm", report.get("loss", math.nan))))


def non_finite_error(num_skipped: int, step: int) -> str:
    """What to say when the run stops because loss or gradient stayed infinite or NaN."""
    cause, cure = _non_finite(num_skipped)
    return f"stopped at update {step}: {cause} {cure} The last checkpoint was left as it was."


def _non_finite(num_skipped: int) -> tuple[str, str]:
    cause = f"{num_skipped} update(s) were skipped: loss or gradient was not finite, or there was no target."
    cure = (
        "Likely the learning rate is too high (try a third of it, or a longer warm-up), gradients are not clipped "
        "(optim.max_norm), or the audio holds NaN or absurd values (`sori prepare` lists such files)."
    )
    return cause, cure


def _chance_level(report: Report, facts: Facts) -> Finding:
    seconds = report.get("batch_seconds", 0.0)
    return Finding(
        "chance_level",
        f"the loss is {contrastive(report):.3f} nats after {report['step']:.0f} updates and a guess gives "
        f"{facts.chance_nats:.3f}: the contrastive task is unsolved. An update hears {seconds:.0f} s of audio; the "
        "published recipes hear 5,600 s.",
        "With small batches lower the learning rate in proportion, accumulate (train.num_accumulate), or begin with "
        "the front end of `tiny`, which makes the task easy.",
    )


def _collapse(report: Report, facts: Facts, *, stop: bool) -> Finding:
    perplexity = report.get("code_perplexity", math.nan)
    return Finding(
        "collapse",
        f"the codebook has collapsed: code perplexity {perplexity:.1f} of {facts.max_code_perplexity or math.nan:.0f}, "
        f"{report.get('equal_share', math.nan):.0%} of the distractors equal their positive, accuracy "
        f"{report.get('accuracy', math.nan):.0%}. The loss says nothing any more.",
        "Raise the diversity weight, lower the learning rate or lengthen its warm-up, and make batches larger; then "
        "begin in a new folder.",
        "stop" if stop else "warn",
    )


def _falling_perplexity(report: Report, best: float) -> Finding:
    return Finding(
        "falling_perplexity",
        f"the code perplexity is {report.get('code_perplexity', math.nan):.1f} after having been {best:.1f}, and "
        f"{report.get('equal_share', math.nan):.1%} of the distractors equal their positive: the codebook may be "
        "collapsing.",
        "Harmless while accuracy rises and it settles well above the number of groups; else raise the diversity weight "
        "or lower the learning rate.",
    )


def _vanishing_gradient(report: Report) -> Finding:
    return Finding(
        "vanishing_gradient",
        f"the gradient's norm is {report['grad_norm']:.1e}: nothing is being learnt.",
        "Likely the codebook has collapsed, all parts are frozen, or the inputs are constant (silence).",
    )
