"""The sections of the console's menu, by what people do, whichever package a page comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.urls import reverse

from orbsite.storage.records.domain import registered

OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the menu: its pages of models by label, each with one line of explanation."""

    name: str
    pages: dict[str, str]
    views: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Pages without a model: the title and the explanation, by the name of the URL pattern."""


SECTIONS = (
    Section(
        "Memory",
        {
            "luna.profilerow": "What each user prefers in each mode",
            "luna.activemoderow": "The mode that each user is in",
            "te.reflectionrow": "What the assistant noted after each run",
        },
        {
            "users": ("Users", "Everything of one user on one page"),
            "removed": ("Removed", "Records that can be restored, by the run that removed them"),
        },
    ),
    Section(
        "Operations",
        {
            "orbsite.job": "Operations that wait, run, or have ended",
            "orbsite.bulkmigration": "Data directories that are migrated together",
            "orbsite.bulkdirectory": "The state of each of these directories, and its run",
            "orbsite.run": "Each operation that wrote, with what it did and how to undo it",
            "orbsite.change": "Records that a run replaced or removed, as they were",
            "orbsite.reject": "Items of a source that could not be taken, with the reason",
            "orbsite.growth": "The number of records and their size, day by day",
            "django_tasks_database.dbtaskresult": "What the workers have been given to do",
        },
        {
            "operations": ("Start an operation", "Migrate, verify, back up, export, compact and more"),
            "trends": (
                "Trends",
                "When the disk is full, what retention does, how far a cut-over is, who reads and saves",
            ),
        },
    ),
    Section(
        "Retention",
        {
            "orbsite.retentionpolicy": "Which records are kept, and when the others go",
            "orbsite.policyrun": "When each policy was applied, and what it removed",
        },
    ),
    Section(
        "Access",
        {
            "auth.user": "People who may use this console",
            "auth.group": "Roles: what a group of people may do",
            "orbsite.token": "Keys for programs that use the API",
            "axes.accesslog": "Who signed in and out, when and from where",
            "axes.accessattempt": "Wrong passwords that count towards a lock",
            "axes.accessfailurelog": "All failed attempts to sign in",
            "orbsite.event": "Who changed access, settings or data, and when",
        },
    ),
)
NAMES = {
    "django_tasks_database.dbtaskresult": "Queue",
    "axes.accesslog": "Sign-ins",
    "axes.accessattempt": "Recent wrong passwords",
    "axes.accessfailurelog": "Failed sign-ins",
    "auth.user": "People",
    "auth.group": "Roles",
    "orbsite.event": "Audit log",
}
"""Titles in the menu that say more than the name of the model."""
APPS = {
    "auth": "Access",
    "axes": "Access",
    "otp_totp": "Access",
    "django_tasks_database": "Operations",
    "orbsite": "Operations",
    "luna": "Memory",
    "te": "Memory",
}
"""The names of apps in titles and paths of pages: the sections in which they are."""


def grouped(listed: Sequence[dict[str, Any]], views: Sequence[str]) -> list[dict[str, Any]]:
    """Return Django's list of apps as sections, with those pages without a model that the user may open.

    Models of domains without a place of their own are in the first section; other unknown models come last.
    """
    found = {model["model"]._meta.label_lower: model for app in listed for model in app["models"]}
    own = {model._meta.label_lower for domain in registered() for model in domain.models.values()}
    placed = {label for section in SECTIONS for label in section.pages}
    sections = []
    for at, section in enumerate(SECTIONS):
        pages = [_page(found[label], label, about) for label, about in section.pages.items() if label in found]
        if not at:
            pages += [_page(model, label, "") for label, model in found.items() if label in own - placed]
        pages += [_view(name, *section.views[name]) for name in views if name in section.views]
        sections.append((section.name, pages))
    rest = [_page(model, label, "") for label, model in found.items() if label not in placed | own]
    return [_section(name, pages) for name, pages in [*sections, (OTHER, rest)] if pages]


def name_apps() -> None:
    """Give the apps the names of their sections, which Django shows in titles and paths of pages."""
    for label, name in APPS.items():
        if label in apps.app_configs:
            apps.app_configs[label].verbose_name = name


def _page(model: dict[str, Any], label: str, about: str) -> dict[str, Any]:
    return {**model, "name": NAMES.get(label, model["name"]), "about": about}


def _view(name: str, title: str, about: str) -> dict[str, Any]:
    address = reverse(f"admin:{name}")
    return {
        "name": title,
        "object_name": name,
        "admin_url": address,
        "add_url": None,
        "view_only": True,
        "perms": {"add": False, "change": False, "delete": False, "view": True},
        "about": about,
    }


def _section(name: str, pages: list[dict[str, Any]]) -> dict[str, Any]:
    label = name.lower()
    return {
        "name": name,
        "app_label": label,
        "app_url": f"{reverse('admin:index')}#{label}",
        "has_module_perms": True,
        "models": pages,
    }
