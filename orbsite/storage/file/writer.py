"""Writes saves to the disk, as a line of the journal or as a new document with the whole content."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec

from orbsite.storage.errors import OrbError, SaveFailed, SaveOutcomeUnknown
from orbsite.storage.file.cache import Replica
from orbsite.storage.file.content import Content, TreeCopy
from orbsite.storage.file.document import Document
from orbsite.storage.file.journal import FoldedDocument, Journal, Predecessor, begun, follow
from orbsite.storage.filesystem.atomic_replace import Checked, Successor, failing_whole, prepared, replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.stat_signature import StatSignature
from orbsite.storage.records.changes import as_json
from orbsite.storage.sealing.envelope import Envelope

logger = logging.getLogger(__name__)

SMALL = 256 * 1024
"""The size in bytes up to which every save rewrites a document."""
_FOLD_AT, _FOLD_AT_CLOSE = 4, 16
"""A journal is folded when it is larger than the document's size divided by this number."""
_OVERDUE = 2
"""How many times larger than that it is when saves are slowed down."""


@dataclass(frozen=True)
class FoldBase:
    """What a document and its journal were when a fold began that is made while saves go on."""

    digest: str
    """The SHA-256 of the document."""
    generation: int
    journal: Journal
    copy: TreeCopy
    """A copy of the content, which has been begun."""


class Writer:
    """Writes the content of a replica. The caller must hold the document's lock, and the replica must be current."""

    def __init__(self, document: Document, directory: Directory, replica: Replica, *, is_suspect: bool) -> None:
        self.is_suspect = is_suspect
        """Whether an append to the journal failed, so that nothing more may be appended to it."""
        self._document, self._directory, self._replica = document, directory, replica
        self._fs = directory.fs

    def tidy(self) -> None:
        """Clean up after a crash: temporary files, a folded journal, and a journal's torn end."""
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
        """Move temporary files of dead processes to lost+found."""
        self._document.clear_orphans(self._directory)

    @property
    def content(self) -> Content:
        """The content that the caller changes and then saves."""
        return self._replica.content

    @property
    def journal_size(self) -> int:
        """The size of the journal in bytes, 0 if there is none."""
        return 0 if self._replica.journal is None else self._replica.journal.end

    def save(self, above: int | None) -> None:
        """Save the changes of the replica's content, in the journal if the document is larger than `above` bytes.

        Raises SaveFailed and SaveOutcomeUnknown; the replica must not be used afterwards.
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
        """Replace the whole content of the document."""
        self._replica.content = content
        self.fold(contextlib.nullcontext())

    def forget_previous(self) -> None:
        """Remove the previous generation of the document, `.prev`, and what a fold is writing from it."""
        self._document.stop_folds(self._directory)
        with contextlib.suppress(FileNotFoundError):
            self._fs.unlink(f"{self._document.name}.prev", self._directory.descriptor)
        self._directory.sync()

    @property
    def size(self) -> int:
        """The size of the document in bytes."""
        return self._replica.size

    def is_overdue(self) -> bool:
        """Tell whether the journal is so large that saves have to be slowed down until it is folded."""
        return self.journal_size > _OVERDUE * self._limit(_FOLD_AT)

    def is_due(self, *, closing: bool = False) -> bool:
        """Tell whether the journal is large enough, relative to the document, to be folded."""
        return self.journal_size > self._limit(_FOLD_AT_CLOSE if closing else _FOLD_AT)

    def _limit(self, part: int) -> int:
        return max(self._replica.size, SMALL) // part

    def fold(self, quiet: AbstractContextManager[object]) -> None:
        """Write the whole content into the document, and remove the journal.

        `quiet` is entered only for the last part, in which readers have to wait.
        """
        replica, document = self._replica, self._document
        data, generation = document.close(replica.content.encode(), replica.generation)
        if replica.adrift:
            aside = document.envelope.close(b"\n".join(map(bytes, replica.adrift)))
            self._directory.write_aside(aside, "adrift", of=document.journal)
        with prepared(self._directory, document.name, data) as successor, quiet:
            if replica.journal is not None:
                self._announce(replica.journal, successor)
            taken = self._fs.nanoseconds()  # before the swap, so that a later change by another program is noticed
            status = successor.swap(replica.digest)
            replica.saw(StatSignature.of(status, taken), successor.digest, len(data))
            replica.is_foreign, replica.stamped, replica.adrift = False, True, []
            if replica.journal is not None:
                self._remove_journal()
            self.is_suspect = False
        replica.generation = generation
        document.wrote(generation)

    def begin_fold(self) -> FoldBase | None:
        """Return what a fold begins with that is made while saves go on, None if only `fold` is possible."""
        replica = self._replica
        if self.is_suspect or replica.is_foreign or replica.adrift or replica.journal is None or not replica.digest:
            return None
        journal = dataclasses.replace(replica.journal)
        return FoldBase(replica.digest, replica.generation, journal, replica.content.begin_copy())

    def finish_fold(self, base: FoldBase, document: Successor, journal: NextJournal, previous: Checked) -> bool:
        """Replace document and journal by their successors; return False if they are not what the fold began with."""
        replica = self._replica
        known = replica.journal
        if self.is_suspect or replica.is_foreign or known is None:
            return False
        if (known.name, replica.digest) != (base.journal.name, base.digest):
            return False
        journal.catch_up()
        if journal.journal.seq + base.journal.seq != known.seq + 1:
            return False
        folded = journal.document
        envelope = self._document.envelope
        self._append(known, known.line(envelope, fold=document.digest, until=base.journal.seq, document=folded))
        taken = self._fs.nanoseconds()
        status = document.swap(base.digest, dataclasses.replace(previous, current=replica.signature))
        replica.took_fold(StatSignature.of_renamed(status, taken), document.digest, folded)
        journal.take_over()
        replica.journal, replica.journal_signature, replica.is_confirmed = journal.journal, None, True
        return True

    def _announce(self, journal: Journal, successor: Successor) -> None:
        """Write the new document's digest into the journal, so that readers know the journal is folded into it."""
        line = journal.line(self._document.envelope, fold=successor.digest)
        if not self.is_suspect:
            self._append(journal, line)
            return
        known = (self._directory.read(self._document.journal) or b"")[: journal.end]
        with prepared(self._directory, self._document.journal, known + line) as renewed:
            renewed.take_over()

    def _begin(self, journal: Journal, line: bytes) -> None:
        """Create a journal with its first save in it, completely or not at all."""
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
            if not self._replica.is_confirmed and not self._is_synced(descriptor, journal):
                self._fs.sync_data(descriptor)
                self._directory.sync()
            self._directory.write_all(descriptor, line)
            self._fs.sync_data(descriptor)
        except OSError as problem:
            self.is_suspect = True  # it is unknown how much of the line is on the disk
            try:
                self._fs.truncate(descriptor, journal.end)
            except OSError:
                raise self._unknown(problem) from problem
            with failing_whole(path):
                raise
        else:
            journal.took(line)
            with contextlib.suppress(OSError):  # not every file system has extended attributes
                self._fs.stamp(descriptor, _synced(journal))
        finally:
            self._directory.close(descriptor)
        self._replica.is_confirmed, self._replica.journal_signature = True, None

    def _is_synced(self, descriptor: int, journal: Journal) -> bool:
        """Tell whether whoever wrote the last line has synced it; a process may have died before it did."""
        try:
            return self._fs.read_stamp(descriptor) == _synced(journal)
        except OSError:  # it has no stamp, or the file system has no extended attributes
            return False

    def _cut_journal(self, size: int) -> None:
        descriptor = self._fs.open_for_appending(self._document.journal, self._directory.descriptor)
        try:
            self._fs.truncate(descriptor, size)
            self._fs.sync(descriptor)
        finally:
            self._directory.close(descriptor)

    def _remove_journal(self) -> None:
        """Remove a journal that is not needed any more; if that fails, its last line shows that it was folded."""
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
            "check the disk, and read the document again before you retry"
        )


