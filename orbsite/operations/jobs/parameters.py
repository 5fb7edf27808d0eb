"""What can be asked of a worker: an operation and its arguments, strictly read from JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec

from orbsite.operations.progress import Progress
from orbsite.operations.report import Report
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered

Now = Callable[[], datetime]
RowNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""A primary key of Django's."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operation and its arguments."""

    name: ClassVar[str]
    scope: ClassVar[str] = "operate"
    """The scope that a token needs to start it."""
    admin_when: ClassVar[tuple[str, ...]] = ()
    """The arguments that, when they are true, make it need the scope `admin`."""
    takes_one_user: ClassVar[bool] = False
    """Whether its argument `user` limits it to the data of that user."""
    keeps_files: ClassVar[bool] = False
    """Whether it leaves files under ORB_BACKUP_DIR, which count towards the quota of a token."""
    only: tuple[str, ...] | None = None
    """The domains that it is about; all by default."""

    @property
    def domains(self) -> list[Domain]:
        """The domains. Raises OrbError for unknown names."""
        try:
            return registered(self.only)
        except KeyError as problem:
            known = ", ".join(domain.name for domain in registered())
            raise OrbError(f"there is no domain {problem.args[0]!r}; there are {known}") from problem

    @property
    def needed_scope(self) -> str:
        """The scope that a token needs to start it with these arguments."""
        return "admin" if any(getattr(self, name) for name in self.admin_when) else self.scope

    @property
    def user_concerned(self) -> str | None:
        """The one user whose data it reads and writes; None: the data of every user."""
        return getattr(self, "user", None) if self.takes_one_user else None

    def run(self, now: Now, progress: Progress) -> Report:
        """Call the operation."""
        raise NotImplementedError


_LOOKS, _ACTS = "dry_run", "apply"


def can_look(kind: type[Request]) -> bool:
    """Tell whether an operation can tell what it would do."""
    return bool({_LOOKS, _ACTS} & set(kind.__struct_fields__))


def looking(kind: type[Request], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with which an operation tells what it would do, and does nothing."""
    kept = {name: value for name, value in arguments.items() if name not in (_LOOKS, _ACTS)}
    return kept | ({_LOOKS: True} if _LOOKS in kind.__struct_fields__ else {})


def acting(kind: type[Request], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with which it does that."""
    kept = {name: value for name, value in arguments.items() if name not in (_LOOKS, _ACTS)}
    return kept | ({_ACTS: True} if _ACTS in kind.__struct_fields__ else {})


def is_look(kind: type[Request], arguments: dict[str, Any]) -> bool:
    """Tell whether these arguments only have it tell what it would do."""
    return can_look(kind) and arguments == looking(kind, arguments)
