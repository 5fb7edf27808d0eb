"""The query for the rows that a policy removes: window functions over indexed columns, without reading texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orbsite.storage.retention.policy import DAILY, Policy, Reasons
from orbsite.storage.sql.models import RecordRow, column_of
from orbsite.storage.sql.retention.dialects import Dialect

OLD, BEYOND, UNKEPT = 1, 2, 4
"""The reasons to remove a row, as bits."""


class RetentionSelection:
    """Selects the rows of one table that a policy removes."""

    def __init__(
        self, model: type[RecordRow], connection: Any, dialect: Dialect, policy: Policy, now: datetime
    ) -> None:
        self._kind, self._model, self._dialect = model.kind, model, dialect
        self._policy, self._now, self._quote = policy, now, connection.ops.quote_name
        self.table: str = self._quote(model._meta.db_table)
        self.keys = [self._column(name) for name in self._kind.key_fields]
        self.time, self.group = self._column(self._kind.time_field), self._column(self._kind.group_field)
        self.user = self._column("user_id")
        self.day = dialect.start_of(DAILY, self.time)
        self.instant = dialect.instant
        self.noted = [*dict.fromkeys([*self.keys, self.time, self.group])]
        """The columns that are listed of each selected row, which later show whether the row is unchanged."""
        self.is_readable = dialect.is_readable(self.time)
        """The condition that a row's time can be read; other rows are not selected."""
        self.is_instant = dialect.is_instant(self.time)
        """The condition that a row's time is a valid date and time, which is slower to check."""

    def reasons(self) -> dict[int, str]:
        """Return the text of the reasons for each possible sum of bits."""
        words = Reasons(self._kind, self._policy)
        each = {OLD: words.old, BEYOND: words.beyond, UNKEPT: words.unkept}
        return {
            bits: "; ".join(each[bit] for bit in each if bits & bit) for bits in (OLD, BEYOND, OLD | BEYOND, UNKEPT)
        }

    def query(self, where: str = "TRUE", values: Sequence[Any] = ()) -> tuple[str, list[Any]]:
        """Return the query for the rows to remove among those that meet `where`, and its parameters."""
        ranked, given = self._ranked_columns()
        inner = f"SELECT {', '.join(ranked)} FROM {self.table} WHERE {self.is_readable} AND {where}"
        why, reasons = self._why()
        ahead = self._policy.ahead(self._now)
        if ahead is not None:
            why, reasons = f"CASE WHEN {self.time} > %s THEN 0 ELSE {why} END", [self._dialect.instant(ahead), *reasons]
        names = ", ".join(["place", *self.noted])
        removals = f"SELECT {names}, {why} AS why FROM ({inner}) AS ranked"
        return f"SELECT {names}, why FROM ({removals}) AS decided WHERE why > 0", [*reasons, *given, *values]

    def _ranked_columns(self) -> tuple[list[str], list[Any]]:
        policy, ranked, values = self._policy, [f"{self._dialect.place} AS place", *self.noted], list[Any]()
        newest = ", ".join(f"{self._column(name)} DESC" for name in self._kind.order_fields)
        if policy.max_per_session is not None or policy.keep_last is not None:
            ranked.append(f"row_number() OVER (PARTITION BY {self.group} ORDER BY {newest}) AS in_group")
        if policy.keep_last_of_user is not None:
            ranked.append(f"row_number() OVER (PARTITION BY {self._column('user_id')} ORDER BY {newest}) AS of_user")
        for name in policy.periods:
            start = self._dialect.start_of(name, self.time)
            ranked.append(f"row_number() OVER (PARTITION BY {self.group}, {start} ORDER BY {newest}) AS in_{name}")
            ranked.append(f"dense_rank() OVER (PARTITION BY {self.group} ORDER BY {start} DESC) AS rank_{name}")
        if policy.keep_tags:
            condition, values = self._dialect.has_tag(self._column(self._kind.tag_field), policy.keep_tags)
            ranked.append(f"{condition} AS is_tagged")
        return ranked, values

    def _why(self) -> tuple[str, list[Any]]:
        """Return the expression for the reason bits of a row, 0 if it is kept, and its parameters."""
        limits, values = list[str](), list[Any]()
        oldest = self._policy.too_old(self._now)
        if oldest is not None:
            limits.append(f"CASE WHEN {self.time} < %s THEN {OLD} ELSE 0 END")
            values.append(self._dialect.instant(oldest))
        if self._policy.max_per_session is not None:
            limits.append(f"CASE WHEN in_group > {int(self._policy.max_per_session)} THEN {BEYOND} ELSE 0 END")
        limit = " + ".join(limits) or "0"
        if not self._policy.has_keep_rules:
            return limit, values
        keeps, kept = self._keeps()
        return f"CASE WHEN {limit} = 0 AND NOT ({keeps}) THEN {UNKEPT} ELSE {limit} END", [*values, *kept, *values]

    def _keeps(self) -> tuple[str, list[Any]]:
        policy, keeps, values = self._policy, list[str](), list[Any]()
        since = policy.within(self._now)
        if since is not None:
            keeps.append(f"{self.time} >= %s")
            values.append(self._dialect.instant(since))
        for name, most in (("in_group", policy.keep_last), ("of_user", policy.keep_last_of_user)):
            if most is not None:
                keeps.append(f"{name} <= {int(most)}")
        keeps += [f"(in_{name} = 1 AND rank_{name} <= {int(most)})" for name, most in policy.periods.items()]
        if policy.keep_tags:
            keeps.append("is_tagged")
        return " OR ".join(keeps), values

    def _column(self, name: str | None) -> str:
        return str(self._quote(column_of(self._model, name or "").column))
