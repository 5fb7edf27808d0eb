"""The erasure list in the database: a salted hash of each erased user's id, and the time of the erasure."""

from __future__ import annotations

from django.db import models


class Erasure(models.Model):
    """One erasure. Rows are only added, and a restore keeps them."""

    salt = models.CharField(max_length=64, help_text="The random salt of the hash, in hex.")
    digest = models.CharField(max_length=64, help_text="HMAC-SHA256 of the user's id under the salt, in hex.")
    at = models.DateTimeField(help_text="What was saved up to then is erased; what is saved later is new.")

    class Meta:
        db_table = "orb_erasures"
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["salt", "digest", "at"], name="orb_erasures_once")]

    def __str__(self) -> str:
        return f"erasure {self.pk}"
