"""Admin pages of what runs on its own: retention policies, their runs, and jobs."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest

from orbsite.admin import LedgerAdmin, ModelAdmin, pretty
from orbsite.forms import TreeField
from orbsite.operations import jobs, requests
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.upkeep import Job, PolicyRun, RetentionPolicy, domains_with_retention


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A policy; the domains to choose from are those that retention is for."""

    domain = forms.ChoiceField(choices=lambda: [(name, name) for name in domains_with_retention()])


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(ModelAdmin):
    """What to keep, and how often the rest is removed; how the last run went."""

    form = PolicyForm
    formfield_overrides = {models.JSONField: {"form_class": TreeField}}
    list_display = ("name", "domain", "store", "enabled", "every", "next_due", "last_state", "last_finished")
    list_filter = ("enabled", "domain", "store", "last_state")
    actions = ("run_next", "preview")
    readonly_fields = ("last_state", "last_started", "last_finished", "last_error", "result", "claimed_by", "heartbeat")
    fieldsets = (
        (None, {"fields": ("name", "domain", "store", "rules", "force")}),
        ("When", {"fields": ("enabled", "every", "next_due")}),
        ("The last run", {"fields": readonly_fields}),
    )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what was changed alone: maintenance, which may run it in the same moment, writes the rest."""
        obj.save(update_fields=form.changed_data if change else None)

    @admin.display(description="result")
    def result(self, policy: RetentionPolicy) -> Any:
        """What the last run told."""
        return pretty(policy.last_result)

    @admin.action(description="Run at the next maintenance", permissions=["change"])
    def run_next(self, request: HttpRequest, queryset: Any) -> None:
        """Make policies due now, and ask a worker for maintenance; a clock that went back is forgiven."""
        number = queryset.update(next_due=None, last_started=None)
        _start(self, request, "maintain", {}, f"{number} policies are due now.")

    @admin.action(description="Preview: tell what would go", permissions=["change"])
    def preview(self, request: HttpRequest, queryset: Any) -> None:
        """Ask a worker what each policy would remove."""
        for policy in queryset:
            _start(self, request, "preview", {"policy": policy.pk}, "Nothing is removed.")


@admin.register(PolicyRun)
class PolicyRunAdmin(LedgerAdmin):
    """When policies ran, and how that went."""

    list_display = ("id", "policy", "slot", "missed", "state", "started_at", "finished_at", "worker")
    list_filter = ("state", "policy", "started_at")
    list_select_related = ("policy",)


class JobForm(forms.ModelForm):  # type: ignore[type-arg]
    """What to start."""

    operation = forms.ChoiceField(
        choices=[(name, f"{name}: {kind.__doc__}") for name, kind in requests.OPERATIONS.items()]
    )
    arguments = TreeField(initial=dict, required=False, help_text='Such as {"dry_run": true}; {} for none.')

    def clean(self) -> dict[str, Any] | None:
        """Refuse arguments that the operation does not take."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            cleaned["arguments"] = cleaned.get("arguments") or {}
            try:
                requests.read(cleaned["operation"], cleaned["arguments"])
            except OrbError as problem:
                raise ValidationError({"arguments": str(problem)}) from problem
        return cleaned


@admin.register(Job)
class JobAdmin(LedgerAdmin):
    """Long work: add one to start it."""

    list_display = ("id", "operation", "state", "progress", "expected", "actor", "created_at", "finished_at")
    list_filter = ("state", "operation", "created_at")
    actions = ("cancel", "start_again")
    exclude = ("result",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let those start work who may add jobs."""
        return super(LedgerAdmin, self).has_add_permission(request)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        """Ask for an operation and its arguments, to start it."""
        return super().get_form(request, obj, change, **({} if obj else {"form": JobForm}), **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show all of a job, and ask for little to start one."""
        return ("operation", "arguments") if obj is None else (*super().get_fields(request, obj), "told")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A job's row is written by its worker."""
        return () if obj is None else ("told",)

    @admin.display(description="result")
    def told(self, job: Job) -> Any:
        """What the operation told."""
        return pretty(job.result)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Start it."""
        obj.__dict__.update(
            jobs.start(obj.operation, obj.arguments, now=utc_now, actor=request.user.get_username()).__dict__
        )

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Let those act on jobs who may start some."""
        return self.has_add_permission(request)

    @admin.action(description="Cancel", permissions=["start"])
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel jobs that wait or run."""
        for job in queryset:
            _told(self, request, lambda job=job: f"Job {jobs.cancel(job.pk, now=utc_now).pk} is told to stop.")

    @admin.action(description="Start again", permissions=["start"])
    def start_again(self, request: HttpRequest, queryset: Any) -> None:
        """Start jobs again that have ended."""
        actor = request.user.get_username()
        for job in queryset:
            _told(
                self,
                request,
                lambda job=job: f"Job {jobs.start_again(job.pk, now=utc_now, actor=actor).pk} is queued.",
            )


def _start(page: ModelAdmin, request: HttpRequest, operation: str, arguments: dict[str, Any], said: str) -> None:
    actor = request.user.get_username()
    _told(
        page,
        request,
        lambda: f"{said} Job {jobs.start(operation, arguments, now=utc_now, actor=actor).pk} is queued.",
    )


def _told(page: ModelAdmin, request: HttpRequest, act: Any) -> None:
    """Do something, and say what came of it."""
    try:
        page.message_user(request, act())
    except OrbError as problem:
        page.message_user(request, str(problem), messages.ERROR)
