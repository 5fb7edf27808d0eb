"""The form of a retention policy: one field for each rule, and a schedule."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import chain
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from typing_extensions import override

from orbsite.admin.forms.fields import SuggestedInput, TreeField
from orbsite.admin.forms.list_field import ListField, ListItems
from orbsite.models.retention import RetentionPolicy, domains_with_retention
from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.retention.schedule import DAYS, UNITS, Repeat, in_units, offered_zones
from orbsite.storage.retention.wording import sentences

LIMITS = ("max_age_days", "max_per_session")
KEPT = (
    ("keep_within_days", "keep_last", "keep_last_of_user"),
    ("keep_daily", "keep_weekly", "keep_monthly"),
    "keep_tags",
)
RULES = (*LIMITS, *KEPT[0], *KEPT[1], "keep_tags")
SCHEDULE = ("repeat", "weekday", "month_day", "every_number", "every_unit", "at", "zone")
PREVIEW = "_preview"
"""The name of the button that shows the effect of the form instead of saving it."""
EXPLAINED = (NON_FIELD_ERRORS, *RULES, "rules", "domain", "store", *SCHEDULE)
"""The fields whose errors are told instead of what the policy would do."""
_LONGEST = 2**31 - 1
"""The longest interval in seconds that the column holds."""
_COLUMNS = dict.fromkeys(RULES, "rules") | dict.fromkeys(("every_number", "every_unit"), "every")
"""The columns of the table that fields of the form are stored in, where they have other names."""
_PARTS: dict[str, tuple[str, ...]] = {
    Repeat.DAY: ("at", "zone"),
    Repeat.WEEK: ("weekday", "at", "zone"),
    Repeat.MONTH: ("month_day", "at", "zone"),
    Repeat.INTERVAL: ("every_number", "every_unit"),
}
"""The fields that each kind of schedule uses."""


class TagsField(ListField):
    """A field for a list of tags without repetitions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(items=ListItems(True, None, "tag"), **{"required": False, "initial": list, **options})

    def to_python(self, value: Any) -> Any:
        """Return the list of tags. Raises ValidationError for invalid JSON."""
        tags = super().to_python(value) or []
        return list(dict.fromkeys(tags)) if all(isinstance(tag, str) for tag in tags) else tags

    @override
    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(initial or [], "[]" if data is None else data)


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
    keep_tags = TagsField(label="Keep those tagged")
    rules = TreeField(
        label="Rules as JSON", required=False, initial=dict, help_text="Changed here, they replace the fields above."
    )
    repeat = forms.ChoiceField(label="Run", choices=RetentionPolicy.Repeats.choices, initial=Repeat.DAY.value)
    weekday = forms.TypedChoiceField(label="On", coerce=int, choices=list(enumerate(DAYS)), initial=0)
    month_day = forms.IntegerField(
        label="On day", min_value=1, max_value=31, initial=1, help_text="In a shorter month, its last day."
    )
    every_number = forms.IntegerField(label="Every", min_value=1, max_value=10**6, initial=1)
    every_unit = forms.ChoiceField(label="Unit", choices=[(name, name) for name in UNITS], initial="days")
    at = forms.TimeField(
        label="At",
        initial=time(3),
        widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        help_text="A time that a change of clocks skips is moved by the change; of a time that it repeats, the first "
        "counts.",
    )
    zone = forms.CharField(
        label="Time zone",
        max_length=64,
        initial="UTC",
        widget=SuggestedInput(offered_zones, {"autocomplete": "off", "size": 24}),
        help_text="Such as Europe/Berlin.",
    )

    class Meta:
        model = RetentionPolicy
        fields = (
            *("name", "domain", "store", "rules", "repeat", "weekday", "month_day", "at", "zone"),
            *("enabled", "force", "next_due"),
        )
        help_texts = {
            "next_due": "Empty: at the next maintenance; of a new or changed time of day, at the first such time."
        }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.instance.pk is not None:
            number, unit = in_units(timedelta(seconds=self.instance.every))
            self.initial.update(every_unit=unit, every_number=number)
            self.initial.update(_initial(self.instance.rules))
        else:
            self.initial.pop("repeat", None)  # the form's own choice

    @override
    def is_valid(self) -> bool:
        """Return whether the form can be saved: it has no errors, and was not sent to preview its effect."""
        return super().is_valid() and not self.is_preview

    @property
    def is_preview(self) -> bool:
        """Whether the form was sent to preview its effect."""
        return PREVIEW in self.data

    @property
    def changed_columns(self) -> list[str]:
        """The changed columns of the table."""
        used = (name for name in self.changed_data if name in self.cleaned_data)
        return list(dict.fromkeys(_COLUMNS.get(name, name) for name in used))

    def next_due(self, now: datetime) -> datetime | None:
        """Return when the policy of the valid form is due next; None for the next maintenance.

        The given moment counts. Without one, a new or changed time of day gives its next moment.
        """
        policy: RetentionPolicy = self.instance
        is_given = "next_due" in self.changed_data
        is_new = policy.pk is None or any(name in self.changed_columns for name in RetentionPolicy.SCHEDULE)
        if is_given or not is_new or policy.repeat == Repeat.INTERVAL:
            return policy.next_due
        return policy.schedule.next_after(now)

    @override
    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._drop_unused(cleaned)
        if "every_number" in cleaned and "every_unit" in cleaned:
            self.instance.every = cleaned["every_number"] * UNITS[cleaned["every_unit"]]
            if self.instance.every > _LONGEST:
                self.add_error("every_number", "Give a shorter interval, of at most 68 years.")
        if not any(name in self.errors for name in RULES):
            cleaned["rules"] = self._rules(cleaned)
        return cleaned

    def _drop_unused(self, cleaned: dict[str, Any]) -> None:
        """Drop the fields that the chosen kind of schedule does not use, with their errors."""
        used = _PARTS.get(cleaned.get("repeat", ""), SCHEDULE)
        for name in {*chain.from_iterable(_PARTS.values())} - {*used}:
            cleaned.pop(name, None)
            self.errors.pop(name, None)

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
