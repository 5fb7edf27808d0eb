"""Brings stored files into the form in which a packing stores them now: sealed with its first key, compressed or plain.

Each file is replaced by itself, and a file that has this form already is left: an interrupted run can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from orbsite.storage.errors import DocumentCorrupt, NotSealed
from orbsite.storage.file.document import OWN, Document
from orbsite.storage.file.tombstones import SUFFIX, TOMBSTONES
from orbsite.storage.filesystem.atomic_replace import digest_of, failing_whole, prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.sealing.envelope import LINE, Packing, form_of, generation_of

DAMAGED = "damaged"


def repack(document: Document) -> Iterator[tuple[str, str | None]]:
    """Rewrite a document and the files beside it; yield each that had another form, with the reason if it was left.

    The journal must be folded before. Raises DocumentCorrupt and KeyUnavailable if the document cannot be opened.
    """
    with failing_whole(document.path), document.writing() as directory:
        highest = document.highest_generation()
        for name in _files_of(document, directory):
            data = directory.read(name)
            if data is None or (_form_of(data) == document.packing.form and not _is_older(document, name, data)):
                continue
            is_document = name == document.name
            try:
                opened = document.open(data, highest) if is_document else document.envelope.open(data)
            except (DocumentCorrupt, NotSealed) as problem:
                if is_document:
                    raise
                yield name, str(problem)
                continue
            packed, generation = (
                document.close(opened, generation_of(data)) if is_document else (document.envelope.close(opened), 0)
            )
            with prepared(directory, name, packed) as successor:
                if is_document:
                    successor.swap(digest_of(data))  # keeps the old file as `.prev`, which comes later
                    document.wrote(generation)
                else:
                    successor.take_over()
            yield name, None


def _is_older(document: Document, name: str, data: bytes) -> bool:
    """Tell whether a file is a document of an earlier generation than the last one."""
    return name == document.name and generation_of(data) < document.highest_generation()


def repack_tombstones(base: Path, packing: Packing) -> Iterator[tuple[str, str | None]]:
    """Rewrite the tombstone files under a data directory; yield each as `repack` does."""
    envelope = packing.envelope(TOMBSTONES)
    for directory, name in _tombstone_files(base, writing=True):
        lines = (directory.read(name) or b"").split(b"\n")
        try:
            packed = [envelope.close_line(envelope.open_line(line)) if line else line for line in lines]
        except (DocumentCorrupt, NotSealed) as problem:
            yield name, str(problem)
            continue
        if forms_of(b"\n".join(packed)).keys() == forms_of(b"\n".join(lines)).keys():
            continue
        with failing_whole(directory.path / name), prepared(directory, name, b"\n".join(packed)) as successor:
            successor.take_over()
        yield name, None


def forms(document: Document) -> Iterator[tuple[str, Counter[str]]]:
    """Yield each file of a document, with the number of bytes that it has in each form."""
    with document.reading() as directory:
        if directory is None:
            return
        for name in [document.journal, *_files_of(document, directory)]:
            data = directory.read(name)
            if data is not None:
                yield name, forms_of(data)


def forms_of_tombstones(base: Path) -> Iterator[tuple[str, Counter[str]]]:
    """Yield each tombstone file under a data directory, with the number of bytes that it has in each form."""
    for directory, name in _tombstone_files(base, writing=False):
        yield name, forms_of(directory.read(name) or b"")


def forms_of(data: bytes) -> Counter[str]:
    """Return the number of bytes in each form: `plain`, `compressed`, `key ID` or `damaged`."""
    if data.startswith(LINE) or b"\n" + LINE in data:
        lines = [line for line in data.split(b"\n") if line]
        return sum((Counter({_form_of(line): len(line) + 1}) for line in lines), Counter())
    return Counter({_form_of(data): len(data)})


def _form_of(stored: bytes) -> str:
    try:
        return form_of(stored)
    except DocumentCorrupt:
        return DAMAGED


def _files_of(document: Document, directory: Directory) -> Iterator[str]:
    """Yield the document and then the files that are beside it by then; the journal and the lock are left out."""
    yield document.name
    beside = document.beside(directory.names())
    yield from (name for name in beside if name != document.journal and not name.endswith(".lock"))


def _tombstone_files(base: Path, *, writing: bool) -> Iterator[tuple[Directory, str]]:
    try:
        opened = Directory.open(base / OWN / TOMBSTONES)
    except FileNotFoundError:
        return
    with opened.claimed() if writing else opened as directory:
        yield from ((directory, name) for name in sorted(directory.names()) if name.endswith(SUFFIX))
