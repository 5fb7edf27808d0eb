"""The search index: the words of records, in a table beside theirs. It is updated later and can always be rebuilt."""

from __future__ import annotations

from django.db import models

from orbsite.storage.sql.models import KeyField


class Words(models.Model):
    """The words of one record. Where `digest` is not the record's, the words are out of date.

    A migration of this table also has to migrate the search structures that Django does not manage: the FTS5 table with
    its triggers in SQLite, the column `vector` and its index in PostgreSQL.
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
            # The user comes first: there are few kinds with many rows each, and a search must not scan a whole kind.
            models.UniqueConstraint(fields=["user_id", "key", "kind"], name="orb_words_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.user_id} {self.key}"


class WordsPass(models.Model):
    """How far the records of a kind have been compared with their words. The next pass continues there."""

    kind = models.CharField(max_length=40, primary_key=True)
    after = models.TextField(blank=True, default="", help_text="The last user and key, as JSON; empty at an end.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When all had been looked at the last time.")

    class Meta:
        db_table = "orb_words_passes"
        verbose_name_plural = "words passes"

    def __str__(self) -> str:
        return self.kind
