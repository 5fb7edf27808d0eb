"""No page names a package that this project uses: people read what a page is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django_tasks_db.models import DBTaskResult

from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.operations.jobs import catalog
from orbsite.storage.clock import utc_now
from tests.admin.starting import confirm

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
NAMES = re.compile(
    r"\b(?:axes|django\w*|otp_totp|whitenoise|gunicorn|msgspec|chart\.js|rest framework|drf|spectacular"
    r"|tasks database backend|db ?task ?results?|database task)\b",
    re.IGNORECASE,
)
_SPOKEN = re.compile(r'\b(?:title|aria-label|placeholder|alt|value)="([^"]*)"')
_SCRIPT = re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL)


@pytest.fixture(autouse=True)
def _rows(settings: Any, files: Path) -> None:
    settings.ORB_DATA_DIR = files
    Run.objects.create(operation="migrate", state="complete", started_at=utc_now())
    Job.objects.create(operation="verify", state="done", created_at=utc_now())
    known = {"username": "ada", "ip_address": "10.0.0.1"}
    AccessLog.objects.create(**known)
    AccessFailureLog.objects.create(**known)
    AccessAttempt.objects.create(**known, failures_since_start=1)
    DBTaskResult.objects.create(task_path="a.b", args_kwargs={"args": [], "kwargs": {}}, backend_name="default")


def pages() -> Iterator[str]:
    """Yield the address of each page that has no argument, of one row of each model, and of each operation."""
    yield from (reverse(f"admin:{name}") for name in ("index", "operations", "trends", "removed", "password_change"))
    yield from (reverse("admin:operation", args=[name]) for name in catalog.OPERATIONS)
    for model in admin.site._registry:
        meta = model._meta
        name = f"admin:{meta.app_label}_{meta.model_name}"
        yield reverse(f"{name}_changelist")
        yield reverse(f"{name}_add")
        yield reverse("admin:app_list", args=[meta.app_label])
        row = model._base_manager.first()
        if row is not None:
            for page in ("change", "delete", "history"):
                try:
                    yield reverse(f"{name}_{page}", args=[row.pk])
                except NoReverseMatch:
                    continue


def spoken(body: str) -> str:
    """Return what a page shows or reads aloud."""
    without = _SCRIPT.sub(" ", body)
    return unescape(" ".join([re.sub(r"<[^>]*>", " ", without), *_SPOKEN.findall(without)]))


def test_no_page_names_a_library(admin_client: Client) -> None:
    confirm(admin_client)
    seen, found = 0, set[str]()
    for address in dict.fromkeys(pages()):
        answer = admin_client.get(address)
        if answer.status_code == 200:
            seen += 1
            text = spoken(answer.content.decode())
            found |= {f"{address}: …{text[max(0, one.start() - 40) : one.end() + 40]}…" for one in NAMES.finditer(text)}
    assert seen > 60
    assert not found, "\n".join(sorted(" ".join(one.split()) for one in found))
