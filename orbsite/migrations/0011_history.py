"""A record's history is found by its key, without a cost for the tombstones of retention."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0010_dashboard"),
    ]

    operations = [
        migrations.AlterField(
            model_name="change",
            name="actor",
            field=models.TextField(blank=True, default="", help_text="Who wanted it."),
        ),
        migrations.AlterField(
            model_name="change",
            name="at",
            field=models.DateTimeField(
                blank=True, help_text="When retention removed it; else its run says when.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="change",
            name="reason",
            field=models.TextField(blank=True, default="", help_text="Why; empty for what was replaced."),
        ),
        migrations.AddIndex(
            model_name="change",
            index=models.Index(condition=models.Q(("at", None)), fields=["key"], name="orb_changes_history"),
        ),
    ]
