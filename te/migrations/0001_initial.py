import django.db.models.functions.text
import django.db.models.lookups
import orbsite.storage.sql.constraints
import orbsite.storage.sql.models
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ReflectionRow",
            fields=[
                ("run_id", models.BigIntegerField(editable=False, null=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                (
                    "extra",
                    orbsite.storage.sql.models.JSONColumn(
                        blank=True,
                        decoder=orbsite.storage.sql.models.StoredJSON,
                        help_text="Keys of the record that this version does not know.",
                        null=True,
                    ),
                ),
                ("position", models.IntegerField(editable=False, null=True)),
                ("id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("user_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("session_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("input", models.TextField(blank=True)),
                ("output", models.TextField(blank=True)),
                (
                    "tags",
                    orbsite.storage.sql.models.JSONColumn(
                        blank=True, decoder=orbsite.storage.sql.models.StoredJSON, default=list
                    ),
                ),
                ("notes", models.TextField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                ("row_id", models.BigAutoField(primary_key=True, serialize=False)),
            ],
            options={
                "verbose_name": "reflection",
                "db_table": "te_reflections",
                "indexes": [
                    models.Index(fields=["user_id", "created_at", "id"], name="te_reflections_user"),
                    models.Index(fields=["session_id", "created_at", "id", "user_id"], name="te_reflections_session"),
                    models.Index(fields=["created_at", "id", "user_id"], name="te_reflections_oldest"),
                    models.Index(fields=["id"], name="te_reflections_id"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "id"), name="te_reflections_key"),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("id")), 255
                            ),
                        ),
                        name="te_reflections_id_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("user_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("user_id")), 255
                            ),
                        ),
                        name="te_reflections_user_id_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("session_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("session_id")), 255
                            ),
                        ),
                        name="te_reflections_session_id_length",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("id")), 0
                            )
                        ),
                        name="te_reflections_id_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("user_id")), 0
                            )
                        ),
                        name="te_reflections_user_id_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("session_id")), 0
                            )
                        ),
                        name="te_reflections_session_id_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("input")), 0
                            )
                        ),
                        name="te_reflections_input_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("output")), 0
                            )
                        ),
                        name="te_reflections_output_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("notes")), 0
                            )
                        ),
                        name="te_reflections_notes_no_nul",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.JsonType(models.F("tags")), "array"
                            )
                        ),
                        name="te_reflections_tags_list",
                    ),
                ],
            },
        ),
    ]
