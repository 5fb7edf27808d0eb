"""Statistics of the stores: their growth, the progress of a cut-over, and how much clients use them."""

from __future__ import annotations

from django.db import models


class Growth(models.Model):
    """The record counts and the size of a store on one day."""

    day = models.DateField(help_text="In UTC.")
    domain = models.CharField(max_length=40)
    store = models.CharField(max_length=6)
    counts = models.JSONField(default=dict, help_text="Users, records and the like, by name.")
    size = models.BigIntegerField(help_text="Bytes.")
    noted_at = models.DateTimeField()
    details = models.JSONField(
        null=True, editable=False, help_text="What the dashboard shows; of the newest row alone."
    )

    class Meta:
        db_table = "orb_growth"
        ordering = ["-day", "domain", "store"]
        verbose_name_plural = "growth"
        constraints = [models.UniqueConstraint(fields=["domain", "store", "day"], name="orb_growth_once")]

    def __str__(self) -> str:
        return f"{self.domain} in {self.store} on {self.day}"


class CutoverProgress(models.Model):
    """How many users of a domain were equal in the files and in SQL on one day."""

    day = models.DateField(help_text="In UTC.")
    domain = models.CharField(max_length=40)
    counts = models.JSONField(default=dict, help_text="Users and their records, by where they are.")
    noted_at = models.DateTimeField()

    class Meta:
        db_table = "orb_cutover"
        ordering = ["-day", "domain"]
        verbose_name_plural = "cutover progress"
        constraints = [models.UniqueConstraint(fields=["domain", "day"], name="orb_cutover_once")]

    def __str__(self) -> str:
        return f"{self.domain} on {self.day}"


class HourlyUse(models.Model):
    """How many requests of one client read and saved records in one hour."""

    hour = models.DateTimeField(help_text="When it began, in UTC.")
    client = models.CharField(max_length=120, help_text="The name and the prefix of the token.")
    reads = models.PositiveBigIntegerField(default=0)
    saves = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "orb_hourly_use"
        ordering = ["-hour", "client"]
        verbose_name_plural = "hourly use"
        constraints = [models.UniqueConstraint(fields=["hour", "client"], name="orb_hourly_use_once")]

    def __str__(self) -> str:
        return f"{self.client} at {self.hour}"
