"""Each operation is declared once: commands, forms, the API and the Python functions agree with the declaration."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from msgspec import NODEFAULT

from orbsite.admin.jobs.forms import ArgumentsForm
from orbsite.api.operations import OFFERED
from orbsite.management.operation_command import OperationCommand
from orbsite.models.jobs import OPERATIONS as PERMITTED
from orbsite.operations.jobs import catalog
from orbsite.operations.jobs.parameters import Request

DOCUMENT = Path(__file__).parents[3] / "docs/openapi.json"
COMMANDS = [
    command
    for name, app in get_commands().items()
    if app == "orbsite" and isinstance(command := load_command_class(app, name), OperationCommand)
]
BY_BUTTON = {"dry_run", "apply"}


def test_every_operation_has_a_permission_and_says_something_about_each_argument() -> None:
    assert set(catalog.OPERATIONS) == set(PERMITTED)
    for kind in catalog.OPERATIONS.values():
        for field, told in kind.arguments().values():
            assert told.label, field
            assert told.help.endswith("."), field


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.operation.name)
def test_a_command_has_an_option_for_each_argument(command: OperationCommand) -> None:
    options = {one.dest: one for one in command.create_parser("manage.py", "x")._actions}
    for name, (field, told) in command.operation.arguments().items():
        option = options[name if name in options else told.option[2:].replace("-", "_") or f"no_{name}"]
        assert option.help
        if name != "only" and field.default is not NODEFAULT and not isinstance(field.default, bool):
            assert option.default == (list(field.default) if isinstance(field.default, tuple) else field.default)
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(
    ("command", "operation", "names"),
    [
        ("compact_orb_files", catalog.Compact, ("dry_run", "force", "trust_clock")),
        ("create_orb_backup", catalog.Backup, ("label",)),
        ("export_orb_files", catalog.Export, ("user",)),
        ("import_orb_database", catalog.Import, ("dry_run", "backup")),
        ("run_orb_maintenance", catalog.Maintain, ("trust_clock",)),
    ],
)
def test_a_command_with_options_of_its_own_shares_those_of_the_declaration(
    command: str, operation: type[Request], names: tuple[str, ...]
) -> None:
    options = {one.dest: one for one in load_command_class("orbsite", command).create_parser("manage.py", "x")._actions}
    for name in names:
        field, told = operation.arguments()[name]
        option = options[f"no_{name}" if field.default is True else name]
        text = told.option_help or told.help
        assert (option.help or "").lower() == text.removesuffix(".").lower()
        assert option.metavar == (told.metavar or None)
        assert option.default == (False if isinstance(field.default, bool) else field.default)


@pytest.mark.django_db
def test_a_form_has_a_field_for_each_argument() -> None:
    for kind in catalog.OPERATIONS.values():
        form = ArgumentsForm(kind)
        assert set(form.fields) - {"file"} == set(kind.arguments()) - BY_BUTTON, kind
        for name, field in form.fields.items():
            if name in kind.arguments():
                assert (field.label, field.help_text) == tuple(_told(kind, name)), (kind, name)


def _told(kind: Any, name: str) -> list[str]:
    told = kind.arguments()[name][1]
    return [told.label, told.help]


def test_the_document_of_the_api_says_the_same_of_each_argument() -> None:
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    for name in OFFERED:
        kind = catalog.OPERATIONS[name]
        properties = schemas[f"{kind.__name__}Arguments"]["properties"]
        for argument, (_, told) in kind.arguments().items():
            first, *rest = argument.split("_")
            shown = properties[first + "".join(word.capitalize() for word in rest)]
            assert argument == "only" or shown["description"] == told.help


@pytest.mark.parametrize("name", ["migrate", "rollback", "compact", "sanitize", "index", "trim"])
def test_a_python_function_has_the_defaults_of_the_declaration(name: str) -> None:
    kind = catalog.OPERATIONS["compact" if name == "trim" else name]
    parameters = inspect.signature(getattr(catalog, name)).parameters
    shared = {field.name: field for field, _ in kind.arguments().values() if field.name in parameters}
    assert shared
    for parameter, field in shared.items():
        if field.default is not NODEFAULT and parameters[parameter].default is not inspect.Parameter.empty:
            assert parameters[parameter].default == field.default, parameter
