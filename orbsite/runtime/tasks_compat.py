"""Django's Tasks framework: Django's own from version 6 on, the package that brings it to 5.2 before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

__all__ = ["task"]
