"""Servers for comparison with the API: settings, URLs and views, without tokens, middleware or checks.

They return the user's reflections from the same table: a DRF ListAPIView with a ModelSerializer, a plain Django view
with raw SQL that returns the same bytes as the API, and a plain Django view that inserts the same row as a save.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec

from orbsite.settings import *  # noqa: F403
from orbsite.storage.base import cursor as cursors
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.encoding.timestamps import spell

ROOT_URLCONF = "benchmarks.peers"
MIDDLEWARE = []
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None, "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]}
COLUMNS = ("id", "user_id", "session_id", "input", "output", "tags", "notes", "created_at")
NAMES = ("userId", "id", "input", "output", "tags", "notes", "createdAt", "sessionId")
MOST = 100
_LATEST = (
    "SELECT user_id, id, input, output, tags, notes, created_at, session_id FROM te_reflections "
    f"WHERE user_id = %s ORDER BY created_at DESC, id DESC LIMIT {MOST + 1}"
)
_INSERT = (
    f"INSERT INTO te_reflections ({', '.join(COLUMNS)}, digest, run_id, extra, position) "
    f"VALUES ({', '.join(['%s'] * len(COLUMNS))}, %s, NULL, NULL, NULL)"
)


def _bare(request: Any, user: str) -> Any:  # noqa: ARG001 -- Django's signature
    from django.db import connection
    from django.http import HttpResponse

    with connection.cursor() as cursor:
        cursor.execute(_LATEST, [user])
        rows = cursor.fetchall()
    shown = [_shown(row) for row in rows[:MOST]]
    body = msgspec.json.encode({"items": shown, "next": _next(user, rows[MOST - 1]) if len(rows) > MOST else None})
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    found = {name: value for name, value in zip(NAMES, row, strict=True) if value is not None}
    if isinstance(found["tags"], str):
        found["tags"] = msgspec.json.decode(found["tags"])
    found["createdAt"] = spell(_aware(found["createdAt"]))
    return found


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _next(user: str, row: tuple[Any, ...]) -> str:
    cursor = cursors.encode((_aware(row[6]), row[1], row[0]), _conditions(user))
    return f"/api/v1/users/{user}/reflections?cursor={cursor}"


@cache
def _conditions(user: str) -> str:
    conditions = {"kind": "reflections", "user_id": user, "tag": None, "text": None, "times": [None, None]}
    return sha256(canonical(conditions)).hexdigest()[:16]


def _insert(request: Any, user: str) -> Any:
    from django.db import connection, transaction
    from django.http import HttpResponse

    given = msgspec.json.decode(request.body)
    name, now = str(uuid4()), datetime.now(UTC)
    moment = connection.ops.adapt_datetimefield_value(now)
    row = [name, user, "default", given["input"], given["output"], json.dumps(given["tags"]), None, moment]
    digest = sha256(request.body).hexdigest()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_INSERT, [*row, digest])
    shown = {"id": name, "createdAt": now, **given}
    return HttpResponse(msgspec.json.encode(shown), content_type="application/json", status=201)


def _views() -> list[Any]:
    from django.urls import path
    from rest_framework.generics import ListAPIView
    from rest_framework.serializers import ModelSerializer

    from te.models import ReflectionRow

    class Serializer(ModelSerializer[Any]):
        class Meta:
            model = ReflectionRow
            fields = COLUMNS

    class Latest(ListAPIView[Any]):
        serializer_class = Serializer

        def get_queryset(self) -> Any:
            rows = ReflectionRow.objects.filter(user_id=self.kwargs["user"])
            return rows.order_by("-created_at", "-id")[:100]

    return [
        path("drf/<user>", Latest.as_view()),
        path("bare/<user>", _bare),
        path("insert/<user>", _insert),
    ]


def __getattr__(name: str) -> Any:
    """Return the URL patterns, which need the apps to be loaded."""
    if name == "urlpatterns":
        return _views()
    raise AttributeError(name)
