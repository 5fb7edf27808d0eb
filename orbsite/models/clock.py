"""The state of the clock, as maintenance last saw it."""

from __future__ import annotations

from django.db import models


class Clock(models.Model):
    """The state of the clock, and the day of the last daily tasks, as maintenance last saved them."""

    trusted = models.DateTimeField(help_text="The last moment that is believed.")
    since = models.DateTimeField(null=True, help_text="Since when the clock has gone on from a jump.")
    seen = models.DateTimeField(null=True, help_text="The last moment after the jump.")
    day = models.DateField(null=True)

    class Meta:
        db_table = "orb_clock"

    def __str__(self) -> str:
        return f"trusted until {self.trusted}"
