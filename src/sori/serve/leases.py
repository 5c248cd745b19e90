"""Which window works on which utterance, so that two people do not transcribe the same one."""

import threading
import time
from typing import final

LEASE_SECONDS = 90.0
"""A window that does not renew its lease for so long, because it was closed, loses it."""


@final
class Leases:
    """Leases of utterances; can be used from several threads."""

    def __init__(self, *, seconds: float = LEASE_SECONDS) -> None:
        self._seconds = seconds
        self._held: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, client: str) -> bool:
        """Give an utterance to a window, which gives back its other one; return whether no other window has it."""
        with self._lock:
            holder, until = self._held.get(name, (client, 0.0))
            if holder != client and until > time.monotonic():
                return False
            for other in [one for one, (holder, _) in self._held.items() if holder == client]:
                del self._held[other]
            self._held[name] = (client, time.monotonic() + self._seconds)
            return True

    def is_free(self, name: str, client: str) -> bool:
        """Return whether a window may have an utterance."""
        holder, until = self._held.get(name, (client, 0.0))
        return holder == client or until <= time.monotonic()
