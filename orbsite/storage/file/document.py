"""The paths of a document and its journal, and the ways to open them for reading or writing."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from orbsite.runtime.home import program
from orbsite.storage.errors import DocumentCorrupt, DocumentError, DocumentRefused, NotSealed
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.high_water_mark import HighWaterMark
from orbsite.storage.filesystem.lock import locked
from orbsite.storage.filesystem.mounts import network_file_system
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from orbsite.storage.sealing.envelope import Packing, generation_of

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = 20.0
"""Seconds to wait for another process's lock before LockTimeout is raised."""
LOST_AND_FOUND = "lost+found"
OWN = ".orb"
"""The directory under a data directory that only this project uses."""
GENERATIONS = "generations"
"""The directory in it with the highest generation of each sealed document."""


def generations_name(file: PurePosixPath) -> str:
    """Return the name of the file with the highest generation of a document."""
    return "-".join(file.with_suffix("").parts)


class Document:
    """A JSON file under a data directory, with its journal and the other files beside it."""

    def __init__(
        self,
        base: Path,
        file: PurePosixPath,
        packing: Packing | None = None,
        fs: FileSystem = OS,
        *,
        allow_network: bool = False,
    ) -> None:
        self.base = base
        self.path = base / file
        self.name = file.name
        self.journal = f"{file.name}.journal"
        self.packing = packing or Packing()
        self.envelope = self.packing.envelope(str(file.with_suffix("")))
        self._highest = HighWaterMark(base, (OWN, GENERATIONS), generations_name(file), fs)
        self._within = file.parent.name
        self._fs = fs
        self._allow_network = allow_network

    @contextlib.contextmanager
    def reading(self) -> Iterator[Directory | None]:
        """Open the document's directory, None if it does not exist yet. Creates nothing and takes no lock."""
        with contextlib.ExitStack() as stack:
            try:
                base = stack.enter_context(self._opened(Directory.open))
                directory = stack.enter_context(base.enter(self._within))
            except FileNotFoundError:
                directory = None
            yield directory

    def highest_generation(self) -> int:
        """Return the highest generation that was written; read it before the document. 0 if nothing is sealed."""
        return 0 if self.packing.active is None else self._highest.read()

    def open(self, kept: bytes, highest: int) -> bytes:
        """Return the document's bytes for stored bytes.

        Raises the errors of `Envelope.open`, and NotSealed for a generation before the `highest`.
        """
        data = self.envelope.open(kept)
        generation = generation_of(kept) if highest else 0
        if generation < highest and not self.packing.allows_plain:
            raise NotSealed(
                f"{self.path} is generation {generation}, and generation {highest} was written: an older file was put "
                f"in its place; nothing was read or changed. If it is yours, run: {program()} seal_orb_data --apply"
            )
        return data

    def close(self, data: bytes, known: int = 0) -> tuple[bytes, int]:
        """Return the bytes to store for the next generation of the document, and its number, 0 if it has none.

        `known` is the generation that it replaces. The caller holds the lock.
        """
        if self.packing.active is None:
            return self.envelope.close(data), 0
        generation = max(known, self._highest.read()) + 1
        return self.envelope.close(data, generation), generation

    def wrote(self, generation: int) -> None:
        """Record that a generation was written. Nothing depends on it but the recognition of older files."""
        if generation:
            try:
                self._highest.write(generation)
            except (OSError, DocumentError) as problem:
                logger.warning("the generation of %s was not recorded: %s", self.path, type(problem).__name__)

    def size(self) -> int:
        """Return the size of document and journal in bytes, without reading them."""
        with self.reading() as directory:
            statuses = [] if directory is None else [directory.status_of(name) for name in (self.name, self.journal)]
        return sum(status.st_size for status in statuses if status is not None)

    def journal_size(self) -> int:
        """Return the size of the journal in bytes, 0 if there is none, without reading it."""
        with self.reading() as directory:
            status = None if directory is None else directory.status_of(self.journal)
        return 0 if status is None else status.st_size

    @contextlib.contextmanager
    def writing(self, *, make: bool = True) -> Iterator[Directory]:
        """Open the document's directory and hold the document's lock.

        A missing directory is created. Without `make`, the directory existed before, and DocumentCorrupt is raised.
        """
        with (
            self._opened(Directory.make) if make else self._reopened() as base,
            base.enter_or_make(self._within) if make else self._reopened(base) as directory,
        ):
            self._refuse_network(directory)
            with locked(directory, self.name, LOCK_TIMEOUT):
                if make and directory.status_of(self.name) is None:
                    self._sync_above(base)
                yield directory

    def gone(self) -> DocumentCorrupt:
        """Return the error for a document whose files were all removed while this process used them."""
        return DocumentCorrupt(
            f"{self.path} and all files beside it were removed while this program was using them; nothing was written. "
            "Put them back, or restart this program to start with an empty document"
        )

    def _reopened(self, base: Directory | None = None) -> Directory:
        """Open the data directory, or the document's directory in it, for writing; a missing one is not created."""
        try:
            directory = self._opened(Directory.open) if base is None else base.enter(self._within)
        except FileNotFoundError as problem:
            raise self.gone() from problem
        return directory.claimed()

    def _opened(self, how: Callable[[Path, FileSystem], Directory]) -> Directory:
        with naming_the_setting(self.base):
            return how(self.base, self._fs)

    def refuse_to_start_over(self, directory: Directory) -> None:
        """Raise DocumentCorrupt if the document is missing but its journal or a set-aside copy exists."""
        beside = self.beside(directory.names())
        if beside and directory.status_of(self.name) is None:
            raise DocumentCorrupt(
                f"{self.path} is missing, but {', '.join(beside)} beside it shows that it existed; "
                "rename the file that you want to continue with, or move all of them away to start empty"
            )

    def beside(self, names: Iterable[str]) -> list[str]:
        """Return, sorted, the names that show that this document exists or existed: those that start with its name."""
        return sorted(name for name in names if name.startswith(f"{self.name}."))

    def orphans(self, directory: Directory) -> list[str]:
        """Return the temporary files of dead processes beside the document; the caller holds the document's lock."""
        return [name for name in self._temporary(directory) if not directory.is_locked(name)]

    def is_being_folded(self, directory: Directory) -> bool:
        """Tell whether a process is writing a new document without the lock."""
        return any(map(directory.is_locked, self._temporary(directory)))

    def stop_folds(self, directory: Directory) -> None:
        """Remove the files that other processes are writing without the lock; their folds end without effect."""
        for name in filter(directory.is_locked, self._temporary(directory)):
            with contextlib.suppress(FileNotFoundError):
                self._fs.unlink(name, directory.descriptor)

    def _temporary(self, directory: Directory) -> list[str]:
        return [name for name in directory.names() if name.startswith(f".{self.name}.") and ".tmp" in name]

    def clear_orphans(self, directory: Directory) -> None:
        """Move the temporary files of dead processes to lost+found; they may hold another program's content."""
        orphans = self.orphans(directory)
        if not orphans:
            return
        with directory.enter_or_make(LOST_AND_FOUND) as lost:
            for name in orphans:
                directory.move(name, lost)
        logger.warning("moved %d temporary files of dead processes to %s", len(orphans), lost.path)

    def _refuse_network(self, directory: Directory) -> None:
        device, _ = directory.identity
        kind = None if self._allow_network else _network_file_system(device)
        if kind is not None:
            raise DocumentRefused(
                f"{directory.path} is on a network file system ({kind}), where locks cannot be trusted; "
                "keep the data directory on a local disk, or set ORB_ALLOW_NETWORK_FS=true at your own risk"
            )

    def _sync_above(self, base: Directory) -> None:
        """Sync the directories above, which may be new and may have been created by another process."""
        base.sync()
        with Directory.open(self.base.parent.resolve(), self._fs) as above:
            above.sync()


_network_file_system = functools.lru_cache(maxsize=16)(network_file_system)


@contextlib.contextmanager
def naming_the_setting(base: Path, setting: str = "ORB_DATA_DIR (or --data-dir)") -> Iterator[None]:
    """Add the setting's name and the link's target to the error for a directory that is a symbolic link."""
    try:
        yield
    except DocumentRefused as problem:
        if not _is_link(base):
            raise
        raise DocumentRefused(
            f"{base} is a symbolic link; set {setting} to the directory itself: {base.resolve()}"
        ) from problem


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a directory of the path cannot be read, so it is unknown
        return False


def require_directory(base: Path) -> None:
    """Raise DocumentError if a data directory does not exist."""
    try:
        with naming_the_setting(base), Directory.open(base):
            pass
    except FileNotFoundError as problem:
        raise DocumentError(f"there is no data directory {base}; check --data-dir and ORB_DATA_DIR") from problem
