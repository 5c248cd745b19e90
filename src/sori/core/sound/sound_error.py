"""The error of the reader, and the bounds of what it accepts."""

RATES = (1_000, 768_000)
MOST_CHANNELS = 64


class SoundError(ValueError):
    """A sound file cannot be used, for a reason that has a short name.

    Args:
        reason: one of missing, empty, wrongly named, unreadable, truncated, damaged, absurd header.
        detail: what was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def require_plausible(rate: int, channels: int) -> None:
    """Refuse sampling rates and numbers of channels of which a small file could become gigabytes.

    Raises:
        SoundError: the rate or the number of channels is out of bounds.
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise SoundError("absurd header", f"a sampling rate of {rate} Hz; expected {RATES[0]} to {RATES[1]} Hz")
    if not 1 <= channels <= MOST_CHANNELS:
        raise SoundError("absurd header", f"{channels} channels; expected 1 to {MOST_CHANNELS}")
