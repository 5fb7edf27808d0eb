from typing import Any

import django.core.validators
import django.db.models.deletion
import orbsite.models.api_tokens
import orbsite.models.ledger
import orbsite.storage.sql.models
from django.db import migrations, models

# FTS5 stores the index alone, without a copy of the words. Triggers update it at every change of the table.
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
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Clock",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("trusted", models.DateTimeField(help_text="The last moment that is believed.")),
                ("since", models.DateTimeField(help_text="Since when the clock has gone on from a jump.", null=True)),
                ("seen", models.DateTimeField(help_text="The last moment after the jump.", null=True)),
                ("day", models.DateField(null=True)),
            ],
            options={
                "db_table": "orb_clock",
            },
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(help_text="What it is for.", max_length=100)),
                (
                    "prefix",
                    models.CharField(
                        editable=False, help_text="Tells tokens apart; no secret.", max_length=8, unique=True
                    ),
                ),
                ("digest", models.CharField(editable=False, help_text="SHA-256 of its secret.", max_length=64)),
                (
                    "scopes",
                    models.JSONField(
                        default=list,
                        help_text='"read" reads records and exports users. "write" reads and changes records. "operate" starts checks, backups, exports and compaction, follows its jobs, and reads figures. "admin" does all of that; also erases users, migrates, rolls back and forces compaction.',
                        validators=[orbsite.models.api_tokens.check_scopes],
                    ),
                ),
                (
                    "users",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text='Whose data it is for, such as ["ana"]. It may start work that concerns these users alone.',
                        validators=[orbsite.models.api_tokens.check_users],
                    ),
                ),
                (
                    "every_user",
                    models.BooleanField(
                        default=False,
                        help_text="Whether it is for the data of every user. Work over the whole store needs this.",
                    ),
                ),
                ("expires_at", models.DateTimeField(blank=True, help_text="Empty: never.", null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, help_text="To the minute.", null=True)),
                ("created_at", models.DateTimeField(editable=False)),
                ("created_by", models.CharField(blank=True, editable=False, max_length=255)),
            ],
            options={
                "db_table": "orb_tokens",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="WordsPass",
            fields=[
                ("kind", models.CharField(max_length=40, primary_key=True, serialize=False)),
                (
                    "after",
                    models.TextField(
                        blank=True, default="", help_text="The last user and key, as JSON; empty at an end."
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
                    models.DateTimeField(help_text="What was saved up to then is erased; what is saved later is new."),
                ),
            ],
            options={
                "db_table": "orb_erasures",
                "ordering": ["id"],
                "constraints": [models.UniqueConstraint(fields=("salt", "digest", "at"), name="orb_erasures_once")],
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("actor", models.TextField(help_text="Who did it, as they sign in.")),
                ("act", models.CharField(help_text="Such as export, erase, rollback, revoke.", max_length=40)),
                ("subject", models.TextField(blank=True, help_text="To what, by its id.")),
                ("facts", models.JSONField(default=dict, help_text="Numbers, ids and arguments.")),
                ("address", models.TextField(blank=True, help_text="The address that the request came from.")),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "orb_audit",
                "ordering": ["-at", "-id"],
                "indexes": [
                    models.Index(fields=["at", "id"], name="orb_audit_at"),
                    models.Index(fields=["act", "at", "id"], name="orb_audit_of_act"),
                    models.Index(fields=["actor", "at", "id"], name="orb_audit_actor"),
                    models.Index(fields=["subject", "at", "id"], name="orb_audit_subject"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Growth",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField(help_text="In UTC.")),
                ("domain", models.CharField(max_length=40)),
                ("store", models.CharField(max_length=6)),
                ("counts", models.JSONField(default=dict, help_text="Users, records and the like, by name.")),
                ("size", models.BigIntegerField(help_text="Bytes.")),
                ("noted_at", models.DateTimeField()),
                (
                    "details",
                    models.JSONField(
                        editable=False, help_text="What the dashboard shows; of the newest row alone.", null=True
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "growth",
                "db_table": "orb_growth",
                "ordering": ["-day", "domain", "store"],
                "constraints": [models.UniqueConstraint(fields=("domain", "store", "day"), name="orb_growth_once")],
            },
        ),
        migrations.CreateModel(
            name="RetentionPolicy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("domain", models.CharField(max_length=40)),
                (
                    "store",
                    models.CharField(
                        choices=[("sql", "SQL tables"), ("file", "files under ORB_DATA_DIR")],
                        default="sql",
                        max_length=4,
                    ),
                ),
                (
                    "rules",
                    models.JSONField(default=dict, help_text='Such as {"max_age_days": 90, "max_per_session": 1000}.'),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "force",
                    models.BooleanField(default=False, help_text="Let a run remove more than a fifth of the records."),
                ),
                (
                    "every",
                    models.PositiveIntegerField(
                        default=86400,
                        help_text="Seconds from one run to the next; 86400 is a day.",
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                ("next_due", models.DateTimeField(blank=True, help_text="Empty: at the next maintenance.", null=True)),
                ("claimed_by", models.CharField(blank=True, editable=False, max_length=100)),
                ("claimed_at", models.DateTimeField(editable=False, null=True)),
                ("heartbeat", models.DateTimeField(editable=False, null=True)),
                ("last_started", models.DateTimeField(editable=False, null=True)),
                ("last_finished", models.DateTimeField(editable=False, null=True)),
                (
                    "last_state",
                    models.CharField(
                        blank=True,
                        choices=[("", "never run"), ("running", "Running"), ("done", "Done"), ("failed", "Failed")],
                        default="",
                        editable=False,
                        max_length=7,
                    ),
                ),
                ("last_result", models.JSONField(editable=False, null=True)),
                ("last_error", models.TextField(blank=True, editable=False)),
            ],
            options={
                "verbose_name_plural": "retention policies",
                "db_table": "orb_policies",
                "ordering": ["name"],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("every__gte", 1)), name="orb_policies_every")
                ],
            },
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("operation", models.CharField(max_length=40)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("complete", "Complete"),
                            ("interrupted", "Interrupted"),
                            ("failed", "Failed"),
                            ("rolled back", "Rolled Back"),
                        ],
                        default="running",
                        max_length=12,
                    ),
                ),
                ("source", models.TextField(blank=True)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("counts", models.JSONField(default=dict)),
                (
                    "cursor",
                    models.JSONField(default=dict, help_text="How many entries of each domain it has dealt with."),
                ),
                (
                    "source_digest",
                    models.CharField(blank=True, help_text="SHA-256 of everything that it reads.", max_length=64),
                ),
                ("verification", models.JSONField(blank=True, null=True)),
                ("backup", models.TextField(blank=True, help_text="Where files and database were kept before it.")),
                ("sources", models.JSONField(default=dict, help_text="SHA-256 of each domain's part of the source.")),
                ("uid", models.BigIntegerField(default=orbsite.models.ledger.new_uid, editable=False, unique=True)),
                (
                    "reverts",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reverted_by",
                        to="orbsite.run",
                    ),
                ),
            ],
            options={
                "db_table": "orb_runs",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Reject",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("domain", models.CharField(max_length=40)),
                ("kind", models.CharField(max_length=40)),
                ("path", models.TextField()),
                ("reason", models.TextField()),
                ("original", models.TextField(help_text="Its JSON, as it was read.")),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="rejects", to="orbsite.run"
                    ),
                ),
                (
                    "settled_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="settled",
                        to="orbsite.run",
                    ),
                ),
                (
                    "owner",
                    models.TextField(blank=True, default="", help_text="The user whose it is, where that can be told."),
                ),
            ],
            options={
                "db_table": "orb_rejects",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("domain", models.CharField(max_length=40)),
                ("kind", models.CharField(max_length=40)),
                ("key", models.TextField(help_text="The record's key, as a JSON list.")),
                ("before", models.TextField(help_text="What was replaced, as a step of a journal.")),
                (
                    "before_run",
                    models.BigIntegerField(
                        help_text="The uid of the run that had written what was replaced.", null=True
                    ),
                ),
                ("before_position", models.IntegerField(null=True)),
                (
                    "after",
                    models.CharField(
                        help_text="The digest of what the run left, or, of what it removed, the one that the row had.",
                        max_length=64,
                    ),
                ),
                ("actor", models.TextField(blank=True, default="", help_text="Who wanted it.")),
                (
                    "at",
                    models.DateTimeField(
                        blank=True, help_text="When retention removed it; else its run says when.", null=True
                    ),
                ),
                ("reason", models.TextField(blank=True, default="", help_text="Why; empty for what was replaced.")),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="changes",
                        to="orbsite.run",
                    ),
                ),
            ],
            options={
                "db_table": "orb_changes",
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("operation", models.CharField(max_length=40)),
                ("arguments", models.JSONField(blank=True, default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=9,
                    ),
                ),
                ("progress", models.PositiveBigIntegerField(default=0)),
                ("expected", models.PositiveBigIntegerField(null=True)),
                ("wants_to_stop", models.BooleanField(default=False)),
                ("result", models.JSONField(null=True)),
                ("error", models.TextField(blank=True)),
                ("actor", models.CharField(blank=True, help_text="Who started it.", max_length=255)),
                ("worker", models.CharField(blank=True, max_length=100)),
                ("heartbeat", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("so_far", models.JSONField(help_text="What it has told while it ran.", null=True)),
                (
                    "samples",
                    models.JSONField(help_text="Records before and after, for those who may see the rows.", null=True),
                ),
                (
                    "attempt",
                    models.UUIDField(
                        help_text="The request that started it: sent again, it finds this job.", null=True, unique=True
                    ),
                ),
                (
                    "enqueued_at",
                    models.DateTimeField(help_text="When the workers' queue took it; empty: not yet.", null=True),
                ),
                (
                    "fingerprint",
                    models.CharField(
                        blank=True,
                        help_text="Of its operation, arguments and owner: equal jobs that wait are one.",
                        max_length=64,
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        db_index=False,
                        help_text="The token that started it, if one did.",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="jobs",
                        to="orbsite.token",
                    ),
                ),
            ],
            options={
                "db_table": "orb_jobs",
                "ordering": ["-id"],
                "permissions": [
                    ("start_migrate", "May start: migrate"),
                    ("start_verify", "May start: verify"),
                    ("start_rollback", "May start: rollback"),
                    ("start_validate", "May start: validate"),
                    ("start_sanitize", "May start: sanitize"),
                    ("start_upgrade-files", "May start: upgrade-files"),
                    ("start_upgrade-rows", "May start: upgrade-rows"),
                    ("start_check", "May start: check"),
                    ("start_repair", "May start: repair"),
                    ("start_compact", "May start: compact"),
                    ("start_cleanup", "May start: cleanup"),
                    ("start_export", "May start: export"),
                    ("start_backup", "May start: backup"),
                    ("start_import", "May start: import"),
                    ("start_preview", "May start: preview"),
                    ("start_maintain", "May start: maintain"),
                    ("start_erase", "May start: erase"),
                    ("start_index", "May start: index"),
                    ("start_measure", "May start: measure"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Answer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=255)),
                ("user_id", models.TextField(blank=True, help_text="Whose data it is about.")),
                ("request", models.CharField(help_text="SHA-256 of address and body.", max_length=64)),
                ("began_at", models.DateTimeField()),
                (
                    "claimed_at",
                    models.DateTimeField(help_text="When somebody set to work on it; empty: nobody has.", null=True),
                ),
                ("claim", models.CharField(blank=True, help_text="Who.", max_length=32)),
                ("status", models.PositiveSmallIntegerField(null=True)),
                ("headers", models.JSONField(default=dict)),
                ("body", models.BinaryField(default=bytes)),
                (
                    "token",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="answers", to="orbsite.token"
                    ),
                ),
                (
                    "body_digest",
                    models.CharField(
                        blank=True,
                        help_text="SHA-256 of a large body, which is made again from the same request.",
                        max_length=64,
                    ),
                ),
            ],
            options={
                "db_table": "orb_answers",
            },
        ),
        migrations.CreateModel(
            name="Words",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=40)),
                ("key", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("user_id", orbsite.storage.sql.models.KeyField(max_length=255)),
                ("digest", models.CharField(max_length=64)),
                ("words", models.TextField(help_text="Folded, with a space around each, and a bar between two texts.")),
            ],
            options={
                "verbose_name_plural": "words",
                "db_table": "orb_words",
                "constraints": [models.UniqueConstraint(fields=("user_id", "key", "kind"), name="orb_words_once")],
            },
        ),
        migrations.CreateModel(
            name="PolicyRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("slot", models.DateTimeField(help_text="When it was due.")),
                (
                    "missed",
                    models.PositiveIntegerField(default=0, help_text="How many later due moments it stands for."),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("running", "Running"), ("done", "Done"), ("failed", "Failed")],
                        default="running",
                        max_length=7,
                    ),
                ),
                ("worker", models.CharField(max_length=100)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("result", models.JSONField(null=True)),
                ("error", models.TextField(blank=True)),
                (
                    "policy",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="runs", to="orbsite.retentionpolicy"
                    ),
                ),
            ],
            options={
                "db_table": "orb_policy_runs",
                "ordering": ["-id"],
                "constraints": [models.UniqueConstraint(fields=("policy", "slot"), name="orb_policy_runs_once")],
            },
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["operation", "id"], name="orb_runs_operation"),
        ),
        migrations.AddIndex(
            model_name="reject",
            index=models.Index(fields=["domain", "settled_by"], name="orb_rejects_open"),
        ),
        migrations.AddIndex(
            model_name="reject",
            index=models.Index(fields=["domain", "id"], name="orb_rejects_domain"),
        ),
        migrations.AddIndex(
            model_name="change",
            index=models.Index(condition=models.Q(("at", None)), fields=["key"], name="orb_changes_history"),
        ),
        migrations.AddConstraint(
            model_name="change",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reason", "")), fields=("run", "domain", "kind", "key"), name="orb_changes_once"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["state"], name="orb_jobs_state"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(fields=["token", "created_at"], name="orb_jobs_of_token"),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "queued"), models.Q(("fingerprint", ""), _negated=True)),
                fields=("fingerprint",),
                name="orb_jobs_waiting_once",
            ),
        ),
        migrations.AddIndex(
            model_name="answer",
            index=models.Index(fields=["began_at"], name="orb_answers_began"),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.UniqueConstraint(fields=("token", "key"), name="orb_answers_once"),
        ),
        migrations.RunPython(add_index, remove_index),
    ]
