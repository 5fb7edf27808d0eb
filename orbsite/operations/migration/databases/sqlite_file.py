"""Opens a foreign SQLite file, without ever writing to it or beside it."""

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
_NO_ROOM = "there is not enough space for a copy under {}: set TMPDIR, or end the programs that use the database"


class SqliteFile:
    """A SQLite file that is checked, hashed and connected to. It keeps SQLite's locks until it is closed."""

    def __init__(self, path: Path, name: str, progress: Progress) -> None:
        """Open the file. Raises OSError, and StoreUnavailable where it is not a SQLite file."""
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
        """The size of the file in bytes."""
        return os.fstat(self.descriptor).st_size

    def connect(self) -> sqlite3.Connection:
        """Return a connection with a read transaction, to the file or to a private copy of it.

        A file with a write-ahead log in use, or with an interrupted write, is copied with its log, because SQLite would
        write beside it otherwise.
        """
        if self._log_bytes():
            return self._connect_to_copy("-wal")
        if self._mode() == _WAL:  # complete while its log is empty; read without locks: see `check`
            return self._connected(self.path, "immutable=1")
        try:
            return self._connected(self.path, "mode=ro")
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode not in (sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY):
                raise
            return self._connect_to_copy("-journal")

    def check(self) -> None:
        """Raise StoreUnavailable where the file has changed since it was opened, unless a copy of it is read."""
        if self._copy is None and self._status() != self._before:
            raise StoreUnavailable(
                f"{self._name} was changed while it was read; records imported so far are kept. "
                "Run this again when no program writes to it, or on a copy"
            )

    def digest(self) -> str:
        """Return the SHA-256 of the file, and of its log where that was copied too. The file is read in chunks."""
        if self._hash is None:
            self._hash = hashlib.sha256()
            for chunk in self._chunks(self.descriptor):
                self._hash.update(chunk)
            self.check()
        return str(self._hash.hexdigest())

    def close(self) -> None:
        """Close the file, after every connection to it. Closing the descriptor also releases SQLite's locks."""
        os.close(self.descriptor)
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)

    def _open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StoreUnavailable(f"{self._name} is not a file; give the path of the database itself")
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
            raise StoreUnavailable(f"{self._name} is an empty file and not a database; check the path")
        if len(header) < _HEADER or not header.startswith(_MAGIC):
            raise StoreUnavailable(
                f"{self._name} is not a SQLite database, or is encrypted; check the path, and decrypt it first"
            )
        page = int.from_bytes(header[16:18], "big")
        pages = int.from_bytes(header[28:32], "big") if header[24:28] == header[92:96] else 0
        if pages * (1 << 16 if page == 1 else page) > self.size and not self._log_bytes():
            raise StoreUnavailable(
                f"{self._name} is truncated: it has {self.size} bytes, and its header says {pages} pages; copy it again"
            )

    def _connected(self, path: Path, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False, timeout=10
        )
        try:
            connection.execute("BEGIN")
            connection.execute("PRAGMA schema_version").fetchone()  # takes the lock; reads no user data
            if self._copy is None and path.stat().st_ino != os.fstat(self.descriptor).st_ino:
                raise StoreUnavailable(f"{self._name} was replaced while it was opened; run this again")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_to_copy(self, suffix: str) -> sqlite3.Connection:
        """Copy the file and its log, as of one moment, into a private directory, and connect to the copy."""
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
                raise StoreUnavailable(f"{self._name} was changed during every copy; run this again later")
        return self._connected(self._copy / self.path.name, "mode=rw")

    def _log_status(self, suffix: str) -> bytes:
        """Return the header of a log. It changes when the log is restarted, but not when the log grows."""
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
                raise Stopped("interrupted before anything was imported; run it again")
            yield chunk
            at += len(chunk)
