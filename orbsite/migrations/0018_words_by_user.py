from typing import Any

from django.db import migrations, models

# SQLite's table is remade for a new constraint, which takes its triggers away; the words and their index stay.
TRIGGERS = {
    "orb_words_added": "AFTER INSERT ON orb_words BEGIN "
    "INSERT INTO orb_words_index(rowid, words) VALUES (new.id, new.words); END",
    "orb_words_removed": "AFTER DELETE ON orb_words BEGIN "
    "INSERT INTO orb_words_index(orb_words_index, rowid, words) VALUES ('delete', old.id, old.words); END",
    "orb_words_changed": "AFTER UPDATE ON orb_words BEGIN "
    "INSERT INTO orb_words_index(orb_words_index, rowid, words) VALUES ('delete', old.id, old.words); "
    "INSERT INTO orb_words_index(rowid, words) VALUES (new.id, new.words); END",
}


def drop_triggers(apps: Any, schema_editor: Any) -> None:
    for name in TRIGGERS if schema_editor.connection.vendor == "sqlite" else ():
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}", params=None)


def make_triggers(apps: Any, schema_editor: Any) -> None:
    for name, rest in TRIGGERS.items() if schema_editor.connection.vendor == "sqlite" else ():
        schema_editor.execute(f"CREATE TRIGGER {name} {rest}", params=None)


def begin_passes_anew(apps: Any, schema_editor: Any) -> None:
    """Forget where passes were left: the place of a record has its user in it now."""
    apps.get_model("orbsite", "WordsPass").objects.using(schema_editor.connection.alias).update(after="")


class Migration(migrations.Migration):
    dependencies = [("orbsite", "0016_answer_body_digest")]

    operations = [
        migrations.RunPython(drop_triggers, make_triggers),
        migrations.RunPython(begin_passes_anew, begin_passes_anew),
        migrations.RemoveIndex("words", "orb_words_user"),
        migrations.RemoveConstraint("words", "orb_words_once"),
        migrations.AddConstraint(
            "words", models.UniqueConstraint(fields=["user_id", "key", "kind"], name="orb_words_once")
        ),
        migrations.AlterField(
            "wordspass",
            "after",
            models.TextField(blank=True, default="", help_text="The last user and key, as JSON; empty at an end."),
        ),
        migrations.RunPython(make_triggers, drop_triggers),
    ]
