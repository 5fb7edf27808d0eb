"""Admin pages of retention policies, their runs, and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.urls import reverse

from orbsite.admin.base import audit
from orbsite.admin.base.changelist import StrictAdmin, known
from orbsite.admin.base.permissions import may
from orbsite.admin.forms.fields import TreeField
from orbsite.admin.jobs.start import confirmation, who
from orbsite.admin.links import Link, LinksMixin, to_operation
from orbsite.admin.records.model_admin import LedgerAdmin, ModelAdmin, pretty
from orbsite.models.jobs import OPERATIONS, Job
from orbsite.models.retention import PolicyRun, RetentionPolicy, domains_with_retention
from orbsite.operations.jobs import catalog, jobs
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of a policy; its choices are the domains that support retention."""

    domain = forms.ChoiceField(choices=lambda: [(name, name) for name in domains_with_retention()])


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(LinksMixin, StrictAdmin):
    """Pages of retention policies: rules, schedule, and the result of the last run."""

    form = PolicyForm
    formfield_overrides = {models.JSONField: {"form_class": TreeField}}
    list_display = ("name", "domain", "store", "enabled", "every", "next_due", "last_state", "last_finished")
    list_filter = ("enabled", known("domain", domains_with_retention), "store", "last_state")
    actions = ("run_next", "preview")
    readonly_fields = ("last_state", "last_started", "last_finished", "last_error", "result", "claimed_by", "heartbeat")
    fieldsets = (
        (None, {"fields": ("name", "domain", "store", "rules", "force")}),
        ("Schedule", {"fields": ("enabled", "every", "next_due")}),
        ("Last run", {"fields": readonly_fields}),
    )

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link a policy to the form that previews its next removal."""
        if row is not None:
            yield from to_operation(request, "Preview", "preview", policy=row.pk)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save only the changed fields, because maintenance may update the others at the same time."""
        obj.save(update_fields=form.changed_data if change else None)
        audit.note(request, "policy changed" if change else "policy made", subject=obj.pk, fields=form.changed_data)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete a policy, and add it to the audit log."""
        audit.note(request, "policy removed", subject=obj.pk)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete policies, and add each to the audit log."""
        for policy in queryset:
            audit.note(request, "policy removed", subject=policy.pk)
        super().delete_queryset(request, queryset)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Allow users who may start maintenance to run policies."""
        return may(request.user, "maintain")

    def has_preview_permission(self, request: HttpRequest) -> bool:
        """Allow users who may start a preview to preview policies."""
        return may(request.user, "preview")

    @admin.display(description="result")
    def result(self, policy: RetentionPolicy) -> Any:
        """The result of the last run as JSON."""
        return pretty(policy.last_result)

    @admin.action(description="Run selected policies now", permissions=["run"])
    def run_next(self, request: HttpRequest, queryset: Any) -> None:
        """Make the policies due now and queue maintenance; clearing the times also helps after a clock was set back."""
        number = queryset.update(next_due=None, last_started=None)
        audit.note(request, "policies made due", policies=number)
        _start(self, request, "maintain", {}, f"{number} policies are due now.")

    @admin.action(description="Preview what selected policies would remove", permissions=["preview"])
    def preview(self, request: HttpRequest, queryset: Any) -> None:
        """Queue a preview job for each policy."""
        for policy in queryset:
            _start(self, request, "preview", {"policy": policy.pk}, "The preview removes nothing.")


@admin.register(PolicyRun)
class PolicyRunAdmin(LedgerAdmin):
    """Pages of policy runs: schedule slot, state, times and worker."""

    list_display = ("id", "policy", "slot", "missed", "state", "started_at", "finished_at", "worker")
    list_filter = ("state", "policy", "started_at")
    list_select_related = ("policy",)


@admin.register(Job)
class JobAdmin(LedgerAdmin):
    """Pages of jobs. The operations' pages start them."""

    list_display = ("id", "operation", "state", "progress", "expected", "actor", "created_at", "finished_at")
    list_filter = ("state", known("operation", lambda: OPERATIONS), "created_at")
    actions = ("cancel", "start_again")
    fields = (
        *("operation", "arguments", "state", "progress", "expected", "wants_to_stop", "error", "actor", "worker"),
        *("heartbeat", "created_at", "started_at", "finished_at", "shown_result"),
    )
    readonly_fields = ("shown_result",)

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link the list to the operations, and a job to its progress page."""
        if row is None:
            yield "Operations", reverse("admin:operations")
        else:
            yield "Show progress", reverse("admin:job", args=[row.pk])

    @admin.display(description="result")
    def shown_result(self, job: Job) -> Any:
        """The result of the operation as JSON."""
        return pretty(job.result)

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Allow users who may start some operation to use the actions; `_permitted_jobs` then checks each job."""
        return any(may(request.user, name) for name in catalog.OPERATIONS)

    @admin.action(description="Cancel selected jobs", permissions=["start"])
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel queued and running jobs."""
        for job in self._permitted_jobs(request, queryset):
            audit.note(request, "job cancelled", subject=job.pk, operation=job.operation)
            _run(self, request, lambda job=job: f"Job {jobs.cancel(job.pk, now=utc_now).pk} will stop.")

    @admin.action(description="Start selected jobs again", permissions=["start"])
    def start_again(self, request: HttpRequest, queryset: Any) -> Any:
        """Queue finished jobs again with the same arguments."""
        permitted = self._permitted_jobs(request, queryset)
        pages = (confirmation(request, job.operation, job.arguments) for job in permitted)
        if page := next(filter(None, pages), None):
            return page
        for job in permitted:
            _run(
                self,
                request,
                lambda job=job: f"Job {jobs.start_again(job.pk, now=utc_now, **who(request)).pk} is queued.",
            )
        return None

    def _permitted_jobs(self, request: HttpRequest, queryset: Any) -> list[Job]:
        """Return the jobs whose operations the user may start, and show a message about the others."""
        selected = list(queryset)
        permitted = [job for job in selected if may(request.user, job.operation)]
        if refused := len(selected) - len(permitted):
            self.message_user(
                request,
                f"{refused} jobs were not changed, because you do not have permission to start their operations.",
                messages.ERROR,
            )
        return permitted


def _start(page: ModelAdmin, request: HttpRequest, operation: str, arguments: dict[str, Any], message: str) -> None:
    _run(
        page,
        request,
        lambda: f"{message} Job {jobs.start(operation, arguments, now=utc_now, **who(request)).pk} is queued.",
    )


def _run(page: ModelAdmin, request: HttpRequest, act: Any) -> None:
    """Call `act`, then show the message that it returns or its error."""
    try:
        page.message_user(request, act())
    except OrbError as problem:
        page.message_user(request, str(problem), messages.ERROR)
