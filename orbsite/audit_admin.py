"""Admin pages of the audit trail, to read."""

from __future__ import annotations

from django.contrib import admin

from orbsite.admin import LedgerAdmin
from orbsite.audit import Event


@admin.register(Event)
class EventAdmin(LedgerAdmin):
    """Who did what, newest first."""

    list_display = ("at", "actor", "act", "subject", "address")
    list_filter = ("act", "at")
    search_fields = ("actor", "subject")
