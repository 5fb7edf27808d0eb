"""The manifest of a backup: every file with its size, its SHA-256 and its meaning.

`SHA256SUMS` beside it holds the signature, the same checksums and the manifest's own, in the format of `sha256sum
--check`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from orbsite.operations.backup import signature
from orbsite.storage.errors import DocumentCorrupt, DocumentError
from orbsite.storage.filesystem.atomic_replace import replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.file_checks import refuse_unless_plain, refused

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"

Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")]
"""A file's name: never a path, and never hidden."""


class Stored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the backup."""

    name: Name
    size: int
    sha256: str


class SavedDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document of a domain; `file` is None where there was no document."""

    domain: str
    document: str
    """Its path under the data directory."""
    file: Stored | None


class SavedDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The saved SQL database."""

    file: Stored
    vendor: str
    migrations: list[tuple[str, str]]
    """App and name of every applied migration."""
    rows: dict[str, int]
    """The row count of each table at the time of the backup."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of a backup."""

    format: int
    taken_at: str
    label: str
    versions: dict[str, str]
    documents: list[SavedDocument]
    database: SavedDatabase | None

    @property
    def files(self) -> list[Stored]:
        """Every file except the manifest and the checksums."""
        found = [document.file for document in self.documents if document.file]
        return [*found, self.database.file] if self.database else found


def write(directory: Directory, manifest: Manifest) -> None:
    """Write and sync the manifest and the checksums."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    replace(directory, MANIFEST, data, None)
    replace(directory, SUMS, signature.line_of(data) + _sums(manifest, data), None)


def is_signed(directory: Directory) -> bool:
    """Tell whether a verified backup has a signature. Raises DocumentCorrupt where the signature is not valid."""
    line = _split(directory)[0]
    if not line:
        return False
    problem = signature.problem_of(line, directory.read(MANIFEST) or b"")
    if problem is not None:
        raise DocumentCorrupt(
            f"the backup {directory.path} cannot be trusted: {problem}; nothing was written. Use another backup, or "
            "set ORB_BACKUP_KEY to the key that signed it. If that key is lost, and you know that the backup is "
            f"unchanged, remove the line that begins with # from {SUMS}"
        )
    return True


def _split(directory: Directory) -> tuple[bytes, bytes]:
    """Return the line of the signature, which may be empty, and the checksums."""
    data = directory.read(SUMS) or b""
    if not data.startswith(b"# "):
        return b"", data
    line, end, sums = data.partition(b"\n")
    return line + end, sums


def stored(directory: Directory, name: str) -> Stored:
    """Return a file's current size and SHA-256. Raises DocumentRefused where it is not a regular file."""
    with opened(directory, name) as descriptor, open(descriptor, "rb", closefd=False) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Stored(name=name, size=file.tell(), sha256=digest)


@contextlib.contextmanager
def opened(directory: Directory, name: str) -> Iterator[int]:
    """Open a regular file for reading, and yield its descriptor. Raises DocumentRefused."""
    try:
        descriptor = directory.fs.open_for_reading(name, directory.descriptor)
    except OSError as problem:
        raise refused(directory.path / name, problem) from problem
    try:
        refuse_unless_plain(directory.fs.status(descriptor), directory, name)
        yield descriptor
    finally:
        directory.close(descriptor)


@contextlib.contextmanager
def checked(path: Path) -> Iterator[tuple[Directory, Manifest]]:
    """Open a backup, and yield its directory and its manifest, once every file has been verified.

    Raises DocumentError where a file is missing, differs from the manifest, or is not part of the backup.
    """
    try:
        directory = Directory.open(path)
    except FileNotFoundError as problem:
        raise DocumentError(
            f"there is no backup {path}; give the directory that create_orb_backup created"
        ) from problem
    with directory:
        yield directory, _checked(directory)


def _checked(directory: Directory) -> Manifest:
    data = directory.read(MANIFEST)
    if data is None:
        raise _damaged(directory, f"it has no {MANIFEST}")
    manifest = _decoded(directory, data)
    names, present = {one.name for one in manifest.files} | {MANIFEST, SUMS}, set(directory.names())
    if len(names) != len(manifest.files) + 2:
        raise _damaged(directory, f"{MANIFEST} names a file twice")
    if names - present:
        raise _damaged(directory, f"{', '.join(sorted(names - present))} is missing")
    if present - names:
        raise DocumentCorrupt(
            f"{directory.path} holds {', '.join(map(ascii, sorted(present - names)))}, which is not part of the "
            "backup; nothing was written. Move it away, then retry"
        )
    if _split(directory)[1] != _sums(manifest, data):
        raise _damaged(directory, f"{SUMS} and {MANIFEST} do not match")
    for file in manifest.files:
        if stored(directory, file.name) != file:
            raise _damaged(directory, f"{file.name} does not match {MANIFEST}")
    return manifest


def _decoded(directory: Directory, data: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("format")
        if isinstance(version, int) and version > FORMAT:
            raise DocumentCorrupt(
                f"{directory.path} was made by a newer version of this program (format {version}); restore it with that"
            )
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise _damaged(directory, f"{MANIFEST} is not valid: {problem}") from problem


def _sums(manifest: Manifest, data: bytes) -> bytes:
    own = Stored(name=MANIFEST, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return "".join(f"{one.sha256}  {one.name}\n" for one in [*manifest.files, own]).encode()


def _damaged(directory: Directory, what: str) -> DocumentCorrupt:
    return DocumentCorrupt(f"the backup {directory.path} is damaged: {what}; nothing was written. Use another backup")


def counted(connection: Any) -> dict[str, int]:
    """Return the row count of each table, as the connection sees it."""
    with connection.cursor() as cursor:
        counts = {}
        for table in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608 -- it is quoted
            counts[table] = int(cursor.fetchone()[0])
        return counts
