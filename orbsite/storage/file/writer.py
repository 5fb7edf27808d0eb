"""How what was saved reaches the disk: as a line of the journal, or as a new document with everything in it."""

from __future__ import annotations

import contextlib
import logging
from contextlib import AbstractContextManager

from orbsite.storage.errors import OrbError, SaveFailed, SaveOutcomeUnknown
from orbsite.storage.file.cache import Replica
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.journal import Journal, begun
from orbsite.storage.filesystem.atomic_replace import Successor, failing_whole, prepared, replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.stat_signature import StatSignature
from orbsite.storage.records.changes import as_json

logger = logging.getLogger(__name__)

SMALL = 256 * 1024
"""Up to so many bytes, a document is rewritten by every save."""
_FOLD_AT, _FOLD_AT_CLOSE = 4, 16
"""The part of the document's size, one in so many, from which the journal is folded."""


class Writer:
    """Writes for a replica; whoever has one holds the document's lock, and the replica has kept up."""

    def __init__(self, document: Document, directory: Directory, replica: Replica, *, is_suspect: bool) -> None:
        self.is_suspect = is_suspect
        """Whether the journal was left in a state that nobody should append to."""
        self._document, self._directory, self._replica = document, directory, replica
        self._fs = directory.fs

    def tidy(self) -> None:
        """Clear away what a crash left: temporary files, a journal that was folded, and the torn end of one."""
        self.clear_orphans()
        replica = self._replica
        if replica.is_folded and not replica.is_foreign:
            self._remove_journal()
            replica.rest = b""
        if not replica.rest and (replica.journal is not None or not replica.has_journal):
            return
        name = self._document.journal
        aside = self._directory.write_aside(replica.rest, "torn", of=name)
        if replica.journal is None:
            self._remove_journal()
        else:
            self._cut_journal(replica.journal.end)
        self._directory.sync()
        replica.rest = b""
        logger.warning("%s had a torn end, kept as %s; it was never acknowledged", name, aside)

    def clear_orphans(self) -> None:
        """Move temporary files out of the way."""
        self._document.clear_orphans(self._directory)

    @property
    def content(self) -> Content:
        """What is to be changed, and then saved."""
        return self._replica.content

    @property
    def journal_size(self) -> int:
        """The bytes of the journal, 0 where there is none."""
        return 0 if self._replica.journal is None else self._replica.journal.end

    def save(self, above: int | None) -> None:
        """Save what was changed in the replica's content: in the journal, for documents larger than `above`.

        Raises SaveFailed and SaveOutcomeUnknown; the replica is of no use then.
        """
        replica = self._replica
        steps = replica.content.take_steps()
        if not steps:
            return
        is_large = above is not None and replica.digest is not None and replica.size > above
        if self.is_suspect or replica.is_foreign or not is_large:
            self.fold(contextlib.nullcontext())
            return
        envelope = self._document.envelope
        journal = replica.journal or begun(envelope, replica.digest or "")
        line = journal.line(envelope, steps=[as_json(step) for step in steps])
        if len(line) > self._limit(_FOLD_AT):
            self.fold(contextlib.nullcontext())
        elif replica.journal is None:
            self._begin(journal, line)
        else:
            self._append(journal, line)

    def replace(self, content: Content) -> None:
        """Put something else in the place of everything that is there."""
        self._replica.content = content
        self.fold(contextlib.nullcontext())

    def forget_previous(self) -> None:
        """Remove the generation before the document, which the document was made from."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.unlink(f"{self._document.name}.prev", self._directory.descriptor)
        self._directory.sync()

    def is_due(self, *, closing: bool = False) -> bool:
        """Tell whether the journal has grown so long beside the document that it should be folded."""
        return self.journal_size > self._limit(_FOLD_AT_CLOSE if closing else _FOLD_AT)

    def _limit(self, part: int) -> int:
        return max(self._replica.size, SMALL) // part

    def fold(self, quiet: AbstractContextManager[object]) -> None:
        """Write everything into the document, and remove the journal; readers wait only for the last part, `quiet`."""
        replica, document = self._replica, self._document
        data = document.envelope.close(replica.content.encode())
        if replica.adrift:
            self._directory.write_aside(b"\n".join(map(bytes, replica.adrift)), "adrift", of=document.journal)
        with prepared(self._directory, document.name, data) as successor, quiet:
            if replica.journal is not None:
                self._announce(replica.journal, successor)
            taken = self._fs.nanoseconds()  # before it is there: what others do to it from then on shows
            status = successor.swap(replica.digest)
            replica.saw(StatSignature.of(status, taken), successor.digest, len(data))
            replica.is_foreign, replica.stamped, replica.adrift = False, True, []
            if replica.journal is not None:
                self._remove_journal()
            self.is_suspect = False

    def _announce(self, journal: Journal, successor: Successor) -> None:
        """Write into the journal what is going to replace the document, so that it is known for folded then."""
        line = journal.line(self._document.envelope, fold=successor.digest)
        if not self.is_suspect:
            self._append(journal, line)
            return
        known = (self._directory.read(self._document.journal) or b"")[: journal.end]
        with prepared(self._directory, self._document.journal, known + line) as renewed:
            renewed.take_over()

    def _begin(self, journal: Journal, line: bytes) -> None:
        """Start a journal: with its first save in it, it appears as a whole or not at all."""
        replace(self._directory, self._document.journal, journal.head + line, None)
        journal.took(line)
        replica = self._replica
        replica.journal, replica.has_journal, replica.is_confirmed, replica.is_folded = journal, True, True, False

    def _append(self, journal: Journal, line: bytes) -> None:
        name, path = self._document.journal, self._document.path
        with failing_whole(path):
            descriptor = self._fs.open_for_appending(name, self._directory.descriptor)
        try:
            size = self._fs.status(descriptor).st_size
            if size != journal.end:
                raise SaveFailed(f"{name} has changed under its lock, by {size - journal.end} bytes; try again")
            if not self._replica.is_confirmed:  # whoever wrote so far may have died before the disk had it
                self._fs.sync_data(descriptor)
                self._directory.sync()
            self._directory.write_all(descriptor, line)
            self._fs.sync_data(descriptor)
        except OSError as problem:
            self.is_suspect = True  # what the disk has of the line, nobody knows
            try:
                self._fs.truncate(descriptor, journal.end)
            except OSError:
                raise self._unknown(problem) from problem
            with failing_whole(path):
                raise
        finally:
            self._directory.close(descriptor)
        journal.took(line)
        self._replica.is_confirmed, self._replica.journal_signature = True, None

    def _cut_journal(self, size: int) -> None:
        descriptor = self._fs.open_for_appending(self._document.journal, self._directory.descriptor)
        try:
            self._fs.truncate(descriptor, size)
            self._fs.sync(descriptor)
        finally:
            self._directory.close(descriptor)

    def _remove_journal(self) -> None:
        """Remove a journal of which nothing is needed any more; where it stays, its last line says so."""
        replica = self._replica
        replica.journal, replica.has_journal, replica.is_folded, replica.journal_signature = None, False, False, None
        try:
            self._fs.unlink(self._document.journal, self._directory.descriptor)
        except FileNotFoundError:
            return
        except OSError as problem:
            logger.warning("%s was folded, but not removed: %s", self._document.journal, problem.strerror)

    def _unknown(self, problem: OSError) -> OrbError:
        return SaveOutcomeUnknown(
            f"{self._document.path} may or may not have been saved: the disk did not confirm it: {problem.strerror}; "
            "check the disk, and read again before you retry"
        )
