"""What is started from the rows that are chosen in a list: checked, mended, exported; and all of one user."""

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
from orbsite.admin.jobs.views import address_of
from orbsite.admin.records.bulk_actions import BulkActionsMixin
from orbsite.operations.jobs.catalog import OPERATIONS
from orbsite.operations.jobs.parameters import looking
from orbsite.operations.ledger.change_log import key_text
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.findings import errors
from orbsite.storage.records.decoder import Reading
from orbsite.storage.records.domain import Tree
from orbsite.storage.records.record import Key, columns
from orbsite.storage.retention.policy import retained
from orbsite.storage.sql.models import read_row

MOST = 1000
"""So many rows are worked on at once; more is a matter of the operations' own pages."""
_LISTED = 20


class OperationActionsMixin(BulkActionsMixin):
    """A list of records whose rows can be handed over to operations."""

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        """Add what somebody may start; Django says from 6.1 on where that is shown."""
        where = {} if action_location is None else {"action_location": action_location}
        offered = super().get_actions(request, **where)
        ours = [] if IS_POPUP_VAR in request.GET else self._of_operations()
        return offered | {
            act.__name__: (act, act.__name__, title) for operation, act, title in ours if may(request.user, operation)
        }

    def _of_operations(self) -> Iterator[tuple[str, Callable[..., Any], str]]:
        plural = self.opts.verbose_name_plural
        yield "validate", validate, f"Validate selected {plural}"
        yield "sanitize", sanitize, f"Sanitize selected {plural}: tell what would be mended"
        yield "export", export, f"Export selected {plural}"
        yield "export", export_user, "Export all of the user"
        if self.model.kind in retained(self.domain):
            yield "compact", compact_user, "Compact the user by a policy"
        yield "erase", erase_user, "Erase the user"


def validate(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> None:
    """Hold each row to the rules of its record, and say what is wrong."""
    readings = _readings(page, request, queryset)
    if readings is None:
        return
    wrong = [(key, one) for key, one in readings if one.record is None]
    level = messages.ERROR if wrong else messages.SUCCESS
    page.message_user(request, f"{len(readings) - len(wrong)} of {len(readings)} are valid.", level)
    for key, one in wrong[:_LISTED]:
        said = "; ".join(f"{finding.path}: {finding.message}" for finding in errors(one.findings))
        page.message_user(request, f"{page.model.kind.plural} {key_text(key)}: {said}", messages.ERROR)
    if len(wrong) > _LISTED:
        page.message_user(request, f"{len(wrong) - _LISTED} more are not valid.", messages.ERROR)


def sanitize(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Have a worker tell what would be mended; its page has the button that does it."""
    keys = _keys(page, request, queryset)
    if keys is None:
        return None
    domain, plural = page.names
    wanted = {"only": [domain], "kind": plural, "keys": list(map(key_text, keys))}
    back = request.get_full_path()
    return start(request, "sanitize", looking(OPERATIONS["sanitize"], wanted), back=back)


def export(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Send the rows as a file in the guide's layout."""
    readings = _readings(page, request, queryset)
    if readings is None:
        return None
    records = [one.record for _, one in readings if one.record is not None]
    if len(records) < len(readings):
        page.message_user(request, "Some rows are not valid, and cannot be exported: validate them.", messages.ERROR)
        return None
    tree: Tree = {}
    for record in sorted(records, key=lambda one: one.order):
        page.domain.layout.put(tree, record, None)
    if asked := reauthentication.ask_for_many(request, len(records)):
        return asked
    audit.note(request, "export", subject="/".join(page.names), records=len(records))
    answer = HttpResponse(stringify(page.domain.layout.encode(tree)), content_type="application/json")
    answer["Content-Disposition"] = f'attachment; filename="{page.domain.file.name}"'
    return answer


def export_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Go to the export of all that there is of the user of the rows."""
    return _of_user(page, request, queryset, "export")


def compact_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Go to where a policy is chosen for the user of the rows."""
    return _of_user(page, request, queryset, "compact")


def erase_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> Any:
    """Go to the erasure of the user of the rows."""
    return _of_user(page, request, queryset, "erase")


def _of_user(page: OperationActionsMixin, request: HttpRequest, queryset: Any, operation: str) -> Any:
    if _keys(page, request, queryset) is None:
        return None
    users = set(queryset.order_by().values_list("user_id", flat=True))
    if len(users) != 1:
        page.message_user(request, "Choose rows of one user; nothing was done.", messages.ERROR)
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
    return [(tuple(row[name] for name in kind.key_fields), read_row(kind, row)) for row in rows]


def _keys(page: OperationActionsMixin, request: HttpRequest, queryset: Any) -> list[Key] | None:
    keys = list(queryset.order_by().values_list(*page.model.kind.key_fields)[: MOST + 1])
    if len(keys) <= MOST:
        return keys
    said = f"More than {MOST:,} rows are chosen, and nothing was done. Choose fewer, or use the operation's own page."
    page.message_user(request, said, messages.ERROR)
    return None
