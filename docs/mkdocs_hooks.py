"""A hook of MkDocs: inserts files, and what the code and the OpenAPI document tell, into the pages.

A page has a line `<!-- generated: NAME -->` in the place of a part, and `<!-- file: PATH -->`, in a block of Python
`# file: PATH`, in the place of a file. Raises KeyError for a name that is not in `PARTS`, and OSError.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from argparse import Action
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import django
from django.conf import settings
from django.core.management import load_command_class

ROOT = Path(__file__).parents[1]
OPENAPI = ROOT / "docs/openapi.json"
CLIENT_ERRORS = ROOT / "orbsite/client/errors.py"
COMMANDS = ROOT / "orbsite/management/commands"
_PART = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_FILE = re.compile(r"^( *)(?:<!--|#) file: (\S+)(?: -->)?$", re.MULTILINE)
_OF_DJANGO = {
    "help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks",
}  # fmt: skip


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the text of a page with its files and its generated parts."""
    with_files = _FILE.sub(lambda match: indent((ROOT / match[2]).read_text("utf-8").rstrip(), match[1]), markdown)
    return _PART.sub(lambda match: PARTS[match[1]](), with_files)


def operations() -> str:
    """Return a table of all operations of the API, and a sentence with the statuses that all of them have."""
    paths: dict[str, dict[str, Any]] = json.loads(OPENAPI.read_text("utf-8"))["paths"]
    every = [(f"{method.upper()} {path}", one) for path, methods in paths.items() for method, one in methods.items()]
    common = set.intersection(*(set(one["responses"]) for _, one in every))
    lines = [f"Every request may also be answered with {', '.join(sorted(common))}.", ""]
    lines += ["| request | effect | scope | answers |", "|---|---|---|---|"]
    lines += [
        f"| `{request}` | {_effect(one)} | {', '.join(sorted(one['responses'].keys() - common))} |"
        for request, one in every
    ]
    return "\n".join(lines)


def _effect(operation: dict[str, Any]) -> str:
    """Return the two cells with the description of an operation and with its scope."""
    text, _, scope = str(operation["description"]).partition("Scope: ")
    return f"{' '.join(text.split())} | {' '.join(scope.split()).rstrip('.')}"


def commands() -> str:
    """Return a section for each command of the project, with its options."""
    _configure()
    return "\n\n".join(_section(path.stem) for path in sorted(COMMANDS.glob("[a-z]*.py")) if path.stem != "migrate")


def _configure() -> None:
    """Configure Django for loading commands, unless that was done. The logging of MkDocs stays as it is."""
    if not settings.configured:
        sys.path.insert(0, str(ROOT))
        apps = ["django.contrib.contenttypes", "django.contrib.auth", "django_otp.plugins.otp_totp"]
        settings.configure(INSTALLED_APPS=[*apps, "orbsite", "luna", "te"], LOGGING_CONFIG=None, USE_TZ=True)
        django.setup()


def _section(name: str) -> str:
    command = load_command_class("orbsite", name)
    options = [one for one in command.create_parser("orb", name)._actions if one.dest not in _OF_DJANGO]
    return "\n".join([f"### {name}", "", _cell(command.help), "", *_table(options)])


def _table(options: list[Action]) -> Iterator[str]:
    if options:
        yield from ("| option | effect |", "|---|---|")
    for option in options:
        yield f"| `{_spelled(option)}` | {_cell(_help(option))} |"


def _spelled(option: Action) -> str:
    """Return the name of an option and its value, as argparse shows them."""
    choices = f"{{{','.join(map(str, option.choices))}}}" if option.choices else option.dest.upper()
    value = [] if option.nargs == 0 else [str(option.metavar or choices)]
    return " ".join([*option.option_strings[-1:], *value])


def _help(option: Action) -> str:
    return (option.help or "") % {"default": option.default, "dest": option.dest}


def _cell(text: str) -> str:
    """Return a text for a cell of a table, without characters that Markdown takes for its own."""
    return re.sub(r"([|<*_])", r"\\\1", " ".join(text.split()))


def client_errors() -> str:
    """Return the tree of the client's errors, which its module draws."""
    docstring = ast.get_docstring(ast.parse(CLIENT_ERRORS.read_text("utf-8"))) or ""
    _, _, tree = docstring.partition("\n\n")
    return f"```text\n{tree}\n```"


PARTS: dict[str, Callable[[], str]] = {
    "operations": operations, "commands": commands, "client_errors": client_errors,
}  # fmt: skip
