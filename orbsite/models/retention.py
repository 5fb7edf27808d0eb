"""Retention policies, their schedules and their runs."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import Record
from orbsite.storage.retention.policy import Policy, retained
from orbsite.storage.retention.schedule import DAYS, Calendar, Interval, Repeat, Schedule, zone_named


class PolicyState(models.TextChoices):
    """The state of a policy run; of a policy, that of its last run."""

    NEVER = "", "never run"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


def _at_night() -> time:
    """Return the time of day of a new policy. Django would take a fixed one for the time of an import at that hour."""
    return time(3)


class RetentionPolicy(models.Model):
    """The retention rules of a domain, and when to apply them. Changed rules apply from the next run on."""

    SCHEDULE: ClassVar[tuple[str, ...]] = ("repeat", "every", "weekday", "month_day", "at", "zone")
    """The columns that make up the schedule."""

    class Store(models.TextChoices):
        """The store that a policy applies to."""

        SQL = "sql", "SQL tables"
        FILE = "file", "files under ORB_DATA_DIR"

    class Repeats(models.TextChoices):
        """How often a policy is due."""

        DAY = Repeat.DAY.value, "every day"
        WEEK = Repeat.WEEK.value, "every week"
        MONTH = Repeat.MONTH.value, "every month"
        INTERVAL = Repeat.INTERVAL.value, "at an interval"

    name = models.CharField(max_length=100, unique=True)
    domain = models.CharField(max_length=40)
    store = models.CharField(max_length=4, choices=Store.choices, default=Store.SQL)
    rules = models.JSONField(default=dict, help_text='Such as {"max_age_days": 90, "max_per_session": 1000}.')
    enabled = models.BooleanField(default=True)
    force = models.BooleanField(default=False, help_text="Let a run remove more than a fifth of the records.")
    repeat = models.CharField(max_length=8, choices=Repeats.choices, default=Repeats.INTERVAL)
    every = models.PositiveIntegerField(
        default=86_400,
        validators=[MinValueValidator(1)],
        help_text="At an interval: seconds from one run to the next; 86400 is a day.",
    )
    weekday = models.PositiveSmallIntegerField(
        default=0, choices=list(enumerate(DAYS)), help_text="Every week: the day of the week; 0 is Monday."
    )
    month_day = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(31)],
        help_text="Every month: the day of the month. In a shorter month, its last day stands for it.",
    )
    at = models.TimeField(default=_at_night, help_text="Every day, week or month: the time of day in the time zone.")
    zone = models.CharField("time zone", max_length=64, default="UTC", help_text="An IANA name such as Europe/Berlin.")
    next_due = models.DateTimeField(null=True, blank=True, help_text="Empty: at the next maintenance.")
    claimed_by = models.CharField(max_length=100, blank=True, editable=False)
    claimed_at = models.DateTimeField(null=True, editable=False)
    heartbeat = models.DateTimeField(null=True, editable=False)
    last_started = models.DateTimeField(null=True, editable=False)
    last_finished = models.DateTimeField(null=True, editable=False)
    last_state = models.CharField(
        max_length=7, choices=PolicyState.choices, blank=True, default=PolicyState.NEVER, editable=False
    )
    last_result = models.JSONField(null=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)

    class Meta:
        db_table = "orb_policies"
        ordering = ["name"]
        verbose_name_plural = "retention policies"
        constraints = [
            models.CheckConstraint(condition=models.Q(every__gte=1), name="orb_policies_every"),
            models.CheckConstraint(
                condition=models.Q(weekday__lte=6, month_day__gte=1, month_day__lte=31), name="orb_policies_days"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def policy(self) -> Policy:
        """The parsed rules. Raises InvalidPolicy."""
        return Policy.of_json(self.rules)

    @property
    def kinds(self) -> list[type[Record]]:
        """The kinds of records in its domain that retention applies to; none for an unknown domain."""
        return next((retained(one) for one in registered() if one.name == self.domain), [])

    @property
    def schedule(self) -> Schedule:
        """When the policy is due. Raises InvalidPolicy for a time zone that this machine does not have."""
        if self.repeat == Repeat.INTERVAL:
            return Interval(timedelta(seconds=self.every))
        return Calendar(Repeat(self.repeat), self.at, zone_named(self.zone), self.weekday, self.month_day)

    def clean(self) -> None:
        """Raise ValidationError, by field, for a domain without retention and for invalid rules."""
        problems: dict[str, Any] = {}
        kinds = self.kinds
        if not kinds:
            problems["domain"] = f"This domain has no retention; choose one of {', '.join(domains_with_retention())}."
        try:
            policy = self.policy
            for kind in kinds:
                policy.check(kind)
        except InvalidPolicy as problem:
            problems["rules"] = str(problem)
        try:
            zone_named(self.zone)
        except InvalidPolicy as problem:
            problems["zone"] = f"Choose another time zone: {problem}."
        if problems:
            raise ValidationError(problems)


class PolicyRun(models.Model):
    """One run of a policy. Each due time has at most one run."""

    policy = models.ForeignKey(RetentionPolicy, on_delete=models.CASCADE, related_name="runs")
    slot = models.DateTimeField(help_text="When it was due.")
    missed = models.PositiveIntegerField(default=0, help_text="How many later due moments it stands for.")
    state = models.CharField(max_length=7, choices=PolicyState.choices[1:], default=PolicyState.RUNNING)
    worker = models.CharField(max_length=100)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        db_table = "orb_policy_runs"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["policy", "slot"], name="orb_policy_runs_once")]

    def __str__(self) -> str:
        return f"policy {self.policy_id} at {self.slot}"


def domains_with_retention() -> list[str]:
    """Return the names of the domains that retention applies to."""
    return [domain.name for domain in registered() if retained(domain)]
