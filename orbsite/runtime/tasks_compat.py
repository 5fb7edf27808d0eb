"""Imports Django's Tasks framework: from Django 6 on its own, for Django 5.2 from the package `django_tasks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django

if TYPE_CHECKING or django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

__all__ = ["task"]
