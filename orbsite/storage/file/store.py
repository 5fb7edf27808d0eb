"""The store in a JSON file with a journal: a save costs the same at any size, and a read by the records it returns."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from orbsite.storage.base.query import Query
from orbsite.storage.base.store import Store
from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.file.cache import Replica, load
from orbsite.storage.file.compaction import Compaction, compacted
from orbsite.storage.file.content import Content, TreeCopy
from orbsite.storage.file.document import Document
from orbsite.storage.file.group_commit import GroupCommit, PendingWrite
from orbsite.storage.file.journal import FoldedDocument
from orbsite.storage.file.writer import SMALL, FoldBase, NextJournal, Writer
from orbsite.storage.filesystem.atomic_replace import Checked, Successor, checked, failing_whole, reserved
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.pauses import Pauses
from orbsite.storage.filesystem.stat_signature import seconds_until_sure
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sealing.envelope import Packing

logger = logging.getLogger(__name__)

T = TypeVar("T")

LARGE = 4 << 20
"""The size in bytes above which saves go on while a document is folded."""
_COPIED = 2_000
"""The number of items that are copied in one go."""
_SLOWED = 0.02
"""Seconds that a save takes longer while a fold does not keep pace with the saves."""


class _HalfDone(Exception):
    """A caller's error left a change incomplete."""


