"""A document and its journal in memory, as this process last saw them, and how it keeps up with others."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from orbsite.storage import journal as journals
from orbsite.storage.content import Content
from orbsite.storage.directory import Directory, Found
from orbsite.storage.document import Document
from orbsite.storage.domain import Domain
from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.journal import Journal, Line, Scan
from orbsite.storage.sight import Sight
from orbsite.storage.steps import StepReader

logger = logging.getLogger(__name__)

_PAUSES = (0.02, 0.03, 0.05)
"""Seconds to wait before reading again what somebody may be writing just now."""
_FOLDS = 20
"""How often to look again where others fold faster than this can read."""
_FRESH = 2_000_000_000
_LARGE = 1 << 20


class Replica:
    """What the document holds, and what it looked like when it was read."""

    def __init__(self, domain: Domain, document: Document, found: Found | None, taken: int, scan: Scan | None) -> None:
        self.content = Content(domain, None)
        self.digest: str | None = None
        """Of the document's bytes on the disk."""
        self.size = 0
        self.sight: Sight | None = None
        self.stamped = False
        self.journal: Journal | None = scan.journal if scan else None
        self.rest = scan.rest if scan else b""
        """What follows the last good line of the journal."""
        self.has_journal = scan is not None
        """Whether there is a file for the journal, be it good or not."""
        self.is_foreign = False
        """Whether the document is not the one that the journal stands on."""
        self._document = document
        self._steps = StepReader(domain)
        if found is not None:
            self._take(domain, found, taken)
            self._catch_up(scan)

    @property
    def journal_size(self) -> int | None:
        """The bytes of the journal as far as it was read, or None where there is none."""
        return len(self.rest) + (self.journal.end if self.journal else 0) if self.has_journal else None

    def saw(self, status_of_document: Sight, digest: str, size: int) -> None:
        """Note what the document looks like now."""
        self.sight, self.digest, self.size = status_of_document, digest, size

    def keeps_up(self, directory: Directory) -> bool:
        """Take in what others saved; False where that takes reading everything again."""
        journal = directory.status_of(self._document.journal)  # before the document, for a fold replaces that first
        status = directory.status_of(self._document.name)
        if self.sight is None or status is None or not self.sight.is_of(status):
            return False
        if not self.sight.is_sure and not self._is_same(directory):
            return False
        size = None if journal is None else journal.st_size
        return (size == self.journal_size and not self.rest) or self._follow(directory)

    def _is_same(self, directory: Directory) -> bool:
        taken = directory.fs.nanoseconds()
        found = directory.look(self._document.name)
        if found is None or hashlib.sha256(found.data).hexdigest() != self.digest:
            return False
        self.sight = Sight.of(found.status, taken)
        return True

    def _follow(self, directory: Directory) -> bool:
        known = self.journal
        found = directory.look(self._document.journal, known.end if known else 0)
        if found is None or (known and found.status.st_size < known.end):
            return False
        envelope = self._document.envelope
        scan = journals.follow(known, found.data, envelope) if known else journals.scan(found.data, envelope)
        if scan.damage or scan.journal is None or not (known or scan.journal.base == self.digest):
            return False
        self.journal, self.rest, self.has_journal = scan.journal, scan.rest, True
        self._replay(scan.lines)
        return True

    def _take(self, domain: Domain, found: Found, taken: int) -> None:
        with_digest = _Digest(found.data)
        try:
            self.content = Content(domain, self._document.envelope.open(found.data))
        except DocumentCorrupt as problem:
            raise DocumentCorrupt(
                f"{self._document.path} cannot be read, and was left as it is: {problem}; "
                "run validate_orb_files, then mend it or put a backup in its place"
            ) from problem
        finally:
            digest = with_digest.wait()
        self.saw(Sight.of(found.status, taken), digest, len(found.data))
        self.stamped = found.stamp is not None

    def _catch_up(self, scan: Scan | None) -> None:
        if scan is None or self.digest is None:
            return
        lines = scan.since(self.digest)
        self.is_foreign = lines is None
        self._replay(scan.lines if lines is None else lines)

    def _replay(self, lines: Iterable[Line]) -> None:
        try:
            for line in lines:
                self.content.replay(self._steps.read(line.steps))
        except OrbError as problem:
            raise DocumentCorrupt(
                f"{self._beside(self._document.journal)} cannot be put into the document beside it: {problem}; "
                "both were left as they are; run check_orb_files"
            ) from problem

    def _beside(self, name: str) -> Path:
        return self._document.path.with_name(name)


def load(
    domain: Domain, document: Document, directory: Directory | None, before: Replica | None = None, *, locked: bool
) -> Replica:
    """Read a document and its journal; what somebody is writing just now is read again. Raises DocumentError.

    `before` is what was known of them; `locked` says that nobody of us is writing.
    """
    if directory is None:
        return Replica(domain, document, None, 0, None)
    for pause in (*_PAUSES, None):
        scan, found, taken = _look(document, directory)
        try:
            replica = Replica(domain, document, found, taken, scan)
        except DocumentCorrupt:
            if pause is None or found is None or abs(taken - found.status.st_mtime_ns) > _FRESH:
                raise
        else:
            if pause is None or locked or not replica.is_foreign:
                break
        time.sleep(pause)
    _report(document, replica, found, before)
    return replica


def _look(document: Document, directory: Directory) -> tuple[Scan | None, Found | None, int]:
    """Return journal and document, and when that was; looks again where one of us has folded in between."""
    for _ in range(_FOLDS):
        before = directory.status_of(document.journal)
        scan = read_journal(document, directory)  # before the document, for a fold replaces that first
        taken = directory.fs.nanoseconds()
        found = directory.look(document.name)
        if found is None:
            document.refuse_to_start_over(directory)
        after = directory.status_of(document.journal)
        if (before and before.st_ino) == (after and after.st_ino):
            break
    return scan, found, taken


def read_journal(document: Document, directory: Directory) -> Scan | None:
    """Return what the journal holds, None where there is none. Raises DocumentCorrupt where it is damaged."""
    found = directory.look(document.journal)
    if found is None:
        return None
    scan = journals.scan(found.data, document.envelope)
    if scan.damage:
        raise DocumentCorrupt(
            f"{document.path.with_name(document.journal)}: {scan.damage}; nothing was read or changed. "
            "Run check_orb_files to see what is there, and repair_orb_files --apply to go on with the good lines"
        )
    return scan


def _report(document: Document, replica: Replica, found: Found | None, before: Replica | None) -> None:
    """Say so where another program has changed the document."""
    changed = found is not None and found.stamp is not None and found.stamp != replica.digest
    if before is not None and before.stamped and found is not None and found.stamp != replica.digest:
        changed = True
    if changed or replica.is_foreign:
        logger.warning("outside_edit: another program has changed %s; its content was taken over", document.path)


class _Digest:
    """The SHA-256 of bytes; of many, a second thread finds it out meanwhile."""

    def __init__(self, data: bytes) -> None:
        self._data, self._digest = data, ""
        self._thread = threading.Thread(target=self._run) if len(data) > _LARGE else None
        if self._thread:
            self._thread.start()
        else:
            self._run()

    def wait(self) -> str:
        if self._thread:
            self._thread.join()
        return self._digest

    def _run(self) -> None:
        self._digest = hashlib.sha256(self._data).hexdigest()
