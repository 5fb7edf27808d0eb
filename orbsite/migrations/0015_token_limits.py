"""Jobs know the token and the request that started them."""

from typing import Any
import django.db.models.deletion
import orbsite.tokens
from django.db import migrations, models


def name_tokens(apps: Any, schema_editor: Any) -> None:
    """Give the jobs of tokens, which had only their text, their token; the queue has had all of them."""
    job, alias = apps.get_model("orbsite", "Job"), schema_editor.connection.alias
    job.objects.using(alias).update(enqueued_at=models.F("created_at"))
    for token in apps.get_model("orbsite", "Token").objects.using(alias).only("pk", "prefix"):
        job.objects.using(alias).filter(actor=f"token {token.prefix}").update(token=token)


class Migration(migrations.Migration):

    dependencies = [
        ('orbsite', '0014_run_uid'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='attempt',
            field=models.UUIDField(help_text='The request that started it: sent again, it finds this job.', null=True, unique=True),
        ),
        migrations.AddField(
            model_name='job',
            name='enqueued_at',
            field=models.DateTimeField(help_text="When the workers' queue took it; empty: not yet.", null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='fingerprint',
            field=models.CharField(blank=True, help_text='Of its operation, arguments and owner: equal jobs that wait are one.', max_length=64),
        ),
        migrations.AddField(
            model_name='job',
            name='token',
            field=models.ForeignKey(db_index=False, help_text='The token that started it, if one did.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='jobs', to='orbsite.token'),
        ),
        migrations.AlterField(
            model_name='token',
            name='every_user',
            field=models.BooleanField(default=False, help_text='Whether it is for the data of every user. Work over the whole store needs this.'),
        ),
        migrations.AlterField(
            model_name='token',
            name='scopes',
            field=models.JSONField(default=list, help_text='"read" reads records and exports users. "write" reads and changes records. "operate" starts checks, backups, exports and compaction, follows its jobs, and reads figures. "admin" does all of that; also erases users, migrates, rolls back and forces compaction.', validators=[orbsite.tokens.check_scopes]),
        ),
        migrations.AlterField(
            model_name='token',
            name='users',
            field=models.JSONField(blank=True, default=list, help_text='Whose data it is for, such as ["ana"]. It may start work that concerns these users alone.', validators=[orbsite.tokens.check_users]),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['token', 'created_at'], name='orb_jobs_of_token'),
        ),
        migrations.AddConstraint(
            model_name='job',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'queued'), models.Q(('fingerprint', ''), _negated=True)), fields=('fingerprint',), name='orb_jobs_waiting_once'),
        ),
        # last, for PostgreSQL changes no table that has updates to check
        migrations.RunPython(name_tokens, migrations.RunPython.noop, elidable=True),
    ]
