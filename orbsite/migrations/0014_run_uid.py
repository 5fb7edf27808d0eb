"""Each run gets a number that no other database's runs have, and what rows were before a run names theirs by it."""

import secrets
from typing import Any

from django.db import migrations, models
from django.db.models import OuterRef, Subquery

import orbsite.models

BATCH = 1000


def number(apps: Any, schema_editor: Any) -> None:
    """Give each run its uid."""
    runs = apps.get_model("orbsite", "Run").objects.using(schema_editor.connection.alias)
    while batch := list(runs.filter(uid=None).order_by("pk").only("pk")[:BATCH]):
        for run in batch:
            run.uid = 1 << 62 | secrets.randbits(62)
        runs.bulk_update(batch, ["uid"])


def name_by_uid(apps: Any, schema_editor: Any) -> None:
    _rename(apps, schema_editor, "pk", "uid")


def name_by_pk(apps: Any, schema_editor: Any) -> None:
    _rename(apps, schema_editor, "uid", "pk")


def _rename(apps: Any, schema_editor: Any, old: str, new: str) -> None:
    """Name runs by another of their numbers; a run that this ledger does not know becomes NULL."""
    alias = schema_editor.connection.alias
    run = apps.get_model("orbsite", "Run").objects.using(alias).filter(**{old: OuterRef("before_run")})
    changes = apps.get_model("orbsite", "Change").objects.using(alias)
    changes.exclude(before_run=None).update(before_run=Subquery(run.values(new)[:1]))


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0013_quick_lists"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="uid",
            field=models.BigIntegerField(null=True, editable=False),
        ),
        migrations.RunPython(number, migrations.RunPython.noop),
        migrations.RunPython(name_by_uid, name_by_pk),
        migrations.AlterField(
            model_name="run",
            name="uid",
            field=models.BigIntegerField(default=orbsite.models.new_uid, editable=False, unique=True),
        ),
        migrations.AlterField(
            model_name="change",
            name="before_run",
            field=models.BigIntegerField(
                help_text="The uid of the run that had written what was replaced.", null=True
            ),
        ),
    ]