class NextJournal:
    """The journal after a fold: it has the lines that were written since the fold began, under new numbers."""

    def __init__(
        self, directory: Directory, name: str, envelope: Envelope, known: Journal, successor: Successor
    ) -> None:
        """`known` is the journal `name` when the fold began, and `successor` an empty file."""
        self._directory, self._name, self._envelope, self._successor = directory, name, envelope, successor
        self._known = dataclasses.replace(known)

    def begin(self, digest: str, document: FoldedDocument) -> None:
        """Write the first line, for the new document, and the lines that there are by now. Raises SaveFailed."""
        self.document = document
        follows = Predecessor(self._known.name, self._known.seq)
        self.journal = begun(self._envelope, digest, follows=follows, document=document)
        self._successor.fill(self.journal.head + self._copied())

    def catch_up(self) -> None:
        """Write the lines that were appended meanwhile, and one for the fold's line. Raises SaveFailed.

        The caller holds the lock.
        """
        copied = self._copied()
        self._successor.append(copied + self._line([]))

    def take_over(self) -> None:
        """Replace the journal. Raises SaveFailed and SaveOutcomeUnknown."""
        self._successor.take_over()

    def _copied(self) -> bytes:
        """Return the new lines of the old journal, as lines of this one."""
        known = self._known
        found = self._directory.look(self._name, known.end - len(known.last))
        if found is None or not found.data.startswith(known.last):
            return b""
        scan = follow(known, found.data[len(known.last) :], self._envelope)
        return b"".join([self._line(line.steps) for line in scan.lines])

    def _line(self, steps: list[msgspec.Raw]) -> bytes:
        line = self.journal.line(self._envelope, steps=steps)
        self.journal.took(line)
        return line


def _synced(journal: Journal) -> bytes:
    """Return the stamp of a journal whose lines are synced so far."""
    return f"synced {journal.name} {journal.end}".encode()
