"""Admin pages of what runs on its own: retention policies, their runs, and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from orbsite.admin.base import audit
from orbsite.admin.base.changelist import StrictAdmin, known
from orbsite.admin.base.permissions import may
from orbsite.admin.forms.fields import TreeField
from orbsite.admin.jobs.start import confirmation
from orbsite.admin.links import Link, Linked, to_operation
from orbsite.admin.records.model_admin import LedgerAdmin, ModelAdmin, pretty
from orbsite.models.jobs import OPERATIONS, Job
from orbsite.models.retention import PolicyRun, RetentionPolicy, domains_with_retention
from orbsite.operations.jobs import catalog, jobs
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A policy; the domains to choose from are those that retention is for."""

    domain = forms.ChoiceField(choices=lambda: [(name, name) for name in domains_with_retention()])


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(Linked, StrictAdmin):
    """What to keep, and how often the rest is removed; how the last run went."""

    form = PolicyForm
    formfield_overrides = {models.JSONField: {"form_class": TreeField}}
    list_display = ("name", "domain", "store", "enabled", "every", "next_due", "last_state", "last_finished")
    list_filter = ("enabled", known("domain", domains_with_retention), "store", "last_state")
    actions = ("run_next", "preview")
    readonly_fields = ("last_state", "last_started", "last_finished", "last_error", "result", "claimed_by", "heartbeat")
    fieldsets = (
        (None, {"fields": ("name", "domain", "store", "rules", "force")}),
        ("When", {"fields": ("enabled", "every", "next_due")}),
        ("The last run", {"fields": readonly_fields}),
    )

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Lead to what a policy would remove."""
        if row is not None:
            yield from to_operation(request, "Preview", "preview", policy=row.pk)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what was changed alone: maintenance, which may run it in the same moment, writes the rest."""
        obj.save(update_fields=form.changed_data if change else None)
        audit.note(request, "policy changed" if change else "policy made", subject=obj.pk, fields=form.changed_data)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Remove a policy, and note who did."""
        audit.note(request, "policy removed", subject=obj.pk)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Remove policies, and note who did."""
        for policy in queryset:
            audit.note(request, "policy removed", subject=policy.pk)
        super().delete_queryset(request, queryset)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Let those run policies who may start maintenance."""
        return may(request.user, "maintain")

    def has_preview_permission(self, request: HttpRequest) -> bool:
        """Let those look who may start a preview."""
        return may(request.user, "preview")

    @admin.display(description="result")
    def result(self, policy: RetentionPolicy) -> Any:
        """What the last run told."""
        return pretty(policy.last_result)

    @admin.action(description="Run at the next maintenance", permissions=["run"])
    def run_next(self, request: HttpRequest, queryset: Any) -> None:
        """Make policies due now, and ask a worker for maintenance; a clock that went back is forgiven."""
        number = queryset.update(next_due=None, last_started=None)
        audit.note(request, "policies made due", policies=number)
        _start(self, request, "maintain", {}, f"{number} policies are due now.")

    @admin.action(description="Preview: tell what would go", permissions=["preview"])
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

    request: HttpRequest
    operation = forms.ChoiceField()
    arguments = TreeField(initial=dict, required=False, help_text='Such as {"dry_run": true}; {} for none.')

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        offered: Any = self.fields["operation"]
        offered.choices = [(name, f"{name}: {catalog.OPERATIONS[name].__doc__}") for name in _of(self.request.user)]

    def clean(self) -> dict[str, Any] | None:
        """Refuse arguments that the operation does not take, and what asks for the password first."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            cleaned["arguments"] = cleaned.get("arguments") or {}
            try:
                catalog.read(cleaned["operation"], cleaned["arguments"])
            except OrbError as problem:
                raise ValidationError({"arguments": str(problem)}) from problem
            to = reverse("admin:orbsite_job_add")
            if page := confirmation(self.request, cleaned["operation"], cleaned["arguments"], to=to):
                link = format_html('Nothing was started. <a href="{}">Confirm that it is you</a> first.', page.url)
                raise ValidationError(link)
        return cleaned


