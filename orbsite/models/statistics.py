"""Daily statistics of the stores."""

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
