"""Names the tasks in the queue of the workers, whose package leaves them without a name."""

from __future__ import annotations

from typing import Any

from django.apps import apps


def _named(task: Any) -> str:
    return f"task {task.pk}"


if apps.is_installed("django_tasks_db"):
    apps.get_model("django_tasks_database", "DBTaskResult").add_to_class("__str__", _named)
