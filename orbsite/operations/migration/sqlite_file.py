"""Opens a SQLite file of somebody else's so that nothing is ever written to it, or beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbsite.operations.progress import Progress, Stopped
from orbsite.storage.errors import StoreUnavailable

_MAGIC = b"SQLite format 3\x00"
_HEADER, _LOG_HEADER = 100, 32
_CHUNK = 1 << 20
_ATTEMPTS = 3
_JOURNALED, _WAL = 1, 2
_NO_ROOM = "there is not enough room for a copy under {}: set TMPDIR, or end the programs that have the database open"


class SqliteFile:
    """A file that is checked, hashed, and connected to. It stays open until it is closed, and so do SQLite's locks."""

    def __init__(self, path: Path, name: str, progress: Progress) -> None:
        """Open it. Raises StoreUnavailable for what is no such file, and OSError."""
        self.path, self._name, self._progress = path.resolve(strict=True), name, progress
        self._copy: Path | None = None
        self._hash: Any = None
        self.descriptor = self._open(self.path)
        try:
            self._before = self._status()
            self._check_header()
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return os.fstat(self.descriptor).st_size

    def connect(self) -> sqlite3.Connection:
        """Return a connection with a transaction that reads: to the file, or to a private copy of it.

        A file that is in use with a write-ahead log, or was left in the middle of a write, is copied with its log:
        SQLite would write beside it otherwise.
        """
        if self._log_bytes():
            return self._connect_to_copy("-wal")
        if self._mode() == _WAL:  # with nothing in its log it is whole, and read without its locks: see `check`
            return self._connected(self.path, "immutable=1")
        try:
            return self._connected(self.path, "mode=ro")
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode not in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
                raise
            return self._connect_to_copy("-journal")

    def check(self) -> None:
        """Raise StoreUnavailable where the file has changed since it was opened, and no lock kept it as it was."""
        if self._copy is None and self._status() != self._before:
            raise StoreUnavailable(
                f"{self._name} was changed while it was read; what was imported so far is kept. "
                "Run this again when nothing writes to it, or on a copy"
            )

    def digest(self) -> str:
        """Return the SHA-256 of its bytes, and of its log's where that was read too, a piece at a time."""
        if self._hash is None:
            self._hash = hashlib.sha256()
            for chunk in self._chunks(self.descriptor):
                self._hash.update(chunk)
            self.check()
        return str(self._hash.hexdigest())

    def close(self) -> None:
        """Close it, after every connection to it: a descriptor that is closed takes SQLite's locks with it."""
        os.close(self.descriptor)
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)

    def _open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StoreUnavailable(f"{self._name} is no file: give the path of the database itself")
        return descriptor

    def _status(self) -> tuple[int, ...]:
        found = os.fstat(self.descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino

    def _mode(self) -> int:
        header = os.pread(self.descriptor, _HEADER, 0)
        return max(header[18:20], default=_JOURNALED)

    def _log_bytes(self) -> int:
        try:
            return self._beside("-wal").lstat().st_size
        except FileNotFoundError:
            return 0

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _check_header(self) -> None:
        header = os.pread(self.descriptor, _HEADER, 0)
        if not header:
            raise StoreUnavailable(f"{self._name} is an empty file, and no database; check the path")
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise StoreUnavailable(
                f"{self._name} is no SQLite database, or is encrypted; check the path, and decrypt it first"
            )
        page = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big") if header[24:28] == header[92:96] else 0
        if pages * (1 << 16 if page == 1 else page) > self.size and not self._log_bytes():
            raise StoreUnavailable(
                f"{self._name} is cut short: it has {self.size} bytes, and says that it has {pages} pages; "
                "copy it again"
            )

    def _connected(self, path: Path, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False, timeout=10
        )
        try:
            connection.execute("BEGIN")
            connection.execute("PRAGMA schema_version").fetchone()  # takes the lock; reads nothing that a person made
            if self._copy is None and path.stat().st_ino != os.fstat(self.descriptor).st_ino:
                raise StoreUnavailable(f"{self._name} was replaced while it was opened; run this again")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_to_copy(self, suffix: str) -> sqlite3.Connection:
        """Copy the file and its log into a private directory, as of one moment, and connect to the copy."""
        self._copy = Path(tempfile.mkdtemp(prefix="orb-import-"))
        for attempt in range(1, _ATTEMPTS + 1):
            before, self._hash = (self._status(), self._log_status(suffix)), hashlib.sha256()
            try:
                self._copy_into(self._copy, suffix)
            except OSError as problem:
                raise StoreUnavailable(
                    f"{self._name} has to be copied to be read ({os.strerror(problem.errno or 0)}); "
                    + _NO_ROOM.format(self._copy.parent)
                ) from problem
            if (self._status(), self._log_status(suffix)) == before:
                break
            if attempt == _ATTEMPTS:
                raise StoreUnavailable(f"{self._name} was changed each time that it was copied; run this again later")
        return self._connected(self._copy / self.path.name, "mode=rw")

    def _log_status(self, suffix: str) -> bytes:
        """Return the header of a log, which is another one as soon as it is begun anew; what is added to it may be."""
        try:
            descriptor = self._open(self._beside(suffix))
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, _LOG_HEADER, 0)
        finally:
            os.close(descriptor)

    def _copy_into(self, directory: Path, suffix: str) -> None:
        self._copy_bytes(self.descriptor, directory / self.path.name)
        try:
            log = self._open(self._beside(suffix))
        except FileNotFoundError:
            return
        try:
            self._copy_bytes(log, directory / (self.path.name + suffix))
        finally:
            os.close(log)

    def _copy_bytes(self, source: int, to: Path) -> None:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            for chunk in self._chunks(source):
                self._hash.update(chunk)
                target.write(chunk)

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        at = 0
        while chunk := os.pread(descriptor, _CHUNK, at):
            if self._progress.is_stopping:
                raise Stopped("interrupted before anything was moved; run it again")
            yield chunk
            at += len(chunk)
