"""Imports Django's Tasks framework: from Django 6 on its own, for Django 5.2 from the package `django_tasks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import task
else:
    try:
        from django_tasks import task
    except ModuleNotFoundError as problem:
        raise ImproperlyConfigured(
            "Django 5.2 has no Tasks framework; run: pip install 'orb-persistence[django52]'"
        ) from problem

__all__ = ["task"]
