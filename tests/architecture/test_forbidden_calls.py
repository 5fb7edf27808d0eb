"""What no code of ours does: SQL by hand through the ORM, reading what may run, shells, calls to elsewhere, open doors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).parents[2]
SOURCES = [path for name in ("orbsite", "luna", "te") for path in sorted((ROOT / name).rglob("*.py"))]
TEMPLATES = [path for name in ("orbsite", "luna", "te") for path in sorted((ROOT / name).rglob("*.html"))]
MODULES = re.compile(
    r"(pickle|marshal|shelve|dill|joblib|yaml|xml|lxml|csv"  # reads what may run, or needs rules that we do not have
    r"|http\.client|http\.server|urllib\.request|urllib3|requests|httpx|aiohttp|smtplib|ftplib|xmlrpc|socketserver|ssl"
    r"|rest_framework\.(authtoken|serializers)|knox|corsheaders|django\.core\.(mail|serializers))(\.|$)"
)
CALLS = {
    "raw",
    "extra",
    "RawSQL",
    "eval",
    "exec",
    "compile",
    "__import__",
    "system",
    "popen",
    "mark_safe",
    "csrf_exempt",
}
ALLOWED = {
    # around a view that is guarded all the same: a body that is too large is refused before anything reads it
    "orbsite/admin/jobs/views.py": {"csrf_exempt"},
    "orbsite/client/transport.py": {"http.client", "ssl"},  # the client, which is no part of the server
    "orbsite/client/client.py": {"ssl"},
    "orbsite/operations/migration/prepared.py": {
        "marshal"
    },  # rows, from a fork of the same process, by a pipe of its own
    # notifications, which are off by default: to the addresses in the settings alone, without texts of users
    "orbsite/operations/monitoring/channels.py": {
        *("django.core.mail", "django.core.mail.EmailMessage", "http.client", "smtplib", "ssl"),
    },
    "orbsite/runtime/gunicorn_worker.py": {"socket.SHUT_WR", "socket.socket"},  # connections that clients opened
}
SPOILED = {
    "import pickle": "pickle",
    "from yaml import load": "yaml",
    "import csv as c": "csv",
    "from urllib.request import urlopen": "urllib.request",
    "from django.db.models import expressions\nexpressions.RawSQL('1', [])": "RawSQL",
    "Row.objects.raw('SELECT 1')": "raw",
    "Row.objects.filter(a=1).extra(where=['1'])": "extra",
    "eval('1')": "eval",
    "import os\nos.system('ls')": "system",
    "from rest_framework.authtoken.models import Token": "rest_framework.authtoken.models",
    "from rest_framework import serializers": "rest_framework.serializers",
    "subprocess.run('ls', shell=True)": "shell",
    "socket.create_connection(('example.org', 80))": "socket.create_connection",
    "class A:\n    fields = '__all__'": "__all__",
    "class A:\n    exclude = ('secret',)": "exclude",
    "class A:\n    exclude: list[str] = []": "exclude",
    "@csrf_exempt\ndef view(request): ...": "csrf_exempt",
    "mark_safe(text)": "mark_safe",
}


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _named(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _uses(node: ast.AST) -> Iterator[str]:
    yield from (name for name in _imported(node) if MODULES.match(name))
    if isinstance(node, ast.Call):
        is_builtin = isinstance(node.func, ast.Name)
        yield from {_named(node.func)} & CALLS - (set() if is_builtin else {"compile"})
        yield from (one.arg for one in node.keywords if one.arg == "shell")
    if isinstance(node, ast.Attribute) and _named(node.value) == "socket" and node.attr != "gethostname":
        yield f"socket.{node.attr}"
    if isinstance(node, ast.FunctionDef):
        yield from {_named(one) for one in node.decorator_list} & CALLS
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            targets = (
                line.targets
                if isinstance(line, ast.Assign)
                else [line.target]
                if isinstance(line, ast.AnnAssign)
                else []
            )
            yield from {_named(one) for one in targets} & {"exclude"}
            if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant) and line.value.value == "__all__":
                yield "__all__"


def _banned(text: str) -> set[str]:
    return {one for node in ast.walk(ast.parse(text)) for one in _uses(node)}


def test_nothing_that_is_banned_is_used() -> None:
    assert len(SOURCES) > 200
    found = {str(path.relative_to(ROOT)): used for path in SOURCES if (used := _banned(path.read_text()))}
    assert found == ALLOWED


@pytest.mark.parametrize("text", SPOILED)
def test_what_is_banned_is_found(text: str) -> None:
    assert SPOILED[text] in _banned(text)
    assert (
        _banned("import re\nfrom orbsite.operations import requests\nre.compile('x')\nlogger.info('x', extra={})")
        == set()
    )


def test_templates_escape_everything_and_hold_no_scripts() -> None:
    assert TEMPLATES
    for path in TEMPLATES:
        found = re.findall(
            r"\|\s*safe|autoescape|<script(?! src=)|<style|style=|\son\w+=|javascript:|://", path.read_text()
        )
        assert found == [], path


def test_no_app_that_keeps_plain_tokens_or_opens_the_door_to_other_sites_is_installed() -> None:
    assert not [name for name in settings.INSTALLED_APPS if MODULES.match(name)]
    assert not [name for name in settings.MIDDLEWARE if MODULES.match(name)]
    assert settings.SESSION_SERIALIZER.endswith("JSONSerializer")