class FileStore(Store):
    """Keeps records in the document of their domain, in the guide's layout.

    A process must have only one FileStore for each document.
    """

    name = "file"

    def __init__(
        self,
        domain: Domain,
        document: Document,
        *,
        journal_above: int | None = SMALL,
        concurrent_above: int = LARGE,
    ) -> None:
        """A document of more than `journal_above` bytes has a journal, None for no journal.

        If it is larger than `concurrent_above` bytes, saves go on while the journal is folded.
        """
        super().__init__(domain)
        self._document = document
        self._journal_above = journal_above
        self._concurrent_above = concurrent_above
        self._start()
        _open_stores.add(self)

    def _start(self) -> None:
        """Reset to an empty cache and new locks: for a new store, and in a forked child."""
        self._guard = threading.RLock()
        self._batches = GroupCommit(self._commit)
        self._is_quiet = threading.Event()  # not while a thread saves with the lock, for which others wait
        self._is_quiet.set()
        self._replica: Replica | None = None
        self._is_tidy = False
        self._existed = False
        self._journal_is_suspect = False
        self._fold_failed_at = 0
        self._folding: threading.Thread | None = None

    def fetch(
        self,
        kind: type[R],
        keys: Iterable[Key],
        *,
        user_id: str | None = None,
        findings: list[Finding] | None = None,
    ) -> dict[Key, R]:
        wanted = list(keys)
        with self._guard:
            content = self._kept_up().content
            owned = {} if user_id is None else {"user_id": user_id}
            self._report(content.unreadable(kind, owned, {*wanted}), findings)
            return content.view.fetch(kind, wanted, user_id=user_id)

    def select(self, kind: type[R], query: Query, findings: list[Finding] | None = None) -> list[R]:
        with self._guard:
            content = self._kept_up().content
            if query.after is None:  # unreadable items have no order, so the first page reports all of them
                self._report(content.unreadable(kind, query.where), findings)
            return content.view.select(kind, query)

    def add(self, record: R) -> tuple[R, bool]:
        return self._batches.run(lambda content: content.add(record))

    def put(self, records: Iterable[Record], *, expect: str | None = None, free: bool = False) -> None:
        wanted = list(records)
        self._batches.run(lambda content: content.upsert(wanted, expect, free=free))

    def delete(
        self, kind: type[Record], keys: Iterable[Key], *, user_id: str | None = None, expect: str | None = None
    ) -> int:
        wanted = list(keys)
        return self._batches.run(lambda content: content.delete(kind, wanted, user_id, expect))

    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        return self._batches.run(lambda content: content.delete_where(kind, where))

    def walk(self, kind: type[R], *, page: int = 1000, findings: list[Finding] | None = None) -> Iterator[R]:
        with self._guard:
            content = self._kept_up().content
            self._report(content.unreadable(kind, {}), findings)
            keys = content.view.keys(kind)
        for start in range(0, len(keys), page):
            with self._guard:
                found = self._view().fetch(kind, keys[start : start + page])
            yield from found.values()

    @contextlib.contextmanager
    def at_one_moment(self, *_: Store, user_id: str | None = None) -> Iterator[Sequence[Any]]:
        where = {} if user_id is None else {"user_id": user_id}
        with self._guard:
            content = self._kept_up().content
            invalid = {kind: list(content.unreadable(kind, where)) for kind in self.domain.kinds}
            listed = content.view.listed(user_id, invalid)
        yield [listed]

    def count(self, kind: type[Record], distinct: str | None = None) -> int:
        with self._guard:
            return self._view().count(kind, distinct)

    def size(self) -> int:
        return self._document.size()

    @property
    @override
    def base(self) -> Path:
        return self._document.base

    @property
    def packing(self) -> Packing:
        """How the files are stored."""
        return self._document.packing

    @override
    def journal_size(self) -> int:
        return self._document.journal_size()

    @override
    def refused(self) -> int:
        return self.examine(lambda content: content.refused)

    def snapshot(self) -> bytes | None:
        """Return the document's bytes with all saves from the journal, or None if there is no document yet."""
        with self._guard, self._document.reading() as directory:
            if directory is None:
                return None
            highest = self._document.highest_generation()
            if directory.status_of(self._document.journal) is None:
                data = directory.read(self._document.name)
                if data is not None:
                    return self._document.open(data, highest)
            replica = self._refreshed(directory)
            return None if replica.digest is None else replica.content.encode()

    def replace(self, data: bytes, erasure_filter: Callable[[bytes], bytes] = bytes) -> None:
        """Replace the document by `data`; the old document is kept beside it as `.prev`.

        `erasure_filter` is called under the lock and returns the bytes to write. Raises DocumentCorrupt if they are
        not a document of this domain, and the errors of every save.
        """
        self._rewritten(lambda writer: writer.replace(Content(self.domain, erasure_filter(data))))

    def filter(self, erasure_filter: Callable[[bytes], bytes]) -> None:
        """Write the bytes that `erasure_filter` returns for the document, and remove the earlier state beside it.

        Neither the journal nor `.prev` keeps the old bytes. Nothing is created if there is no document. Raises
        DocumentCorrupt, and the errors of every save.
        """
        if not self._has(self._document.name):
            return
        with self._rewriting() as writer:
            before = writer.content.encode()
            data = erasure_filter(before)
            content = Content(self.domain, data)
            if data != before:
                writer.replace(content)
                writer.forget_previous()
            writer.replace(content)  # writes it once more, so that `.prev` is a good generation again

    def compact(self, write_tombstones: Callable[[Compaction], None]) -> Compaction | None:
        """Compact the document and fold the journal; return None if there is no document.

        `write_tombstones` is called before anything is removed; if it raises, nothing is changed. Raises
        DocumentCorrupt, and the errors of every save.
        """
        if not self._has(self._document.name):
            return None
        with failing_whole(self._document.path), self._document.writing() as directory:
            with self._writer(directory) as writer:
                compaction = compacted(self.domain, writer.content.encode())
                if compaction.dead:
                    write_tombstones(compaction)
                    writer.replace(compaction.content)
            if writer.journal_size:
                self._fold(writer)
            return compaction

    def recast(self, cast: Callable[[bytes], bytes]) -> bool:
        """Replace the document by what `cast` returns for its bytes with all saves; tell whether that differs.

        The journal is folded before, so that `.prev` has everything from before. Raises OrbError if another set of
        records would be read afterwards, DocumentCorrupt, and the errors of every save; nothing is changed then.
        """
        with self._document.reading() as directory:
            if directory is None or directory.status_of(self._document.name) is None:
                return False
        with (
            failing_whole(self._document.path),
            self._document.writing() as directory,
            self._writer(directory) as writer,
        ):
            before = writer.content.encode()
            data = cast(before)
            if data == before:
                return False
            content = Content(self.domain, data)
            self._refuse_other_keys(writer.content, content)
            if writer.journal_size:
                writer.fold(contextlib.nullcontext())
            writer.replace(content)
            return True

    def _refuse_other_keys(self, before: Content, after: Content) -> None:
        for kind in self.domain.kinds:
            if set(before.view.keys(kind)) != set(after.view.keys(kind)) or before.refused != after.refused:
                raise OrbError(
                    f"{self._document.path} was left unchanged: other {kind.plural} would be read from it afterwards. "
                    "Run validate_orb_files, and repair by hand the items that it lists"
                )

    def examine(self, look: Callable[[Content], T]) -> T:
        """Return the result of `look` for the current content, which `look` must not change."""
        with self._guard:
            return look(self._kept_up().content)

    def rewrite(self, change: Callable[[Content], T]) -> T:
        """Apply a change to the content, and write it as a new document, into which the journal is folded."""
        return self._rewritten(lambda writer: change(writer.content))

    def _rewritten(self, change: Callable[[Writer], T]) -> T:
        with self._rewriting() as writer:
            result = change(writer)
            writer.save(None)
            return result

    @contextlib.contextmanager
    def _rewriting(self) -> Iterator[Writer]:
        with (
            failing_whole(self._document.path),
            self._document.writing() as directory,
            self._writer(directory) as writer,
        ):
            yield writer

    def fold(self) -> bool:
        """Write the saves of the journal into the document and remove the journal; tell whether there was a journal."""
        return self._fold_where(lambda _: True)

    def close(self) -> None:
        """Release the memory; a journal larger than a sixteenth of the document is folded first."""
        folding, replica = self._folding, self._replica
        if folding is not None:
            folding.join()
        elif replica is not None and replica.journal is not None and replica.size > self._concurrent_above:
            self.fold_concurrently(lambda writer: writer.is_due(closing=True))
        with self._guard:
            replica, self._replica, self._existed = self._replica, None, False
        if replica is not None and replica.journal is not None:
            self._fold_where(lambda writer: writer.is_due(closing=True))
            with self._guard:
                self._replica, self._existed = None, False

    def _has(self, name: str) -> bool:
        with self._document.reading() as directory:
            return directory is not None and directory.status_of(name) is not None

    def _report(self, items: Iterable[Unreadable], findings: list[Finding] | None) -> None:
        with Unread(findings) as unread:
            for item in items:
                unread.add(item)

    def _view(self) -> MemoryStore:
        """Return the current records; the caller must hold the guard while it reads them."""
        return self._kept_up().content.view

    def _kept_up(self) -> Replica:
        with self._document.reading() as directory:
            return self._refreshed(directory)

    def _refreshed(self, directory: Directory | None, *, locked: bool = False) -> Replica:
        before, self._replica = self._replica, None  # after any error, everything is read again
        if before is None or directory is None or not before.keeps_up(directory):
            before = load(self.domain, self._document, directory, before, locked=locked)
        if before.digest is None and self._existed:
            raise self._document.gone()
        self._replica, self._existed = before, before.digest is not None
        return before

    def _commit(self, jobs: Sequence[PendingWrite[Any]], acknowledge: Callable[[], None]) -> None:
        with failing_whole(self._document.path), self._document.writing(make=not self._existed) as directory:
            self._is_quiet.clear()
            try:
                writer = self._saved(jobs, directory)
            finally:
                self._is_quiet.set()
            acknowledge()
            is_due = writer.is_due() and writer.journal_size > self._fold_failed_at
            if is_due and not self._folds_concurrently(writer):
                self._fold_after_save(writer)
            elif is_due:
                self._start_folding(directory, writer.journal_size)
        if is_due and writer.is_overdue():
            time.sleep(_SLOWED)

    def _saved(self, jobs: Sequence[PendingWrite[Any]], directory: Directory) -> Writer:
        """Run jobs and save their changes; if a job fails with a partial change, all other jobs are run again."""
        while True:
            with contextlib.suppress(_HalfDone), self._writer(directory) as writer:
                running = [job for job in jobs if not job.has_failed]
                clean = [job.run(writer.content) for job in running]
                if not all(clean):
                    raise _HalfDone
                writer.save(self._journal_above)
                return writer

    @contextlib.contextmanager
    def _writer(self, directory: Directory) -> Iterator[Writer]:
        """Yield a writer for the document; the guard is held, so that other threads read only after it is done."""
        with self._guard:
            before, replica = self._replica, self._refreshed(directory, locked=True)
            writer = Writer(self._document, directory, replica, is_suspect=self._journal_is_suspect)
            self._replica = None
            try:
                if replica is not before or replica.rest or not self._is_tidy:
                    self._is_tidy = False
                    writer.tidy()
                    self._is_tidy = True
                yield writer
            except BaseException:
                self._is_tidy = False
                raise
            finally:
                self._journal_is_suspect = writer.is_suspect
            self._replica, self._existed = replica, replica.digest is not None

    def _folds_concurrently(self, writer: Writer) -> bool:
        return writer.size > self._concurrent_above

    def _start_folding(self, directory: Directory, size: int) -> None:
        """Fold a journal of a size in a thread of its own, unless one or another process does."""
        if self._folding is None and not self._document.is_being_folded(directory):
            thread = threading.Thread(target=self._fold_in_thread, args=[size], daemon=True)
            self._folding = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads can be started; the saves have succeeded
                self._folding = None

    def _fold_in_thread(self, size: int) -> None:
        try:
            self.fold_concurrently()
        except Exception as problem:  # noqa: BLE001 -- the saves have succeeded, whatever the error is
            self._failed_to_fold(size, problem)
        finally:
            self._folding = None

    def fold_concurrently(self, wanted: Callable[[Writer], bool] = lambda _: True) -> bool:
        """Fold the journal while saves go on; return False if that is not possible now, and nothing was changed."""
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(self._document.reading())
            if directory is None:
                return False
            with failing_whole(self._document.path), self._document.writing(make=False) as locked:
                if not locked.is_same(directory) or self._document.is_being_folded(locked):
                    return False
                with self._writer(locked) as writer:
                    base = writer.begin_fold() if wanted(writer) else None
                if base is None:
                    return False
                names = (self._document.name, self._document.journal)
                document, journal = [stack.enter_context(reserved(directory, name, is_held=True)) for name in names]
            self._finish_copy(base.copy)
            encoded = writer.content.encode_copy(base.copy, Pauses(self._is_quiet).pause)
            data, generation = self._document.close(encoded, base.generation)
            document.fill(data)
            previous = checked(directory, names[0])
            time.sleep(seconds_until_sure(document.status().st_mtime_ns, directory.fs.nanoseconds()))
            following = NextJournal(directory, names[1], self._document.envelope, base.journal, journal)
            following.begin(document.digest, FoldedDocument.of(document.status(), generation))
            for replaced in (f"{names[0]}.prev", names[1]):  # held open, so that the disk frees them after the lock
                with contextlib.suppress(DocumentRefused):
                    stack.enter_context(directory.opened(replaced))
            with failing_whole(self._document.path), self._document.writing(make=False) as locked:
                return locked.is_same(directory) and self._finish_fold(locked, base, document, following, previous)

    def _finish_copy(self, copy: TreeCopy) -> None:
        """Copy what is left of a content, with pauses in which others read and save."""
        pauses = Pauses(self._is_quiet)
        while True:
            with self._guard:
                if copy.go_on(_COPIED):
                    return
            pauses.make()

    def _finish_fold(
        self, directory: Directory, base: FoldBase, document: Successor, journal: NextJournal, previous: Checked
    ) -> bool:
        with self._guard, self._writer(directory) as writer:
            is_folded = writer.finish_fold(base, document, journal, previous)
        if is_folded:
            self._document.wrote(journal.document.generation)
            self._fold_failed_at = 0
        return is_folded

    def _failed_to_fold(self, size: int, problem: Exception) -> None:
        self._fold_failed_at = 2 * size
        logger.warning("%s was not folded, and will be folded later: %s", self._document.journal, problem)

    def _fold_after_save(self, writer: Writer) -> None:
        """Fold the journal after acknowledged saves; an error is logged and the fold is tried again later."""
        try:
            self._fold(writer)
        except Exception as problem:  # noqa: BLE001 -- the saves have succeeded, whatever the error is
            with contextlib.suppress(OrbError, OSError):
                writer.clear_orphans()
            self._failed_to_fold(writer.journal_size, problem)

    def _fold_where(self, wanted: Callable[[Writer], bool]) -> bool:
        if not self._has(self._document.journal):
            return False
        with failing_whole(self._document.path), self._document.writing() as directory:
            with self._writer(directory) as writer:
                pass
            if not writer.journal_size or not wanted(writer):
                return False
            self._fold(writer)
            return True

    def _fold(self, writer: Writer) -> None:
        try:
            writer.fold(self._guard)
        except BaseException:
            self._replica, self._is_tidy = None, False
            raise
        finally:
            self._journal_is_suspect = writer.is_suspect
        self._fold_failed_at = 0


def _reset_in_child() -> None:
    for store in _open_stores:
        store._start()


_open_stores: weakref.WeakSet[FileStore] = weakref.WeakSet()
os.register_at_fork(after_in_child=_reset_in_child)
