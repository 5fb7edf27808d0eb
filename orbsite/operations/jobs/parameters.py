"""The declaration of an operation: its arguments with types, defaults and help, and what a caller needs to start it.

The command's options, the form of the admin, the schema of the API and the arguments of a job come from it. Paths are
no arguments: the `Place` of an operation says where it reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias, get_args

import msgspec

from orbsite.conf import app_settings
from orbsite.operations.progress import Progress
from orbsite.operations.report import Report
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain, registered

Now = Callable[[], datetime]
RowNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
"""A primary key, in the range of integers that a JSON number holds exactly."""


class Storage(StrEnum):
    """What an operation reads or writes."""

    FILES = "files"
    SQL = "sql"
    IN_USE = "in use"
    """The store that ORB_PERSISTENCE names."""
    BACKUPS = "backups"
    UPLOADS = "uploads"


@dataclass(frozen=True)
class Place:
    """Where an operation runs: its clock and its progress, and the directories that it reads and writes."""

    now: Now
    progress: Progress
    data_directory: Path
    backup_directory: Path

    @classmethod
    def of_settings(cls, now: Now, progress: Progress) -> Place:
        """Return the place that the settings name."""
        return cls(now, progress, app_settings.data_directory(), app_settings.backup_directory())


@dataclass(frozen=True)
class Argument:
    """The texts about an argument, and its spelling in a command."""

    label: str
    """The name in a form."""
    help: str
    """One sentence for the form, the command and the API."""
    option: str
    """The command's option; empty where it has the argument's name."""
    metavar: str
    """The placeholder for the value in the command's help."""
    option_help: str
    """The help of the command's option; empty where it is the same. An option turns off what is on by default."""


def about(label: str, text: str, *, option: str = "", metavar: str = "", option_help: str = "") -> msgspec.Meta:
    """Return the annotation of an argument: its label, its help text and its spelling in a command."""
    return msgspec.Meta(description=text, extra={"argument": Argument(label, text, option, metavar, option_help)})


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operation and its arguments."""

    name: ClassVar[str]
    scope: ClassVar[str] = "operate"
    """The scope that a token needs to start it."""
    admin_when: ClassVar[tuple[str, ...]] = ()
    """The arguments that, when they are true, make it need the scope `admin`."""
    takes_one_user: ClassVar[bool] = False
    """Whether its argument `user` limits it to the data of that user."""
    reads: ClassVar[tuple[Storage, ...]]
    writes: ClassVar[tuple[Storage, ...]] = ()
    """What it writes, beside the ledger and a backup before it."""
    keeps_files: ClassVar[bool] = False
    """Whether it creates files under ORB_BACKUP_DIR, which count towards the quota of a token."""
    only: Annotated[tuple[str, ...] | None, about("Domains", "The domains that it is about.")] = None

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

    def run(self, place: Place) -> Report:
        """Call the operation with these arguments."""
        raise NotImplementedError

    @classmethod
    def arguments(cls) -> dict[str, tuple[msgspec.structs.FieldInfo, Argument]]:
        """Return each argument with its texts, by its name in JSON."""
        return {field.encode_name: (field, _argument_of(field)) for field in msgspec.structs.fields(cls)}


def _argument_of(field: msgspec.structs.FieldInfo) -> Argument:
    found = [meta.extra["argument"] for meta in get_args(field.type)[1:] if meta.extra and "argument" in meta.extra]
    if len(found) != 1:
        raise TypeError(f"the argument {field.name} has no texts; annotate it with about()")
    argument: Argument = found[0]
    return argument


def type_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return the plain type of an argument, such as bool, without its annotations."""
    return get_args(field.type)[0]


_LOOKS, _ACTS = "dry_run", "apply"


def can_look(kind: type[Request]) -> bool:
    """Tell whether an operation has a preview."""
    return bool({_LOOKS, _ACTS} & set(kind.__struct_fields__))


def looking(kind: type[Request], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for the preview of an operation."""
    kept = {name: value for name, value in arguments.items() if name not in (_LOOKS, _ACTS)}
    return kept | ({_LOOKS: True} if _LOOKS in kind.__struct_fields__ else {})


def acting(kind: type[Request], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that carry the operation out."""
    kept = {name: value for name, value in arguments.items() if name not in (_LOOKS, _ACTS)}
    return kept | ({_ACTS: True} if _ACTS in kind.__struct_fields__ else {})


def is_look(kind: type[Request], arguments: dict[str, Any]) -> bool:
    """Tell whether these arguments ask for a preview."""
    return can_look(kind) and arguments == looking(kind, arguments)
