"""Actions that run operations on the selected rows of a list, or on all records of one user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.base.permissions import may
from orbsite.admin.jobs.start import start
from orbsite.admin.records.bulk_actions import BulkActionsMixin
from orbsite.operations.jobs.catalog import OPERATIONS
from orbsite.operations.jobs.parameters import looking
from orbsite.operations.ledger.change_log import key_text, record_name
from orbsite.operations.monitoring.console_pages import address_of
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.findings import errors
from orbsite.storage.records.decoder import Reading
from orbsite.storage.records.domain import Tree
from orbsite.storage.records.record import Key, columns
from orbsite.storage.records.sealed_columns import open_values
from orbsite.storage.retention.policy import retained
from orbsite.storage.sql.models import read_row

MOST = 1000
"""The number of rows that one action handles; the pages of the operations handle any number."""
_LISTED = 20


class OperationActionsMixin(BulkActionsMixin):
    """A list of records with actions that run operations."""

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        """Add the operations that the user may start. Django passes `action_location` from version 6.1 on."""
        location = {} if action_location is None else {"action_location": action_location}
        inherited = super().get_actions(request, **location)
        ours = [] if IS_POPUP_VAR in request.GET else self._operation_actions()
        return inherited | {
            act.__name__: (act, act.__name__, title) for operation, act, title in ours if may(request.user, operation)
        }

    def _operation_actions(self) -> Iterator[tuple[str, Callable[..., Any], str]]:
        plural = self.opts.verbose_name_plural
        yield "validate", validate, f"Validate selected {plural}"
        yield "sanitize", sanitize, f"Preview sanitizing selected {plural}"
        yield "export", export, f"Export selected {plural}"
        yield "export", export_user, "Export all records of the user…"
        if self.model.kind in retained(self.domain):
            yield "compact", compact_user, "Compact the user's records by a policy…"
        yield "erase", erase_user, "Erase the user…"


def validate(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> None:
    """Validate each row, and show the findings of the invalid ones."""
    readings = _readings(page, request, queryset)
    if readings is None:
        return
    invalid = [(key, reading) for key, reading in readings if reading.record is None]
    level = messages.ERROR if invalid else messages.SUCCESS
    valid = len(readings) - len(invalid)
    page.message_user(request, f"{valid} of {len(readings)} selected records are valid.", level)
    for key, reading in invalid[:_LISTED]:
        found = "; ".join(f"{finding.path}: {finding.message}" for finding in errors(reading.findings))
        page.message_user(request, f"{record_name(page.model.kind, key)}: {found}", messages.ERROR)
    if len(invalid) > _LISTED:
        page.message_user(request, f"{len(invalid) - _LISTED} more records are invalid.", messages.ERROR)


def sanitize(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Queue a preview of the repairs; the job's page has the button that applies them."""
    keys = _keys(page, request, queryset)
    if keys is None:
        return None
    domain, plural = page.names
    wanted = {"only": [domain], "kind": plural, "keys": list(map(key_text, keys))}
    back = request.get_full_path()
    return start(request, "sanitize", looking(OPERATIONS["sanitize"], wanted), back=back)


def export(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Send the selected records as a JSON file in the guide's layout."""
    readings = _readings(page, request, queryset)
    if readings is None:
        return None
    records = [reading.record for _, reading in readings if reading.record is not None]
    if len(records) < len(readings):
        message = "Nothing was exported, because some selected records are invalid. Validate them to see the errors."
        page.message_user(request, message, messages.ERROR)
        return None
    tree: Tree = {}
    for record in sorted(records, key=lambda record: record.order):
        page.domain.layout.apply(tree, record, None)
    if confirmation := reauthentication.ask_for_many(request, len(records)):
        return confirmation
    audit.note(request, "export", subject="/".join(page.names), records=len(records))
    answer = HttpResponse(stringify(page.domain.layout.encode(tree)), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{page.domain.file.name}"'
    return answer


def export_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Open the export form for all records of the user of the selected rows."""
    return _open_form(page, request, queryset, "export")


def compact_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Open the compaction form for the user of the selected rows."""
    return _open_form(page, request, queryset, "compact")


def erase_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Open the erasure form for the user of the selected rows."""
    return _open_form(page, request, queryset, "erase")


def _open_form(page: OperationActionsMixin, request: HttpRequest, queryset: Any, operation: str) -> Any:
    if _keys(page, request, queryset) is None:
        return None
    users = set(queryset.order_by().values_list("user_id", flat=True))
    if len(users) != 1:
        message = (
            "Nothing was started, because the selected rows belong to more than one user. Select rows of one user."
        )
        page.message_user(request, message, messages.ERROR)
        return None
    return HttpResponseRedirect(address_of(operation, {"user": users.pop()}))


def _readings(
    page: OperationActionsMixin, request: HttpRequest, queryset: Any
) -> list[tuple[Key, Reading[Any]]] | None:
    keys = _keys(page, request, queryset)
    if keys is None:
        return None
    kind = page.model.kind
    rows = queryset.order_by().values(*columns(kind))[:MOST]
    return [
        (tuple(row[name] for name in kind.key_fields), read_row(kind, open_values(kind, row, queryset.db)))
        for row in rows
    ]


def _keys(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> list[Key] | None:
    keys = list(queryset.order_by().values_list(*page.model.kind.key_fields)[: MOST + 1])
    if len(keys) <= MOST:
        return keys
    message = (
        f"Nothing was done, because more than {MOST:,} rows are selected. "
        "Reduce the selection, or start the operation on the Operations page."
    )
    page.message_user(request, message, messages.ERROR)
    return None
