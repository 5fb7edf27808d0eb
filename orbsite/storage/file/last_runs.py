"""The times of the last operations on the files under a data directory, in `.orb/facts.json`, without a database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from orbsite.storage.encoding.timestamps import parse, spell
from orbsite.storage.file.document import OWN, naming_the_setting
from orbsite.storage.filesystem.atomic_replace import prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.syscalls import OS, FileSystem

FACTS = "facts.json"


class Facts:
    """The times of the last operations by domain. The last writer wins; no operation depends on these times."""

    def __init__(self, base: Path, fs: FileSystem = OS) -> None:
        self._base, self._fs = base, fs

    def read(self) -> dict[str, dict[str, str]]:
        """Return the time of each operation by domain; empty if the file is missing or cannot be decoded."""
        try:
            with naming_the_setting(self._base), Directory.open(self._base, self._fs) as base, base.enter(OWN) as own:
                return msgspec.json.decode(own.read(FACTS) or b"{}", type=dict[str, dict[str, str]])
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def last(self, act: str, domain: str) -> datetime | None:
        """Return the time of the last run of an operation on a domain; None if it is not known."""
        try:
            return parse(self.read().get(domain, {}).get(act, ""))[0]
        except ValueError:
            return None

    def note(self, act: str, domain: str, moment: datetime) -> None:
        """Record the time of an operation on a domain, if the data directory exists. Raises SaveFailed."""
        if not self._base.is_dir():
            return
        known = self.read()
        known[domain] = known.get(domain, {}) | {act: spell(moment)}
        data = msgspec.json.format(msgspec.json.encode(known), indent=2)
        with (
            naming_the_setting(self._base),
            Directory.make(self._base, self._fs) as base,
            base.enter_or_make(OWN) as own,
            prepared(own, FACTS, data) as successor,
        ):
            successor.take_over()
