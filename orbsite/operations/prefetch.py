"""Produces items in a thread, ahead of their use."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_DEPTH = 2
_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the items, with the error that ended them, if any."""

    problem: BaseException | None = None


_turns_lock = threading.Lock()
_turns = [0]
_usual_turn = sys.getswitchinterval()
_SHORT_TURN = 0.0005


def _take_short_turns(more: int) -> None:
    """Shorten the switch interval of Python's threads while items are produced ahead.

    A database call releases Python's global lock and then waits for it, 5 ms by default, which is longer than most
    calls take.
    """
    with _turns_lock:
        _turns[0] += more
        sys.setswitchinterval(_SHORT_TURN if _turns[0] else _usual_turn)


@dataclass(slots=True)
class Ahead(Generic[T]):
    """Yields items in their order. A thread produces them a few items ahead; its errors are raised here.

    Use it as a context manager: the thread ends with the block.
    """

    items: Iterable[T]
    _made: queue.Queue[T | _End] = field(default_factory=lambda: queue.Queue(_DEPTH))
    _is_closed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Iterator[T]:
        _take_short_turns(1)
        self._thread = threading.Thread(target=self._make, name="orb-ahead", daemon=True)
        self._thread.start()
        return self._taken()

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()
        _take_short_turns(-1)

    def _taken(self) -> Iterator[T]:
        while not isinstance(item := self._made.get(), _End):
            yield item
        if item.problem is not None:
            raise item.problem

    def _make(self) -> None:
        end = _End()
        try:
            for item in self.items:
                self._put(item)
                if self._is_closed.is_set():
                    break
        except BaseException as problem:  # noqa: BLE001 -- raised again in the thread that uses the items
            end = _End(problem)
        self._put(end)

    def _put(self, item: T | _End) -> None:
        while not self._is_closed.is_set():
            try:
                self._made.put(item, timeout=_SECONDS)
            except queue.Full:
                continue
            return
