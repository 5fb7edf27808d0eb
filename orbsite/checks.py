"""What `manage.py check` finds out about this project."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from orbsite import conf
from orbsite.storage.domain import registered
from orbsite.storage.rows import columns


@register("orb")
def check_columns(**_: Any) -> list[CheckMessage]:
    """Each record's fields are the fields of its table."""
    return [
        Error(
            f"the table {model._meta.db_table} lacks a column for {', '.join(sorted(missing))} of {kind.__name__}",
            hint="Give the model the fields of its record.",
            id="orb.E001",
        )
        for domain in registered()
        for kind, model in domain.models.items()
        if (missing := set(columns(kind)) - {field.name for field in model._meta.get_fields()})
    ]


@register("orb")
def check_persistence(**_: Any) -> list[CheckMessage]:
    """ORB_PERSISTENCE names a store."""
    try:
        conf.persistence()
    except ImproperlyConfigured as problem:
        return [Error(str(problem), id="orb.E002")]
    return []
