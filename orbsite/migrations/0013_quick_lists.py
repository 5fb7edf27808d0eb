"""Lists are filtered and ordered by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0012_words"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="event",
            options={"ordering": ["-at", "-id"]},
        ),
        migrations.RemoveIndex(
            model_name="event",
            name="orb_audit_act",
        ),
        migrations.AlterField(
            model_name="event",
            name="at",
            field=models.DateTimeField(),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["at", "id"], name="orb_audit_at"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["act", "at", "id"], name="orb_audit_of_act"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["actor", "at", "id"], name="orb_audit_actor"),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(fields=["subject", "at", "id"], name="orb_audit_subject"),
        ),
        migrations.AddIndex(
            model_name="reject",
            index=models.Index(fields=["domain", "id"], name="orb_rejects_domain"),
        ),
    ]
