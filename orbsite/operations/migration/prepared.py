"""Prepares the batches of a source ahead of their use: in a process beside the one that writes them, or in a thread.

Preparing takes about as long as writing, and Python runs one thread at a time. So a large source that can be read again
is prepared by a forked process, which hands over rows as they are inserted or compared. Its parent reads the source
again only for batches with a record that it has to look at by itself. From the first batch on of which there is more to
be said than rows can tell, such as findings, a thread of the parent prepares the rest.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, TypeAlias

from orbsite.operations.migration.batches import SIZE, Absent, Batch, batch_of, parts_of
from orbsite.operations.prefetch import Ahead
from orbsite.storage.base.store import LedgerStore, RecordBatch
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.domain import Entry, Span, flattened
from orbsite.storage.records.record import Record

logger = logging.getLogger(__name__)

LARGE = 8 << 20
"""The size in bytes from which a source is worth a process."""
_THREADS = Path("/proc/self/task")
_WITHOUT_REFERENCES = 2
"""The version of the format of `marshal` that does not look for repeated objects."""
_END, _REST = b"end", b"rest"
"""The last message: all has been sent, or the parent is to prepare the rest."""

Source: TypeAlias = Iterable[Entry | Span]
_Group: TypeAlias = tuple[int, int, Any, Any, dict[str, tuple[int, int]]]
"""The index of a kind, the number of its records, their rows or None, their column values, and their checksums."""


class SharedFlag:
    """A flag that is the same in a process and in those that it forks."""

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)

    def set(self) -> None:
        """Set the flag for good."""
        self._byte[0] = 1

    @property
    def is_set(self) -> bool:
        """Whether any of the processes has set it."""
        return bool(self._byte[0])


@contextlib.contextmanager
def prepared(
    source: Source,
    target: LedgerStore,
    *,
    part: int = SIZE,
    done: int = 0,
    run: Callable[[], int | None] = lambda: None,
    size: int = 0,
    again: Callable[[], Source] | None = None,
) -> Iterator[Iterator[Batch]]:
    """Yield the batches of a source of about `size` bytes, as `parts_of` returns them.

    `again` returns the same source once more. Without it, the batches are prepared in a thread.
    """
    batches, kinds = parts_of(source, target, size=part, done=done, run=run), target.domain.kinds
    messages: Iterator[bytes] | None = None
    with contextlib.ExitStack() as stack:
        if again is not None and size >= LARGE and target.has_plain_rows and _may_fork():
            with contextlib.suppress(OSError):  # the system has no room for another process
                messages = stack.enter_context(_forked(partial(_messages, batches, kinds)))
        if again is None or messages is None:
            yield stack.enter_context(Ahead(batches))
        else:
            reader = _Reader(again, target, part, done, run)
            yield _received(messages, reader, kinds, lambda rest: stack.enter_context(Ahead(rest)))


class _Reader:
    """Reads a source again from any batch on, best in their order."""

    def __init__(
        self,
        again: Callable[[], Source],
        target: LedgerStore,
        part: int,
        done: int,
        run: Callable[[], int | None],
    ) -> None:
        self._again, self._target, self._part, self._done, self._run = again, target, part, done, run
        self._entries: Iterator[Entry] = iter(())
        self._at = sys.maxsize

    def batch(self, start: int, size: int) -> Batch:
        """Return the batch of `size` entries from the entry with the number `start` on."""
        if start < self._at:
            self._entries, self._at = flattened(self._again()), 0
        entries = list(islice(self._entries, start - self._at, start - self._at + size))
        self._at = start + size
        return batch_of(entries, self._target, self._run())

    def rest(self, start: int) -> Iterator[Batch]:
        """Yield all batches from an entry on."""
        done = max(0, self._done - start)
        return parts_of(_after(self._again(), start), self._target, size=self._part, done=done, run=self._run)


def _after(source: Source, number: int) -> Source:
    """Leave out the first entries of a source; what remains of a span stays one."""
    for part in source:
        size = len(part.records) if isinstance(part, Span) else 1
        if number >= size:
            number -= size
        else:
            yield part.split(number)[1] if isinstance(part, Span) and number else part
            number = 0


def _received(
    messages: Iterator[bytes],
    reader: _Reader,
    kinds: Sequence[type[Record]],
    ahead: Callable[[Iterator[Batch]], Iterator[Batch]],
) -> Iterator[Batch]:
    """Yield the batches of messages. If they end before the source does, the rest is prepared here, `ahead`."""
    start = 0
    for message in messages:
        if message == _END:
            return
        if message == _REST:
            break
        batch = _unpacked(message, partial(reader.batch, start), kinds)
        start += batch.size
        yield batch
    yield from ahead(reader.rest(start))


def _messages(batches: Iterable[Batch], kinds: Sequence[type[Record]]) -> Iterator[bytes]:
    for batch in batches:
        if batch.open or batch.rest or batch.findings:
            yield _REST
            return
        groups = [_packed(one, kinds) for one, _ in batch.batches]
        yield marshal.dumps((batch.size, batch.is_done, batch.items, groups), _WITHOUT_REFERENCES)
    yield _END


def _packed(batch: RecordBatch, kinds: Sequence[type[Record]]) -> _Group:
    number, rows = len(batch.records), batch.rows
    sums = Sums() if rows is None else batch.sums(range(number))
    return kinds.index(batch.kind), number, rows, batch.cells if rows is None else (), sums.of_users


def _unpacked(message: bytes, read: Callable[[int], Batch], kinds: Sequence[type[Record]]) -> Batch:
    size, is_done, items, groups = marshal.loads(message)  # noqa: S302 -- of our own fork
    batch = Batch(size, is_done=is_done, items=items, whole=partial(read, size))
    for kind, number, rows, cells, of_users in groups:
        records = RecordBatch(Columns(kinds[kind], ()), (), cells, rows, _sums=Sums(of_users))
        batch.batches.append((records, Absent(number)))
    return batch


def _may_fork() -> bool:
    """Tell whether a fork is safe, because there is no other thread that may hold a lock, and of use."""
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return False
    return len(list(_THREADS.iterdir())) == 1


@contextlib.contextmanager
def _forked(make: Callable[[], Iterator[bytes]]) -> Iterator[Iterator[bytes]]:
    """Yield messages that a forked process makes. They end early if it fails; it ends with the block."""
    reading, writing = Pipe(duplex=False)
    with reading:
        with writing:
            pid = os.fork()
            if not pid:
                reading.close()  # otherwise it would wait for ever if its parent were killed
                _serve(make, writing)
        try:
            yield _read(reading)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _serve(make: Callable[[], Iterator[bytes]], writing: Connection) -> None:
    """Send all messages, and end this process without any clean-up, which is its parent's."""
    with contextlib.suppress(BaseException):  # its parent does what is missing, and meets the same problem
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for message in make():
            writing.send_bytes(message)
    os._exit(0)


def _read(reading: Connection) -> Iterator[bytes]:
    with contextlib.suppress(EOFError, OSError):  # it ends between two messages, or in the middle of one
        while True:
            yield reading.recv_bytes()
    logger.warning("The process that prepared the records ended early. They are prepared here from now on.")
