"""Makes docs/permissions.md of what the views and operations declare.

python -m tests.api.permission_table
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.serving import ROOT

PAGE = ROOT / "docs/permissions.md"
DOCUMENT = ROOT / "docs/openapi.json"
SCOPES = ("read", "write", "operate", "admin")
REACHES = ("own", "other", "every")
"""Whom a token is for: some users, of whom the data is one's; some users, of whom it is not; every user."""
YES = "yes"
START = "/api/v1/operations/"
_PLACES = {"user": "ana", "mode": "mars", "reflection": "r", "session": "s", "job": "1", "bulk": "1"}
_TEXT = """# Who may do what

What a token may do over HTTP follows from its **scopes**, which say what it may do, and its **reach**, which says for whose data.
People who sign in to the console have permissions of their own, see [console.md](console.md).

| scope | lets a token |
|---|---|
{scopes}

A token is for some users (`--user ana`, repeated), or for every user (`--every-user`); one that is for no user can do nothing with
data. `admin` contains the other scopes, and does not widen the reach: with the users `["ana"]` it erases ana, and nobody else.

`make permissions` makes this page from the code; tests hold it to the code, and try each cell.

## Requests

*own*: the token is for some users, and the request is about one of them, or about a job that this token has started for one of them.
*other*: the token is for some users, and the request is about another one, or about another token's job. *every*: the token is for
every user. A cell says `yes`, or the status of the refusal. No token, or one that is expired or revoked, is answered 401 everywhere.
404 says that there is nothing that this token may see, whether there is something or not.

| request | with | {heads} |
|---|---|{rules}|
{lines}

`/metrics` tells a token of some users how the service is, and a token of every user also how many records and jobs there are. A token
of some users that has started work for them may follow and cancel it, and nothing else that is a job.

## Operations

What each operation declares. It is about every user, unless it is limited to one; those that the API does not offer are started in the
console and by commands.

| operation | scope | needs `admin` with | can be limited to one user | API |
|---|---|---|---|---|
{operations}

## Limits of a token

Equal operations of one token are one job while it waits: the answer shows that job, with the header `Job-Already-Queued: true`. An
`Idempotency-Key` makes one job, though the process dies before it has answered. A request beyond a limit is answered 429 with the type
`urn:orb:problem:quota-exceeded`, a detail that names the setting, and `Retry-After`.

| setting | limit | default |
|---|---|---|
| `ORB_TOKEN_MAX_OPEN_JOBS` | jobs of a token that wait or run | 20 |
| `ORB_TOKEN_MAX_JOBS_PER_DAY` | jobs that a token starts within 24 hours | 1000 |
| `ORB_TOKEN_MAX_BYTES` | bytes under `ORB_BACKUP_DIR` that its exports and backups occupy, while they are there | 10 GiB |

`none` is no limit. Exports of jobs are removed after `ORB_KEEP_EXPORTS_DAYS` (30) by maintenance.
"""


@dataclass(frozen=True)
class Line:
    """One request, with the arguments that change what it needs."""

    method: str
    path: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.method} {self.path} {' '.join(self.arguments)}".strip()

    @property
    def operation(self) -> str | None:
        """The operation that it starts."""
        from orbsite.api.operations import OFFERED

        name = self.path.removeprefix(START)
        return name if self.method == "POST" and name in OFFERED else None

    @property
    def view(self) -> Any:
        """The class that answers."""
        from django.urls import resolve

        return resolve(self.path.format(**_PLACES)).func.view_class  # type: ignore[attr-defined]

    def answer(self, scope: str, reach: str) -> str:
        """Return what the declarations say of a token."""
        from orbsite.models.api_tokens import SCOPES as HELD

        needed, needs_every_user, names_user = self.needs()
        if "{user}" in self.path and reach == "other":
            return "404"
        if needed not in HELD[scope] or (needs_every_user and reach != "every") or (names_user and reach == "other"):
            return "403"
        return "404" if "{job}" in self.path and reach == "other" else YES

    def needs(self) -> tuple[str, bool, bool]:
        """Return the scope that is declared, whether the reach is every user, and whether a user is named."""
        from orbsite.operations.jobs.catalog import OPERATIONS

        if self.operation is None:
            return self.view.scopes[self.method], self.view.needs_every_user, False
        kind = OPERATIONS[self.operation]
        names_user = kind.takes_one_user and "user" in self.arguments
        scope = "admin" if set(self.arguments) & set(kind.admin_when) else kind.scope
        return scope, not names_user, names_user


def lines() -> list[Line]:
    """Return every request of the API, and each form of those that start an operation."""
    told = json.loads(DOCUMENT.read_text())["paths"]
    found = [
        Line(method.upper(), path) for path, methods in told.items() for method in methods if method != "parameters"
    ]
    return [form for line in found for form in _forms(line)]


def _forms(line: Line) -> Iterator[Line]:
    from orbsite.operations.jobs.catalog import OPERATIONS

    yield line
    if line.operation is not None:
        kind = OPERATIONS[line.operation]
        user = (
            tuple(name for name in ("policy", "user") if name in kind.__struct_fields__) if kind.takes_one_user else ()
        )
        for with_user in ((), user) if user else ((),):
            for more in ((), *((name,) for name in kind.admin_when)):
                if with_user or more:
                    yield Line(line.method, line.path, (*with_user, *more))


def page() -> str:
    """Return the page."""
    from orbsite.api.operations import OFFERED
    from orbsite.models.api_tokens import SCOPE_MEANINGS
    from orbsite.operations.jobs.catalog import OPERATIONS

    columns = [(scope, reach) for scope in SCOPES for reach in REACHES]
    operations = [
        _row(
            f"`{name}`",
            f"`{kind.scope}`",
            ", ".join(f"`{one}`" for one in kind.admin_when),
            "yes" if kind.takes_one_user else "",
            "yes" if name in OFFERED else "",
        )
        for name, kind in OPERATIONS.items()
    ]
    return _TEXT.format(
        scopes="\n".join(_row(f"`{scope}`", meaning) for scope, meaning in SCOPE_MEANINGS.items()),
        heads=" | ".join(f"{scope}, {reach}" for scope, reach in columns),
        rules="|".join("---" for _ in columns),
        lines="\n".join(
            _row(f"`{line.method} {line.path}`", _arguments(line), *(line.answer(*column) for column in columns))
            for line in lines()
        ),
        operations="\n".join(operations),
    )


def cells() -> dict[tuple[str, str, str], str]:
    """Return what the page, as it was last written, says of each request, scope and reach."""
    told = {}
    for text in PAGE.read_text().splitlines():
        parts = [part.strip(" `") for part in text.strip("|").split("|")]
        if len(parts) == 2 + len(SCOPES) * len(REACHES) and "/" in parts[0]:
            request = f"{parts[0]} {parts[1].replace('`', '').replace(',', '')}".strip()
            answers = iter(parts[2:])
            told.update({(request, scope, reach): next(answers) for scope in SCOPES for reach in REACHES})
    return told


def _arguments(line: Line) -> str:
    return ", ".join(f"`{name}`" for name in line.arguments)


def _row(*parts: str) -> str:
    return f"| {' | '.join(parts)} |"


def main() -> None:
    import django

    django.setup()
    Path(PAGE).write_text(page())


if __name__ == "__main__":
    main()
