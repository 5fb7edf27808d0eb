"""The position of the server's database that a client has to see: all that it has saved, and what it has read."""

from __future__ import annotations

from threading import Lock

HEADER = "Orb-Position"


class Position:
    """The greatest position that responses have told, shared by threads; none where a save may have taken place unseen.

    Requests with a position may be answered by a replica of the database that has reached it, requests without one
    are answered by the primary, whose response has a new position.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._epoch = 0
        self._reached: tuple[int, int] | None = None

    def current(self) -> tuple[int, str | None]:
        """Return a mark for `learn`, and the position for the header of a request, or None."""
        with self._lock:
            return self._epoch, None if self._reached is None else "{:X}/{:X}".format(*self._reached)

    def learn(self, mark: int, text: str) -> None:
        """Note the position of a response; it says nothing of a save that was lost after the request began."""
        high, _, low = text.partition("/")
        told = int(high, 16), int(low, 16)
        with self._lock:
            if mark == self._epoch:
                self._reached = max(told, self._reached or told)

    def forget(self) -> None:
        """Note that a save has failed, or that its position is not known."""
        with self._lock:
            self._epoch, self._reached = self._epoch + 1, None