_SHOWN = (
    *("operation", "arguments", "state", "progress", "expected", "wants_to_stop", "error", "actor", "worker"),
    *("heartbeat", "created_at", "started_at", "finished_at", "told"),
)


@admin.register(Job)
class JobAdmin(LedgerAdmin):
    """Long work: add one to start it."""

    list_display = ("id", "operation", "state", "progress", "expected", "actor", "created_at", "finished_at")
    list_filter = ("state", known("operation", lambda: OPERATIONS), "created_at")
    actions = ("cancel", "start_again")

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Lead to a job's own page, and to what can be started."""
        if row is None:
            yield "Operations", reverse("admin:operations")
        else:
            yield "Follow it", reverse("admin:job", args=[row.pk])

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Let those start work who may start some operation."""
        return bool(_of(request.user))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        """Ask for an operation and its arguments, to start it."""
        form = super().get_form(request, obj, change, **({} if obj else {"form": JobForm}), **options)
        return form if obj else type(form.__name__, (form,), {"request": request})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show all of a job, and ask for little to start one."""
        return ("operation", "arguments") if obj is None else _SHOWN

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A job's row is written by its worker."""
        return () if obj is None else ("told",)

    @admin.display(description="result")
    def told(self, job: Job) -> Any:
        """What the operation told."""
        return pretty(job.result)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Start it."""
        obj.__dict__.update(jobs.start(obj.operation, obj.arguments, now=utc_now, **_who(request)).__dict__)

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Let those act on jobs who may start some; on each, those who may start what it does."""
        return self.has_add_permission(request)

    @admin.action(description="Cancel", permissions=["start"])
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel jobs that wait or run."""
        for job in self._mine(request, queryset):
            audit.note(request, "job cancelled", subject=job.pk, operation=job.operation)
            _told(self, request, lambda job=job: f"Job {jobs.cancel(job.pk, now=utc_now).pk} is told to stop.")

    @admin.action(description="Start again", permissions=["start"])
    def start_again(self, request: HttpRequest, queryset: Any) -> Any:
        """Start jobs again that have ended."""
        wanted = self._mine(request, queryset)
        pages = (confirmation(request, job.operation, job.arguments) for job in wanted)
        if page := next(filter(None, pages), None):
            return page
        for job in wanted:
            _told(
                self,
                request,
                lambda job=job: f"Job {jobs.start_again(job.pk, now=utc_now, **_who(request)).pk} is queued.",
            )
        return None

    def _mine(self, request: HttpRequest, queryset: Any) -> list[Job]:
        """Return the jobs whose operations somebody may start, and say where that leaves some out."""
        every = list(queryset)
        mine = [job for job in every if may(request.user, job.operation)]
        if left := len(every) - len(mine):
            self.message_user(
                request, f"{left} of these jobs do what you may not start; they are as before.", messages.ERROR
            )
        return mine


def _of(user: Any) -> list[str]:
    """Return the operations that somebody may start."""
    return [name for name in catalog.OPERATIONS if may(user, name)]


def _who(request: HttpRequest) -> dict[str, str]:
    return {"actor": request.user.get_username(), "address": of_client(request)}


def _start(page: ModelAdmin, request: HttpRequest, operation: str, arguments: dict[str, Any], said: str) -> None:
    _told(
        page,
        request,
        lambda: f"{said} Job {jobs.start(operation, arguments, now=utc_now, **_who(request)).pk} is queued.",
    )


def _told(page: ModelAdmin, request: HttpRequest, act: Any) -> None:
    """Do something, and say what came of it."""
    try:
        page.message_user(request, act())
    except OrbError as problem:
        page.message_user(request, str(problem), messages.ERROR)
