"""What a plan consists of, as data, and as text for the screen."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One run: pre-training or fine-tuning."""

    recipe: str
    devices: int
    """Devices in use; more would have less than ten seconds of audio each."""
    num_steps: int
    """Updates."""
    of_steps: int
    """Updates of the recipe as it is."""
    batch_seconds: float
    """Audio in a micro-batch, at most."""
    accumulate: int
    """Micro-batches that a process accumulates."""
    lr: float
    """Peak learning rate, for this audio per update."""
    hours_processed: float
    seconds: float
    """From the start to the model."""
    seconds_per_update: float
    cpu_seconds_per_update: float | None
    """Processor time; None: not measured."""
    gib: float
    """Memory of a device, or of the process on a CPU."""
    based_on: str
    """Where time and memory come from."""
    command: str
    frozen_cpu_seconds: float = 0.0
    """Processor time to compute frozen blocks, once before the first update; it is not in that of the updates."""

    def longer(self, seconds: float, *, cpu: float = 0.0) -> "Stage":
        """Return the same stage with more time, `cpu` of which is processor time for frozen blocks."""
        return replace(self, seconds=self.seconds + seconds, frozen_cpu_seconds=self.frozen_cpu_seconds + cpu)

    def lines(self) -> list[str]:
        """Return a description."""
        shorter = "" if self.num_steps == self.of_steps else f" (the recipe has {self.of_steps:,})"
        audio = self.batch_seconds * self.accumulate * self.devices
        parts = f"{self.devices} x {self.accumulate} x {self.batch_seconds:g} s (devices, accumulated, micro-batch)"
        return [
            f"{self.recipe}: {self.num_steps:,} updates{shorter} of {audio:,.0f} s of audio: {parts}",
            f"  learning rate {self.lr:g}; {self.hours_processed:,.1f} h processed",
            f"  {duration(self.seconds)}, {self.seconds_per_update:.3g} s per update; memory {self.gib:.1f} GiB",
            f"  {self.based_on}",
            f"  {self.command}",
        ]


@dataclass(frozen=True)
class TrainingPlan:
    """A plan that fits into the deadline, the memory and the data."""

    hours: float
    """Recordings, untranscribed ones included."""
    minutes_of_labels: float | None
    device: str
    deadline_hours: float | None
    stages: tuple[Stage, ...]
    disk_gb: dict[str, float]
    """Space by what takes it, in 10^9 bytes."""
    expect: tuple[str, ...]
    """Recorded results of similar runs."""
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Elapsed time of all runs."""
        return sum(stage.seconds for stage in self.stages)

    def __str__(self) -> str:
        """Return the plan as text."""
        limit = "" if self.deadline_hours is None else f" of {duration(3600 * self.deadline_hours)}"
        parts = [line for stage in self.stages for line in stage.lines()]
        parts.append(f"in all: {duration(self.seconds)}{limit}, after `sori prepare`")
        disk = ", ".join(f"{name} {size:,.2f} GB" for name, size in self.disk_gb.items())
        parts.append(f"disk: {disk}, {sum(self.disk_gb.values()):,.2f} GB in all")
        parts.append("recorded results of similar runs:" if self.expect else "no run of this recipe was ever recorded")
        parts += [f"  {line}" for line in self.expect]
        parts += [f"note: {note}" for note in self.notes]
        return "\n".join(parts)


def duration(seconds: float) -> str:
    """Return a time in two units at most: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    for unit, name, size, part in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if seconds >= unit:
            whole, rest = divmod(round(seconds / size), unit // size)
            return f"{whole} {name} {rest} {part}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
