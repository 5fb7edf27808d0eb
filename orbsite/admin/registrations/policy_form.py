"""The form of a retention policy: one field for each rule, and a schedule with units."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from typing_extensions import override

from orbsite.admin.forms.fields import TreeField
from orbsite.models.retention import RetentionPolicy, domains_with_retention
from orbsite.operations.retention.apply import retain
from orbsite.storage.errors import InvalidPolicy, OrbError
from orbsite.storage.retention.wording import sentences
from orbsite.stores import store_named

UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
LIMITS = ("max_age_days", "max_per_session")
KEPT = (
    "keep_within_days", "keep_last", "keep_last_of_user", "keep_daily", "keep_weekly", "keep_monthly", "keep_tags",
)  # fmt: skip
RULES = (*LIMITS, *KEPT)
MOST_COUNTED = 200_000
"""The maximum number of records in a store for which the form tells what a policy would remove."""
SCHEDULE = ("every_number", "every_unit")
_EXPLAINED = (NON_FIELD_ERRORS, *RULES, "rules", "domain", "store")
"""The fields whose errors are told instead of what the policy would do."""
_COLUMNS = dict.fromkeys(RULES, "rules") | dict.fromkeys(SCHEDULE, "every")
"""The columns of the table that fields of the form are stored in, where they have other names."""


class TagsField(forms.CharField):
    """A field for tags, separated by commas. Tags that have commas themselves are given as JSON."""

    @override
    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        """Return the list of tags without repetitions."""
        tags = (one.strip() for one in (super().to_python(value) or "").split(","))
        return list(dict.fromkeys(tag for tag in tags if tag))

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool((self.prepare_value(initial) or "") != (data or ""))


def _number(label: str, unit: str) -> forms.IntegerField:
    return forms.IntegerField(label=label, help_text=unit, required=False, min_value=0)


def _days(label: str, unit: str) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=unit, required=False, min_value=0)


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of a policy. Its rules are taken from their fields, or from the JSON if that was changed alone."""

    domain = forms.ChoiceField(choices=lambda: [(name, name) for name in domains_with_retention()])
    max_age_days = _days("Remove after", "days")
    max_per_session = _number("Remove beyond the newest", "records of each session")
    keep_within_days = _days("Keep the last", "days")
    keep_last = _number("Keep the newest", "records of each session")
    keep_last_of_user = _number("Keep the newest of each user", "records")
    keep_daily = _number("Keep the newest of each day, for", "days that have any")
    keep_weekly = _number("Keep the newest of each week, for", "weeks that have any")
    keep_monthly = _number("Keep the newest of each month, for", "months that have any")
    keep_tags = TagsField(label="Keep those tagged", help_text="tags, separated by commas", required=False)
    rules = TreeField(
        label="Rules as JSON", required=False, initial=dict, help_text="Changed here, they replace the fields above."
    )
    every_number = forms.IntegerField(label="Every", min_value=1, max_value=10**6, initial=1)
    every_unit = forms.ChoiceField(label="Unit", choices=[(name, name) for name in UNITS], initial="days")

    class Meta:
        model = RetentionPolicy
        fields = ("name", "domain", "store", "rules", "enabled", "force", "next_due")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.instance.pk is not None:
            unit = next(name for name, seconds in UNITS.items() if self.instance.every % seconds == 0)
            self.initial.update(every_unit=unit, every_number=self.instance.every // UNITS[unit])
            self.initial.update(_initial(self.instance.rules))

    @property
    def changed_columns(self) -> list[str]:
        """The changed columns of the table."""
        return list(dict.fromkeys(_COLUMNS.get(name, name) for name in self.changed_data))

    @override
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "every_number" in cleaned and "every_unit" in cleaned:
            self.instance.every = cleaned["every_number"] * UNITS[cleaned["every_unit"]]
        if not any(name in self.errors for name in RULES):
            cleaned["rules"] = self._rules(cleaned)
        return cleaned

    def _rules(self, cleaned: dict[str, Any]) -> Any:
        """Return the rules as JSON. Those of fields that were not changed stay exactly as they are."""
        changed = {name: cleaned[name] for name in RULES if name in self.changed_data}
        if not changed:
            return cleaned.get("rules") or {}
        before = self.instance.rules if isinstance(self.instance.rules, dict) else {}
        given = {name: value for name, value in (before | changed).items() if value not in (None, [])}
        if "rules" in self.changed_data and cleaned.get("rules") != given:
            raise ValidationError("The rules were changed in the fields and as JSON. Change them in one of the places.")
        return given


def _initial(rules: Any) -> dict[str, Any]:
    return {name: rules[name] for name in RULES if name in rules} if isinstance(rules, dict) else {}


def in_words(policy: RetentionPolicy) -> str:
    """Return what a policy does, in sentences, or what is wrong with its rules."""
    try:
        rules = policy.policy
    except InvalidPolicy as problem:
        return str(problem)
    told = " ".join(sentences(rules, kind) for kind in policy.kinds)
    return told or f"The domain {policy.domain} has no retention."


def explanation(form: PolicyForm, now: datetime, *, counts: bool) -> str:
    """Return what the policy of a validated form does, in words, and what it would remove now if that may be told."""
    wrong = next((str(text) for name in _EXPLAINED for text in form.errors.get(name, ())), None)
    if wrong is not None:
        return wrong
    told = in_words(form.instance)
    try:
        return f"{told} {_effect(form.instance, now)}" if counts else told
    except OrbError as problem:
        return f"{told} {problem}"


def _effect(policy: RetentionPolicy, now: datetime) -> str:
    store = store_named(policy.store, policy.domain)
    if sum(map(store.count, policy.kinds)) > MOST_COUNTED:
        return "There are too many records to count here: save the policy, and start its preview."
    found = retain([store], policy.policy, now=lambda: now, dry_run=True).domains[policy.domain]
    return f"Today it would remove {found.facts['would_go']:,} of {found.total('read'):,} records."


def due_moments(policy: RetentionPolicy, now: datetime, number: int = 3) -> list[datetime]:
    """Return the next moments at which an enabled policy is due, of which the first may be over already."""
    if not policy.enabled:
        return []
    first, step = policy.next_due or now, timedelta(seconds=policy.every)
    return [first + step * at for at in range(number)]
