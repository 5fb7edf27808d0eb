"""Changes serve as tombstones too: who removed what, when and why."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0003_sources"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="change", name="orb_changes_once"),
        migrations.AddField(
            model_name="change",
            name="actor",
            field=models.TextField(blank=True, default="", help_text="Who wanted it removed."),
        ),
        migrations.AddField(
            model_name="change",
            name="at",
            field=models.DateTimeField(blank=True, help_text="When it was removed.", null=True),
        ),
        migrations.AddField(
            model_name="change",
            name="reason",
            field=models.TextField(
                blank=True, default="", help_text="Why it was removed; empty for what was replaced."
            ),
        ),
        migrations.AlterField(
            model_name="change",
            name="after",
            field=models.CharField(
                help_text="The digest of what the run left, or, of what it removed, the one that the row had.",
                max_length=64,
            ),
        ),
        migrations.AlterField(
            model_name="change",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="changes",
                to="orbsite.run",
            ),
        ),
        migrations.AddConstraint(
            model_name="change",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reason", "")),
                fields=("run", "domain", "kind", "key"),
                name="orb_changes_once",
            ),
        ),
    ]
