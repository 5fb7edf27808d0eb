"""The two built-in groups: `operator` and `viewer`. Every `migrate` resets their permissions to the ones listed here.

For other permissions, create a group with another name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.apps import apps as everything
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import router

from orbsite.models.jobs import OPERATIONS
from orbsite.storage.records.domain import registered

OPERATOR, VIEWER = "operator", "viewer"

_OURS = "orbsite"
_VIEWED = (
    *("run", "change", "reject", "growth", "retentionpolicy", "policyrun", "job"),
    *("bulkmigration", "bulkdirectory"),
)
_OPERATOR_VIEWED = ("event", "token")
"""Models that only operators may view. Creating tokens needs a permission that no built-in group has."""
_EDITED = ("retentionpolicy",)


def keep(*, app_config: AppConfig, using: str, apps: Any = everything, **_others: Any) -> None:
    """Set the permissions of the two groups after an app has been migrated; a handler of `post_migrate`."""
    if app_config.label not in {_OURS, *_labels()} or not router.allow_migrate_model(using, Group):
        return
    try:
        apps.get_model("auth", "Group")
    except LookupError:  # `auth` has not been migrated yet
        return
    create_permissions(app_config, verbosity=0, interactive=False, using=using, apps=apps)
    for name, wanted in ((OPERATOR, set(_of_operators())), (VIEWER, set(_of_viewers()))):
        labels = {label for label, _ in wanted}
        permissions = Permission.objects.using(using).filter(content_type__app_label__in=labels)
        existing = permissions.values_list("pk", "content_type__app_label", "codename")
        group = Group.objects.using(using).get_or_create(name=name)[0]
        group.permissions.set([key for key, label, codename in existing if (label, codename) in wanted])


def _of_operators() -> Iterator[tuple[str, str]]:
    yield from _of_viewers()
    yield from ((_OURS, f"view_{name}") for name in _OPERATOR_VIEWED)
    yield _OURS, "change_token"  # allows revoking tokens
    yield from ((_OURS, f"start_{name}") for name in OPERATIONS)
    yield from ((_OURS, f"{verb}_{name}") for name in _EDITED for verb in ("add", "change", "delete"))
    yield from ((label, f"{verb}_{name}") for label, name in _records() for verb in ("add", "change", "delete"))


def _of_viewers() -> Iterator[tuple[str, str]]:
    yield from ((_OURS, f"view_{name}") for name in _VIEWED)
    yield from ((label, f"view_{name}") for label, name in _records())


def _records() -> list[tuple[str, str]]:
    models = [model for domain in registered() for model in domain.models.values()]
    return [(model._meta.app_label, str(model._meta.model_name)) for model in models]


def _labels() -> set[str]:
    return {label for label, _ in _records()}
