from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from orbsite import stores
from orbsite.models.api_tokens import Token, issue

MODES = ("sql",) if os.environ.get("ORB_TESTS_POOL_MODE") else ("memory", "file", "sql")


class Caller:
    """Somebody with a token, or without."""

    def __init__(self, token: str | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __call__(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str
    ) -> Any:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.client.generic(method, path, data, content_type=kind, headers=sent)

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self("POST", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self("PUT", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self("PATCH", path, body, kind="application/merge-patch+json", **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self("DELETE", path, **headers)


def make_token(*scopes: str, users: list[str] | None = None, **fields: Any) -> str:
    token = Token(name="for a test", scopes=list(scopes) or ["read", "write"], users=users or [], **fields)
    return issue(token, datetime.now(UTC))


@pytest.fixture
def token(db: None) -> Callable[..., str]:
    return make_token


@pytest.fixture
def ana(db: None) -> Caller:
    return Caller(make_token(users=["ana"]))


@pytest.fixture
def operator(db: None) -> Caller:
    return Caller(make_token("operate", every_user=True))


@pytest.fixture
def admin(db: None) -> Caller:
    return Caller(make_token("admin", every_user=True))


@pytest.fixture
def nobody(db: None) -> Caller:
    return Caller()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    stores._of_this_process.clear()
    cache.clear()
    yield
    stores._of_this_process.clear()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> str:
    settings.ORB_PERSISTENCE = request.param
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"
    return str(request.param)


def walked(caller: Caller, address: str, between: Callable[[], None] = lambda: None) -> list[list[Any]]:
    """Return the pages from an address on; something happens between them."""
    pages, following = [], address
    while following:
        answer = caller.get(following)
        assert answer.status_code == 200, answer.content
        page = answer.json()
        pages.append(page["items"])
        following = page["next"]
        assert answer.headers.get("Link") == (f'<{following}>; rel="next"' if following else None)
        between()
    return pages


def listed(caller: Caller, address: str) -> list[Any]:
    """Return the items of all pages from an address on."""
    return [item for page in walked(caller, address) for item in page]


def refused(answer: Any, status: int, name: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem, and return it."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content)
    assert body["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(body)
    assert body["instance"] == f"urn:uuid:{answer['X-Request-ID']}"
    if name:
        assert body["type"] == f"urn:orb:problem:{name}"
    return body
