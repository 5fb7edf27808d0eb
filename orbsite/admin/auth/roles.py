"""Two groups that are ready: who runs this, and who looks at it. Each migration makes them what this says.

Somebody with other rights goes into a group of another name.
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
_LOOKED_AT = ("run", "change", "reject", "growth", "retentionpolicy", "policyrun", "job")
_SEALED = ("event", "token")
"""What operators alone may look at; tokens are made and taken away by whoever manages who may do what."""
_KEPT_UP = ("retentionpolicy",)


def keep(*, app_config: AppConfig, using: str, apps: Any = everything, **_others: Any) -> None:
    """Give the two groups their permissions, once those of an app are there; a handler of `post_migrate`."""
    if app_config.label not in {_OURS, *_labels()} or not router.allow_migrate_model(using, Group):
        return
    try:
        apps.get_model("auth", "Group")
    except LookupError:  # they are not there yet
        return
    create_permissions(app_config, verbosity=0, interactive=False, using=using, apps=apps)
    for name, wanted in ((OPERATOR, set(_of_operators())), (VIEWER, set(_of_viewers()))):
        labels = {label for label, _ in wanted}
        there = Permission.objects.using(using).filter(content_type__app_label__in=labels)
        known = there.values_list("pk", "content_type__app_label", "codename")
        group = Group.objects.using(using).get_or_create(name=name)[0]
        group.permissions.set([key for key, label, codename in known if (label, codename) in wanted])


def _of_operators() -> Iterator[tuple[str, str]]:
    yield from _of_viewers()
    yield from ((_OURS, f"view_{name}") for name in _SEALED)
    yield _OURS, "change_token"  # to revoke them
    yield from ((_OURS, f"start_{name}") for name in OPERATIONS)
    yield from ((_OURS, f"{verb}_{name}") for name in _KEPT_UP for verb in ("add", "change", "delete"))
    yield from ((label, f"{verb}_{name}") for label, name in _records() for verb in ("add", "change", "delete"))


def _of_viewers() -> Iterator[tuple[str, str]]:
    yield from ((_OURS, f"view_{name}") for name in _LOOKED_AT)
    yield from ((label, f"view_{name}") for label, name in _records())


def _records() -> list[tuple[str, str]]:
    models = [model for domain in registered() for model in domain.models.values()]
    return [(model._meta.app_label, str(model._meta.model_name)) for model in models]


def _labels() -> set[str]:
    return {label for label, _ in _records()}
