"""Rows name the run that wrote them by its uid, which no other database's runs have."""

from typing import Any

from django.db import migrations
from django.db.models import OuterRef, Subquery

MODELS = ("ReflectionRow",)


def name_by_uid(apps: Any, schema_editor: Any) -> None:
    _rename(apps, schema_editor, "pk", "uid")


def name_by_pk(apps: Any, schema_editor: Any) -> None:
    _rename(apps, schema_editor, "uid", "pk")


def _rename(apps: Any, schema_editor: Any, old: str, new: str) -> None:
    """Name runs by another of their numbers; a run that this ledger does not know becomes NULL."""
    alias = schema_editor.connection.alias
    run = apps.get_model("orbsite", "Run").objects.using(alias).filter(**{old: OuterRef("run_id")})
    for name in MODELS:
        rows = apps.get_model("te", name).objects.using(alias)
        rows.exclude(run_id=None).update(run_id=Subquery(run.values(new)[:1]))


class Migration(migrations.Migration):
    dependencies = [
        ("te", "0001_initial"),
        ("orbsite", "0014_run_uid"),
    ]

    operations = [
        migrations.RunPython(name_by_uid, name_by_pk),
    ]
