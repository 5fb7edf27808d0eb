"""Stored responses to requests with an Idempotency-Key."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from typing_extensions import override

from orbsite.models.api_tokens import Token
from orbsite.models.sealed_text import UNOPENED, SealedModel, open_text, seal_text

KEPT = timedelta(days=1)
"""How long a response is stored."""


class Answer(SealedModel):
    """The stored response to a request with an Idempotency-Key. A repeated request gets the same response."""

    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="answers")
    key = models.CharField(max_length=255)
    user_id = models.TextField(blank=True, help_text="Whose data it is about.")
    request = models.CharField(max_length=64, help_text="SHA-256 of address and body.")
    began_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True, help_text="When somebody set to work on it; empty: nobody has.")
    claim = models.CharField(max_length=32, blank=True, help_text="Who.")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=bytes)
    body_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of a large body, which is made again from the same request."
    )

    class Meta:
        db_table = "orb_answers"
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="orb_answers_once")]
        indexes = [models.Index(fields=["began_at"], name="orb_answers_began")]

    def __str__(self) -> str:
        return f"answer {self.pk}"

    @override
    def sealed_place(self) -> tuple[str, str]:
        return self.user_id[:255], f"answers|{self.token_id}|{self.key}"

    def stored_body(self, body: bytes) -> bytes:
        """Return a body as the database stores it. In the caller's transaction. Raises KeyUnavailable."""
        return seal_text(self, body.decode()).encode()

    def opened_body(self) -> bytes | None:
        """Return the stored body, None if it cannot be opened. Raises KeyUnavailable."""
        text = open_text(self, bytes(self.body).decode())
        return None if text in UNOPENED else text.encode()


def forget(now: datetime) -> int:
    """Delete the expired responses and return their number."""
    return Answer.objects.filter(began_at__lt=now - KEPT).delete()[0]
