from typing import Any

import orbsite.storage.rows
from django.db import migrations, models

# FTS5 keeps no copy of the words, only the index; triggers keep it in step with the table, whoever writes to that.
SQLITE = (
    "CREATE VIRTUAL TABLE orb_words_index USING fts5(words, content='orb_words', content_rowid='id', tokenize='ascii', "
    "prefix='2 3', detail=none, columnsize=0)",
    "CREATE TRIGGER orb_words_added AFTER INSERT ON orb_words BEGIN "
    "INSERT INTO orb_words_index(rowid, words) VALUES (new.id, new.words); END",
    "CREATE TRIGGER orb_words_removed AFTER DELETE ON orb_words BEGIN "
    "INSERT INTO orb_words_index(orb_words_index, rowid, words) VALUES ('delete', old.id, old.words); END",
    "CREATE TRIGGER orb_words_changed AFTER UPDATE ON orb_words BEGIN "
    "INSERT INTO orb_words_index(orb_words_index, rowid, words) VALUES ('delete', old.id, old.words); "
    "INSERT INTO orb_words_index(rowid, words) VALUES (new.id, new.words); END",
)
# Positions are left out: phrases are looked for in the words themselves, and PostgreSQL keeps few positions of a word.
POSTGRESQL = (
    "ALTER TABLE orb_words ADD COLUMN vector tsvector "
    "GENERATED ALWAYS AS (array_to_tsvector(string_to_array(btrim(words), ' '))) STORED",
    "CREATE INDEX orb_words_index ON orb_words USING gin (vector)",
)
NOT_ANY_MORE = {"sqlite": ("DROP TABLE orb_words_index",), "postgresql": ("ALTER TABLE orb_words DROP COLUMN vector",)}


def add_index(apps: Any, schema_editor: Any) -> None:
    for statement in {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


def remove_index(apps: Any, schema_editor: Any) -> None:
    for statement in NOT_ANY_MORE[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0011_history"),
    ]

    operations = [
        migrations.CreateModel(
            name="WordsPass",
            fields=[
                ("kind", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "after",
                    models.TextField(
                        blank=True, default="", help_text="The last key that was looked at; empty at an end."
                    ),
                ),
                (
                    "ended_at",
                    models.DateTimeField(blank=True, help_text="When all had been looked at the last time.", null=True),
                ),
            ],
            options={
                "verbose_name_plural": "words passes",
                "db_table": "orb_words_passes",
            },
        ),
        migrations.CreateModel(
            name="Words",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40)),
                ("key", orbsite.storage.rows.KeyField(max_length=255)),
                ("user_id", orbsite.storage.rows.KeyField(max_length=255)),
                ("digest", models.CharField(max_length=64)),
                ("words", models.TextField(help_text="Folded, with a space around each, and a bar between two texts.")),
            ],
            options={
                "verbose_name_plural": "words",
                "db_table": "orb_words",
                "indexes": [models.Index(fields=["user_id"], name="orb_words_user")],
                "constraints": [models.UniqueConstraint(fields=("key", "kind"), name="orb_words_once")],
            },
        ),
        migrations.RunPython(add_index, remove_index),
    ]
