"""Lists are filtered and ordered by an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("luna", "0001_initial"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="activemoderow",
            index=models.Index(fields=["mode_id", "user_id"], name="luna_active_modes_mode"),
        ),
        migrations.AddIndex(
            model_name="profilerow",
            index=models.Index(fields=["mode_id", "user_id"], name="luna_profiles_mode"),
        ),
    ]
