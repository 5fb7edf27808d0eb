"""Commands whose options come from the declaration of an operation."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar, get_origin

from msgspec import NODEFAULT
from msgspec.structs import FieldInfo
from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.jobs.parameters import Argument, Place, Request, RowNumber, type_of
from orbsite.operations.report import Report
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import Domain

_NUMBERS: dict[Any, type[int] | type[float]] = {int: int, int | None: int, RowNumber | None: int, float: float}
"""What parses the value of an option, by the type of its argument; others are texts."""


class OperationCommand(OrbCommand):
    """A command whose options, beside those of every command, are the arguments that its operation declares."""

    operation: ClassVar[type[Request]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add an option for each argument of the operation."""
        super().add_arguments(parser)
        add_options(parser, self.operation, *self._offered())

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        return self.request(options).run(self.place(progress, options))

    def request(self, options: dict[str, Any]) -> Request:
        """Return the operation with the arguments that the options name. Raises OrbError where they do not fit."""
        offered = self._offered().items()
        arguments = {field.name: _value_of(name, field, told, options) for name, (field, told) in offered}
        only = None if options["only"] is None else tuple(options["only"])
        try:
            return self.operation(**arguments, only=only)
        except ValueError as problem:
            raise OrbError(f"these options do not fit: {problem}") from problem

    def place(self, progress: Meter, options: dict[str, Any]) -> Place:
        """Return where the operation runs."""
        base = self.base(options) if self.reads_files else app_settings.data_directory()
        return Place(utc_now, progress, base, app_settings.backup_directory())

    def _offered(self) -> dict[str, tuple[FieldInfo, Argument]]:
        return {name: one for name, one in self.operation.arguments().items() if name != "only"}


def add_options(parser: ArgumentParser, operation: type[Request], *names: str) -> None:
    """Add an option for each named argument of an operation."""
    arguments = operation.arguments()
    for name in names:
        _add_option(parser, name, *arguments[name])


def _add_option(parser: ArgumentParser, name: str, field: FieldInfo, told: Argument) -> None:
    option, kind = _option(name, field, told), type_of(field)
    text = _lower(told.option_help or told.help)
    if kind is bool:
        parser.add_argument(option, action="store_true", help=text)
        return
    is_list = get_origin(kind) is tuple
    how: dict[str, Any] = {"action": "append"} if is_list else {"type": _NUMBERS.get(kind, str)}
    if field.default is not NODEFAULT:
        how["default"] = list(field.default) if is_list else field.default
    shown = " (default: %(default)g)" if kind is float else ""
    parser.add_argument(option, metavar=told.metavar, help=f"{text}{shown}", **how)


def _option(name: str, field: FieldInfo, told: Argument) -> str:
    dashed = name.replace("_", "-")
    return told.option or (f"--no-{dashed}" if field.default is True else f"--{dashed}")


def _value_of(name: str, field: FieldInfo, told: Argument, options: dict[str, Any]) -> Any:
    value = options[_option(name, field, told).removeprefix("--").replace("-", "_")]
    if isinstance(value, list):
        return tuple(value)
    return not value if field.default is True else value


def _lower(sentence: str) -> str:
    """Return a sentence in the style of argparse: in lower case, without its full stop."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")
