"""The in-memory copy of a document and its journal, and how a process refreshes it when others have written."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable

import msgspec

from orbsite.storage.errors import DocumentCorrupt, NewerVersion, OrbError
from orbsite.storage.file import journal as journals
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.journal import FoldedDocument, Journal, JournalEntry, Scan
from orbsite.storage.filesystem.directory import Directory, ReadFile
from orbsite.storage.filesystem.stat_signature import StatSignature
from orbsite.storage.records.changes import StepReader
from orbsite.storage.records.domain import Domain
from orbsite.storage.sealing.envelope import generation_of

logger = logging.getLogger(__name__)

_PAUSES = (0.02, 0.03, 0.05)
"""Seconds to wait before reading a file again that another process may be writing."""
_MAX_READS = 50
"""How often to read again if other processes fold faster than this process can read."""
_FRESH = 2_000_000_000
"""Nanoseconds since a document's last change during which another process may still be writing it."""


class Replica:
    """The content of a document, and the state of its files when it was read."""

    def __init__(
        self,
        domain: Domain,
        document: Document,
        found: ReadFile | None,
        taken: int,
        scan: Scan | None,
        *,
        highest: int = 0,
    ) -> None:
        """`highest` is the highest generation of the document, read before the document was."""
        self.content = Content(domain, None)
        self.digest: str | None = None
        """The SHA-256 of the document's bytes on the disk, None if there is no document."""
        self.generation = 0
        """The generation of a sealed document, 0 for other ones."""
        self.size = 0
        self.signature: StatSignature | None = None
        self.stamped = False
        self.journal: Journal | None = scan.journal if scan else None
        self.journal_signature: StatSignature | None = None
        self.rest = scan.rest if scan else b""
        """The bytes after the last good line of the journal."""
        self.has_journal = scan is not None
        """Whether the journal file exists, intact or not."""
        self.is_confirmed = False
        """Whether the part of the journal that was read is known to be synced."""
        self.is_foreign = False
        """Whether the document is not the one that the journal is based on."""
        self.is_folded = False
        """Whether the journal was folded into the document, and its file still exists."""
        self.adrift: list[msgspec.Raw] = []
        """Steps of the journal that have no place in a document that another program changed."""
        self._folds: list[tuple[str, FoldedDocument]] = []
        """The digests and documents of the folds that the journal's lines announce, which may yet take place."""
        self._document = document
        self._steps = StepReader(domain)
        if found is not None:
            self._take(domain, found, taken, highest)
            self._catch_up(scan)

    def saw(self, status_of_document: StatSignature, digest: str, size: int) -> None:
        """Record the signature, digest and size that the document has now."""
        self.signature, self.digest, self.size = status_of_document, digest, size

    def keeps_up(self, directory: Directory) -> bool:
        """Read what other processes have saved; return False if everything has to be read again."""
        journal = directory.status_of(self._document.journal)  # first, because a fold replaces the document first
        status = directory.status_of(self._document.name)
        if self.signature is None or status is None:
            return False
        if not self.signature.is_of(status):
            return self._adopt(directory)
        if not self.signature.is_sure and not self._is_same(directory):
            return False
        if journal is None:
            return not self.has_journal or self._lost_its_journal()
        seen = self.journal_signature
        return (seen is not None and seen.is_sure and seen.is_of(journal)) or self._follow(directory)

    def _is_same(self, directory: Directory) -> bool:
        taken = directory.fs.nanoseconds()
        found = directory.look(self._document.name)
        if found is None or found.digest != self.digest:
            return False
        self.signature = StatSignature.of(found.status, taken)
        return True

    def _lost_its_journal(self) -> bool:
        """Mark the content to be saved again, because the journal was removed without a fold."""
        if self.journal is not None and self.journal.seq and not self.is_folded:
            self.is_foreign = True
            logger.error("%s was removed; the next save writes its saves again", self._document.journal)
        self.journal, self.has_journal, self.rest, self.journal_signature = None, False, b"", None
        return True

    def _follow(self, directory: Directory) -> bool:
        """Read the new lines of the journal; return False if it is not the journal that was read before."""
        known = self.journal
        start = known.end - len(known.last) if known else 0
        taken = directory.fs.nanoseconds()
        found = directory.look(self._document.journal, start)
        if found is None:
            return False
        envelope = self._document.envelope
        if known is None:
            scan = journals.scan(found.data, envelope)
        elif found.data.startswith(known.last):
            scan = journals.follow(known, found.data[len(known.last) :], envelope)
        else:
            return self._adopt(directory)
        if scan.damage or scan.journal is None or not (known or scan.journal.base == self.digest):
            return False
        self.journal, self.rest, self.has_journal = scan.journal, scan.rest, True
        self.journal_signature = None if scan.rest else StatSignature.of(found.status, taken)
        if scan.lines:
            self.is_confirmed = False
            self._replay(scan.lines)
        return True

    def _adopt(self, directory: Directory) -> bool:
        """Take over a fold that was made while saves went on, without reading the document.

        Its content is known, if the saves in it are. Return False if everything has to be read again.
        """
        known, envelope = self.journal, self._document.envelope
        if known is None or self.is_foreign or self.is_folded:
            return False
        taken = directory.fs.nanoseconds()
        with directory.opened(self._document.journal) as file:
            found = None if file is None else file.look(known.end - len(known.last))
            if file is None or found is None:
                return False
            if found.data.startswith(known.last):
                scan = journals.follow(known, found.data[len(known.last) :], envelope)
            else:
                scan = journals.scan_after(file.look().data, functools.partial(self._known_lines, known), envelope)
        if scan.damage or scan.journal is None:
            return False
        self.journal, self.rest, self.has_journal, self.is_confirmed = scan.journal, scan.rest, True, False
        self.journal_signature = None if scan.rest else StatSignature.of(found.status, taken)
        self._replay(scan.lines)
        status = directory.status_of(self._document.name)
        for digest, document in reversed(self._folds):
            if status is not None and document.is_of(status):
                self.took_fold(StatSignature.of_renamed(status, taken), digest, document)
                return True
        return False

    def _known_lines(self, known: Journal, head: JournalEntry) -> int | None:
        """Return how many lines are known of a journal that goes on with the known one, None if it is another one."""
        if head.follows is None or head.document is None or head.base is None or head.follows.journal != known.name:
            return None
        self._folds = [(head.base, head.document)]
        return known.seq - head.follows.until

    def took_fold(self, signature: StatSignature, digest: str, document: FoldedDocument) -> None:
        """Record that the document was replaced by a fold."""
        self.saw(signature, digest, document.size)
        self.stamped, self.generation = True, document.generation

    def _take(self, domain: Domain, found: ReadFile, taken: int, highest: int) -> None:
        hashing = found.hashing  # runs while the content is decoded
        try:
            self.content = Content(domain, self._document.open(found.data, highest))
        except NewerVersion as problem:
            raise problem.of(str(self._document.path)) from problem
        except DocumentCorrupt as problem:
            raise DocumentCorrupt(
                f"{self._document.path} cannot be read, and was left unchanged: {problem}; "
                "run validate_orb_files, then repair it or put a backup in its place"
            ) from problem
        self.saw(StatSignature.of(found.status, taken), hashing.hexdigest(), len(found.data))
        self.stamped, self.generation = found.stamp is not None, generation_of(found.data)

    def _catch_up(self, scan: Scan | None) -> None:
        if scan is None or self.digest is None:
            return
        folded = scan.folded_into(self.digest)
        is_complete = not scan.is_partly_folded_into(self.digest)
        self.is_foreign, self.is_folded = folded is None, bool(folded) and is_complete
        self._replay(scan.lines[folded or 0 :])
        if self.is_folded and len(scan.lines) > (folded or 0):
            self.is_foreign = True  # another writer appended to a folded journal, so the next save needs a new one

    def _replay(self, lines: Iterable[JournalEntry]) -> None:
        for line in lines:
            if line.fold is not None and line.document is not None:
                self._folds.append((line.fold, line.document))
            for raw in line.steps:
                try:
                    self.content.replay(self._steps.read([raw]))
                except OrbError:
                    self.adrift.append(raw)
                    self.is_foreign = True


