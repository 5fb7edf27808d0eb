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
            name="ActiveModeRow",
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
                ("user_id", orbsite.storage.sql.models.KeyField(max_length=255, primary_key=True, serialize=False)),
                ("mode_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("updated_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "active mode",
                "db_table": "luna_active_modes",
                "indexes": [models.Index(fields=["mode_id", "user_id"], name="luna_active_modes_mode")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("user_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("user_id")), 255
                            ),
                        ),
                        name="luna_active_modes_user_id_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("mode_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("mode_id")), 255
                            ),
                        ),
                        name="luna_active_modes_mode_id_length",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("user_id")), 0
                            )
                        ),
                        name="luna_active_modes_user_id_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("mode_id")), 0
                            )
                        ),
                        name="luna_active_modes_mode_id_no_nul",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ProfileRow",
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
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("user_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("mode_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                (
                    "preferences",
                    orbsite.storage.sql.models.JSONColumn(
                        blank=True, decoder=orbsite.storage.sql.models.StoredJSON, default=list
                    ),
                ),
                (
                    "constraints",
                    orbsite.storage.sql.models.JSONColumn(
                        blank=True, decoder=orbsite.storage.sql.models.StoredJSON, default=list
                    ),
                ),
                ("updated_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "profile",
                "db_table": "luna_profiles",
                "indexes": [models.Index(fields=["mode_id", "user_id"], name="luna_profiles_mode")],
                "constraints": [
                    models.UniqueConstraint(fields=("user_id", "mode_id"), name="luna_profiles_key"),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("user_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("user_id")), 255
                            ),
                        ),
                        name="luna_profiles_user_id_length",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.GreaterThan(
                                django.db.models.functions.text.Length(models.F("mode_id")), 0
                            ),
                            django.db.models.lookups.LessThanOrEqual(
                                django.db.models.functions.text.Length(models.F("mode_id")), 255
                            ),
                        ),
                        name="luna_profiles_mode_id_length",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("user_id")), 0
                            )
                        ),
                        name="luna_profiles_user_id_no_nul",
                    ),
                    orbsite.storage.sql.constraints.SQLiteCheck(
                        condition=models.Q(
                            django.db.models.lookups.Exact(
                                orbsite.storage.sql.constraints.NulPosition(models.F("mode_id")), 0
                            )
                        ),
                        name="luna_profiles_mode_id_no_nul",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.In(
                                orbsite.storage.sql.constraints.JsonType(models.F("preferences")), ["array", "object"]
                            )
                        ),
                        name="luna_profiles_preferences_list_or_object",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            django.db.models.lookups.In(
                                orbsite.storage.sql.constraints.JsonType(models.F("constraints")), ["array", "object"]
                            )
                        ),
                        name="luna_profiles_constraints_list_or_object",
                    ),
                ],
            },
        ),
    ]
