"""When what was last done to the files under a data directory: `.orb/facts.json`, for those who have no database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from orbsite.storage.encoding.timestamps import parse, spell
from orbsite.storage.file.document import naming_the_setting
from orbsite.storage.file.tombstones import OWN
from orbsite.storage.filesystem.atomic_replace import prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.syscalls import OS, FileSystem

FACTS = "facts.json"


class Facts:
    """What was last done, and when, by domain. Who writes last wins: it is a note, and nothing rests on it."""

    def __init__(self, base: Path, fs: FileSystem = OS) -> None:
        self._base, self._fs = base, fs

    def read(self) -> dict[str, dict[str, str]]:
        """Return the moment of each act by domain; nothing where it cannot be read."""
        try:
            with naming_the_setting(self._base), Directory.open(self._base, self._fs) as base, base.enter(OWN) as own:
                return msgspec.json.decode(own.read(FACTS) or b"{}", type=dict[str, dict[str, str]])
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def last(self, act: str, domain: str) -> datetime | None:
        """Return when something was last done; None where that is not known."""
        try:
            return parse(self.read().get(domain, {}).get(act, ""))[0]
        except ValueError:
            return None

    def note(self, act: str, domain: str, moment: datetime) -> None:
        """Note that something was done; where there is no data directory, none is made. Raises SaveFailed."""
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
