"""Admin pages of the audit trail, to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Q
from django.http import HttpRequest

from orbsite.admin.base.changelist import known
from orbsite.admin.records.model_admin import LedgerAdmin, pretty
from orbsite.models.audit_log import ACTS, Event
from orbsite.storage.encoding.json_parser import UNCLEAN


@admin.register(Event)
class EventAdmin(LedgerAdmin):
    """Who did what, newest first."""

    list_display = ("at", "actor", "act", "subject", "address")
    list_filter = (known("act", lambda: ACTS), "at")
    sortable_by = ("at",)
    fields = ("at", "actor", "act", "subject", "address", "told")
    search_fields = ("subject", "actor")
    search_help_text = "the whole name of who did it, or the whole id of what it was done to"

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a whole name or id, which an index answers."""
        term = request.GET.get(SEARCH_VAR, "")
        if UNCLEAN.search(term):
            return queryset.none(), False
        return (queryset.filter(Q(subject=term) | Q(actor=term)) if term else queryset), False

    @admin.display(description="facts")
    def told(self, event: Event) -> Any:
        """Numbers, ids and arguments."""
        return pretty(event.facts)
