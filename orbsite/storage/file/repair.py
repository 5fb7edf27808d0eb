"""Repairs the issues that a check finds. Before a repair replaces bytes, it writes them to a set-aside copy."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file import journal as journals
from orbsite.storage.file.cache import load
from orbsite.storage.file.checker import Issue, IssueKind, examine
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.writer import Writer
from orbsite.storage.filesystem.atomic_replace import digest_of, failing_whole, prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import Domain
from orbsite.storage.sealing.envelope import generation_of

RESTORED = (IssueKind.MISSING, IssueKind.CORRUPT)
"""The issues that are repaired by restoring the last good generation, only with `restore`."""


def plan(issue: Issue, *, restore: bool) -> str | None:
    """Return the repair for an issue; None if there is no repair, or it needs `restore`."""
    if issue.trouble in RESTORED:
        return "keep it aside, and put the last good generation (.prev) in its place" if restore else None
    return {
        IssueKind.DAMAGED: "keep it aside, and go on with its good lines",
        IssueKind.ADRIFT: "keep aside what has no place in the document any more, and fold the rest",
        IssueKind.TORN: "keep the end aside, and cut it off",
        IssueKind.LEFTOVER: "move it to lost+found",
        IssueKind.OPEN: "make it private",
    }.get(issue.trouble)


def mend(domain: Domain, document: Document, issues: Collection[Issue], *, restore: bool) -> None:
    """Repair these issues as `plan` says. Raises OrbError; completed repairs are then kept, and no data is lost."""
    with failing_whole(document.path), document.writing() as directory:
        still = [issue for issue in examine(domain, document) if issue in issues]
        wanted = {issue.trouble for issue in still if plan(issue, restore=restore)}
        if wanted & set(RESTORED):
            _restore(domain, document, directory)
        if IssueKind.DAMAGED in wanted:
            _salvage(document, directory)
        if wanted & {IssueKind.TORN, IssueKind.LEFTOVER, IssueKind.ADRIFT}:
            writer = Writer(document, directory, load(domain, document, directory, locked=True), is_suspect=False)
            writer.tidy()
            if IssueKind.ADRIFT in wanted:
                writer.fold(contextlib.nullcontext())
        for issue in still:
            if issue.trouble is IssueKind.OPEN:
                _narrow(directory, issue.name)


def start_over(document: Document, data: bytes) -> None:
    """Replace a document that is lost or cannot be read by checked bytes; its old files become set-aside copies.

    While it is replaced, the document is missing, and its set-aside copies prevent other processes from starting with
    an empty one. Raises OrbError as every save does.
    """
    with failing_whole(document.path), document.writing() as directory, contextlib.ExitStack() as stack:
        packed, generation = document.close(data)
        successor = stack.enter_context(prepared(directory, document.name, packed))
        for name in (document.name, document.journal):
            if directory.status_of(name) is not None:
                directory.put_aside(name, "corrupt", of=name)
        directory.sync()
        successor.take_over()
        document.wrote(generation)


def _restore(domain: Domain, document: Document, directory: Directory) -> None:
    """Restore the last good generation; the document's old bytes become a set-aside copy."""
    good = directory.read(f"{document.name}.prev")
    if good is None:
        raise DocumentCorrupt(f"there is no {document.path}.prev to restore; put a backup in its place")
    try:
        opened = document.envelope.open(good)
        Content(domain, opened)
    except DocumentCorrupt as problem:
        message = f"{document.path}.prev cannot be read either: {problem}; put a backup in its place"
        raise DocumentCorrupt(message) from problem
    bad = directory.read(document.name)
    if bad is not None:
        directory.write_aside(bad, "corrupt", of=document.name)
    packed, generation = document.close(opened, generation_of(good)) if document.packing.active else (good, 0)
    with prepared(directory, document.name, packed) as successor:
        successor.take_over()
    document.wrote(generation)


def _salvage(document: Document, directory: Directory) -> None:
    """Write a new journal with all good lines of the damaged one, which becomes a set-aside copy."""
    damaged = directory.read(document.journal) or b""
    scan = journals.scan(damaged, document.envelope)
    if not scan.damage:
        return
    digest = digest_of(directory.read(document.name)) or ""
    lines = [*scan.lines, *scan.salvage]
    folded = journals.last_fold(lines, digest)
    lines = lines[folded:]
    base = digest if folded or scan.journal is None else scan.journal.base
    journal = journals.begun(document.envelope, base)
    written = [journal.head]
    for line in lines:
        if line.steps:
            written.append(journal.line(document.envelope, steps=line.steps))
            journal.took(written[-1])
    directory.write_aside(damaged, "corrupt", of=document.journal)
    with prepared(directory, document.journal, b"".join(written)) as successor:
        successor.take_over()


def _narrow(directory: Directory, name: str) -> None:
    descriptor = directory.fs.open_for_reading(name, directory.descriptor)
    try:
        directory.fs.narrow(descriptor, 0o600)
    finally:
        directory.close(descriptor)
