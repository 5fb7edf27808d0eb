"""Admin pages of retention policies, their runs, and jobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.urls import path, reverse
from typing_extensions import override

from orbsite.admin.base import audit
from orbsite.admin.base.changelist import StrictAdmin, known
from orbsite.admin.base.permissions import may
from orbsite.admin.jobs.start import confirmation, who
from orbsite.admin.jobs.story import Story, of_job
from orbsite.admin.jobs.story_page import StoryMixin
from orbsite.admin.links import Link, LinksMixin, to_operation
from orbsite.admin.records.model_admin import LedgerAdmin, ModelAdmin, pretty
from orbsite.admin.registrations.policy_effect import (
    PolicyEffect,
    due_in_words,
    effect_in_words,
    effect_of_form,
)
from orbsite.admin.registrations.policy_form import KEPT, LIMITS, PREVIEW, SCHEDULE, PolicyForm, in_words
from orbsite.models.jobs import OPERATIONS, Job
from orbsite.models.retention import PolicyRun, RetentionPolicy, domains_with_retention
from orbsite.operations.jobs import catalog, jobs
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import InvalidPolicy, OrbError

_ABOUT_KEEP_RULES = (
    "A record that one of these keeps is kept, and one that none of these keeps is removed. "
    "Without any, all records within the limits are kept."
)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@admin.register(RetentionPolicy)
class RetentionPolicyAdmin(LinksMixin, StrictAdmin):
    """Pages of retention policies: rules, schedule, and the result of the last run."""

    form = PolicyForm
    change_form_template = "console/policy_form.html"
    list_display = ("name", "in_words", "schedule_in_words", "enabled", "next_due", "last_state", "last_finished")
    list_filter = ("enabled", known("domain", domains_with_retention), "store", "last_state")
    actions = ("run_next", "preview")
    readonly_fields = (
        *("schedule_in_words", "next_runs", "last_state", "last_started", "last_finished", "last_error", "result"),
        *("claimed_by", "heartbeat"),
    )
    fieldsets = (
        (None, {"fields": ("name", ("domain", "store"))}),
        ("Limits", {"fields": (LIMITS,), "description": "A limit removes a record even if a keep rule keeps it."}),
        ("Schedule", {"fields": (SCHEDULE,)}),
        ("Keep rules", {"fields": KEPT, "description": _ABOUT_KEEP_RULES}),
        ("Runs", {"fields": ("enabled", "force", "next_due")}),
        ("Rules as JSON", {"fields": ("rules",), "classes": ("collapse",)}),
    )
    viewed = (
        (None, {"fields": ("name", ("domain", "store"), "in_words", "rules", "force")}),
        ("Schedule", {"fields": ("enabled", "schedule_in_words", "next_due", "next_runs")}),
    )
    last_run = (
        ("Last run", {"fields": ("last_state", "last_started", "last_finished", "last_error")}),
        ("Details of the last run", {"fields": ("result", "claimed_by", "heartbeat"), "classes": ("collapse",)}),
    )

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Link a policy to the form that previews its next removal."""
        if row is not None:
            yield from to_operation(request, "Preview", "preview", policy=row.pk)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the parts of the form, or of the page of those who may only view; the last run if there was one."""
        parts = self.fieldsets if obj is None or self.has_change_permission(request, obj) else self.viewed
        return (*parts, *(self.last_run if obj is not None and obj.last_state else ()))

    def get_urls(self) -> list[Any]:
        """Add the view that says what a form would do."""
        view = self.admin_site.admin_view(self.explain)
        return [path("explain/", view, name="orbsite_retentionpolicy_explain"), *super().get_urls()]

    def explain(self, request: HttpRequest) -> JsonResponse:
        """Return what the policy of a form would do, in words and, if it may be previewed, in numbers.

        The answer is JSON: `text` is what it does, and `details` are its next runs and its plot as HTML.
        """
        if request.method != "POST":
            return JsonResponse({"text": "Send the form with POST."}, status=405)
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        number = request.POST.get("policy", "")
        found = RetentionPolicy.objects.filter(pk=int(number)).first() if _NUMBER.fullmatch(number) else None
        told = self._effect(request, PolicyForm(request.POST, instance=found))
        details = render_to_string("console/policy_effect.html", {"effect": told})
        return JsonResponse({"text": told.text, "details": details})

    def _effect(self, request: HttpRequest, form: PolicyForm) -> PolicyEffect:
        return effect_of_form(form, utc_now(), counts=self.has_preview_permission(request))

    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        """Add what the policy does: with its numbers where the form was sent to preview them."""
        form = context["adminform"].form
        if isinstance(form, PolicyForm) and form.is_bound:
            context["effect"] = self._effect(request, form)
        elif options.get("obj") is not None:
            context["effect"] = effect_in_words(options["obj"], utc_now())
        context["preview_button"] = PREVIEW
        return super().render_change_form(request, context, *arguments, **options)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save only the changed fields, because maintenance may update the others at the same time."""
        due = form.next_due(utc_now())
        moved = [] if due == obj.next_due else ["next_due"]
        obj.next_due = due
        obj.save(update_fields={*form.changed_columns, *moved} if change else None)
        audit.note(request, "policy changed" if change else "policy made", subject=obj.pk, fields=form.changed_columns)

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

    @admin.display(description="what it does")
    def in_words(self, policy: RetentionPolicy) -> str:
        """What the policy does, in sentences."""
        return in_words(policy)

    @admin.display(description="schedule")
    def schedule_in_words(self, policy: RetentionPolicy) -> str:
        """When the policy is due, or what is wrong with its time zone."""
        try:
            return policy.schedule.in_words()
        except InvalidPolicy as problem:
            return str(problem)

    @admin.display(description="next runs")
    def next_runs(self, policy: RetentionPolicy) -> str:
        """The next three moments at which the saved policy is due."""
        return "; ".join(due_in_words(policy, utc_now())) or "None, until it is enabled."

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
class JobAdmin(StoryMixin, LedgerAdmin):
    """Pages of jobs. The operations' pages start them."""

    list_display = ("id", "operation", "state", "progress", "expected", "actor", "created_at", "finished_at")
    list_filter = ("state", known("operation", lambda: OPERATIONS), "created_at")
    actions = ("cancel", "start_again")
    fields = (
        *("operation", "arguments", "state", "progress", "expected", "wants_to_stop", "error", "actor", "worker"),
        *("heartbeat", "created_at", "started_at", "finished_at", "shown_result"),
    )
    readonly_fields = ("shown_result",)

    @override
    def story(self, request: HttpRequest, row: Job) -> Story:
        return of_job(row, request.user, utc_now())

    @override
    def counts(self, row: Job) -> dict[str, Any]:
        sections = (row.result or {}).get("domains") or {}
        return {domain: section["kinds"] for domain, section in sections.items() if "kinds" in section}

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
