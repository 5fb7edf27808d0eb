from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orbsite", "0008_console"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="so_far",
            field=models.JSONField(help_text="What it has told while it ran.", null=True),
        ),
        migrations.AddField(
            model_name="job",
            name="samples",
            field=models.JSONField(help_text="Records before and after, for those who may see the rows.", null=True),
        ),
    ]
