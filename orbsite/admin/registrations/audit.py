"""Read-only admin pages of the audit log."""

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
    """Pages of audit events: time, actor, action, subject and client address."""

    list_display = ("at", "actor", "act", "subject", "address")
    list_filter = (known("act", lambda: ACTS), "at")
    sortable_by = ("at",)
    fields = ("at", "actor", "act", "subject", "address", "details")
    search_fields = ("subject", "actor")
    search_help_text = "Search by complete actor name or complete subject id."

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Find rows by a complete actor or subject, which an index answers."""
        term = request.GET.get(SEARCH_VAR, "")
        if UNCLEAN.search(term):
            return queryset.none(), False
        return (queryset.filter(Q(subject=term) | Q(actor=term)) if term else queryset), False

    @admin.display(description="details")
    def details(self, event: Event) -> Any:
        """The details of the event, such as numbers, ids and arguments, as JSON."""
        return pretty(event.facts)