def load(
    domain: Domain, document: Document, directory: Directory | None, before: Replica | None = None, *, locked: bool
) -> Replica:
    """Read a document and its journal, again if another process may be writing them. Raises DocumentError.

    `before` is the previous replica; `locked` says that the caller holds the lock, so that no store is writing.
    """
    if directory is None:
        return Replica(domain, document, None, 0, None)
    for pause in (*_PAUSES, None):
        highest = document.highest_generation()
        taken = directory.fs.nanoseconds()
        scan, found = look(document, directory)
        try:
            if found is None:
                document.refuse_to_start_over(directory)
            _refuse_damage(document, scan)
            replica = Replica(domain, document, found, taken, scan, highest=highest)
        except DocumentCorrupt:
            if pause is None or (found is not None and abs(taken - found.status.st_mtime_ns) > _FRESH):
                raise
        else:
            if pause is None or locked or not replica.is_foreign:
                break
        time.sleep(pause)
    _report(document, replica, found, before)
    return replica


def look(document: Document, directory: Directory) -> tuple[Scan | None, ReadFile | None]:
    """Return journal and document as of one moment, even if another process folds the journal in between.

    The journal is read before the document and once more after it: a fold in between has added a line to the journal.
    """
    for _ in range(_MAX_READS):
        with directory.opened(document.journal) as journal:
            first = None if journal is None else journal.look()
            found = directory.look(document.name)
            if journal is None or first is None:
                return None, found
            scan = journals.scan(first.data, document.envelope)
            if found is None or scan.folded_into(found.digest) is not None:
                return scan, found
            scan = journals.scan(journal.look().data, document.envelope)
            now = directory.status_of(document.journal)
            is_same_file = now is not None and now.st_ino == first.status.st_ino
            if is_same_file or scan.folded_into(found.digest) is not None:
                return scan, found
    return scan, found


def _refuse_damage(document: Document, scan: Scan | None) -> None:
    if scan is not None and scan.damage:
        raise DocumentCorrupt(
            f"{document.path.with_name(document.journal)}: {scan.damage}; nothing was read or changed. "
            "Run check_orb_files to see the damage, and repair_orb_files --apply to continue with the good lines"
        )


def _report(document: Document, replica: Replica, found: ReadFile | None, before: Replica | None) -> None:
    """Log a warning if another program has changed the document."""
    has_stamp = replica.stamped or (before is not None and before.stamped)
    changed = found is not None and has_stamp and found.stamp != replica.digest
    if changed or (replica.is_foreign and not replica.is_folded):
        logger.warning("outside_edit: another program has changed %s; its content was taken over", document.path)
    if replica.adrift:
        logger.error(
            "outside_edit: %d steps of %s have no place in it any more; the next save moves them to a set-aside copy",
            len(replica.adrift),
            document.journal,
        )
