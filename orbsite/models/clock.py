"""What maintenance knows of the clock."""

from __future__ import annotations

from django.db import models


class Clock(models.Model):
    """What maintenance knows of the clock, and on which day it last did what is done once a day."""

    trusted = models.DateTimeField(help_text="The last moment that is believed.")
    since = models.DateTimeField(null=True, help_text="Since when the clock has gone on from a jump.")
    seen = models.DateTimeField(null=True, help_text="The last moment after the jump.")
    day = models.DateField(null=True)

    class Meta:
        db_table = "orb_clock"

    def __str__(self) -> str:
        return f"trusted until {self.trusted}"
