"""The words of records, by which they are searched: beside their tables, caught up later, and never their only copy."""

from __future__ import annotations

from django.db import models

from orbsite.storage.sql.models import KeyField


class Words(models.Model):
    """The words of one record as it was when they were read; `digest` tells whether it still is.

    A migration that changes this table has to see to what answers searches too, which is none of Django's: the table of
    FTS5 with its triggers, or the column `vector` and its index in PostgreSQL.
    """

    kind = models.CharField(max_length=40)
    key = KeyField()
    user_id = KeyField()
    digest = models.CharField(max_length=64)
    words = models.TextField(help_text="Folded, with a space around each, and a bar between two texts.")

    class Meta:
        db_table = "orb_words"
        verbose_name_plural = "words"
        constraints = [
            # the user first: few kinds have many rows each, and no search should go through all of one kind
            models.UniqueConstraint(fields=["user_id", "key", "kind"], name="orb_words_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.user_id} {self.key}"


class WordsPass(models.Model):
    """How far the records of a kind have been compared with their words, which goes on where it was left."""

    kind = models.CharField(max_length=40, primary_key=True)
    after = models.TextField(blank=True, default="", help_text="The last user and key, as JSON; empty at an end.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When all had been looked at the last time.")

    class Meta:
        db_table = "orb_words_passes"
        verbose_name_plural = "words passes"

    def __str__(self) -> str:
        return self.kind
