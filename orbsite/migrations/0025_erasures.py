from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0018_words_by_user"),
    ]

    operations = [
        migrations.CreateModel(
            name="Erasure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("salt", models.CharField(help_text="The random salt of the hash, in hex.", max_length=64)),
                (
                    "digest",
                    models.CharField(help_text="HMAC-SHA256 of the user's id under the salt, in hex.", max_length=64),
                ),
                (
                    "at",
                    models.DateTimeField(
                        help_text="What was saved up to then is erased; what is saved later is new."
                    ),
                ),
            ],
            options={
                "db_table": "orb_erasures",
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(fields=("salt", "digest", "at"), name="orb_erasures_once"),
                ],
            },
        ),
        migrations.AddField(
            model_name="reject",
            name="owner",
            field=models.TextField(blank=True, default="", help_text="The user whose it is, where that can be told."),
        ),
    ]
