"""What needs attention, the worst first: each with what it means, and the button or the page that mends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from orbsite.admin.dashboard.alert import Alert, Link, May, Rule, Severity, ago, at_once, form
from orbsite.admin.dashboard.figures import FILE, Figures
from orbsite.admin.dashboard.snapshot import MOST_REJECTS, DashboardSnapshot
from orbsite.conf.app_settings import Persistence
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.scheduling.clock_guard import LEAP
from orbsite.operations.workers.workers import STALE_AFTER


def alerts(snapshot: DashboardSnapshot, may: May) -> list[Alert]:
    """Return what needs attention; `may` tells which operations the person may start."""
    found = [alert for rule in RULES for alert in rule(snapshot, may)]
    return sorted(found, key=lambda one: list(Severity).index(one.severity))


BACKUP_AFTER = timedelta(days=7)
"""How old the newest backup may be."""
CHECKED_AFTER = timedelta(days=7)
"""How long ago a job may have looked at large files."""
ROOM = 5
"""How many times the room that has to be free is little."""


def _stores(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for one in snapshot.figures:
        yield from _of_file(one, may) if one.store == FILE else _of_sql(one)


def _of_sql(one: Figures) -> Iterator[Alert]:
    if one.problem:
        yield Alert(
            name=f"sql-{one.domain.name}",
            severity=Severity.ERROR,
            title=f"SQL cannot be read: {one.domain.name}",
            text=one.problem,
        )


def _of_file(one: Figures, may: May) -> Iterator[Alert]:
    damage = [issue for issue in one.issues or () if issue.trouble.is_damage]
    others = [issue for issue in one.issues or () if not issue.trouble.is_damage]
    what, name = one.domain.file, one.domain.name
    if damage or one.problem:
        told = "; ".join(f"{issue.name} {issue.message}" for issue in damage) or one.problem
        yield Alert(
            name=f"damaged-{name}",
            severity=Severity.ERROR,
            title=f"The file {what} is damaged",
            text=f"{told}. Repair tells first what it would do, and keeps whatever it replaces.",
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "check", "Look at all files")],
        )
    elif others:
        yield Alert(
            name=f"odd-{name}",
            severity=Severity.NOTE,
            title=f"Something is odd about {what}",
            text="; ".join(f"{issue.name} {issue.message}" for issue in others),
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "cleanup", "Clean up…", only=[name])],
        )
    most = int(settings.ORB_MAX_JOURNAL_BYTES)
    if one.journal > most // 2:
        yield Alert(
            name=f"journal-{name}",
            severity=Severity.ERROR if one.journal > most else Severity.WARNING,
            title=f"The journal of {what} is long",
            text=f"It has {filesizeformat(one.journal)}, and more than {filesizeformat(most)} is not ready to serve. "
            "Compaction folds it into its file.",
            links=form(may, "compact", "Compact…", only=[name]),
        )


def _looked_at(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    """Tell what a job found of files that are too large for a page to look at them."""
    large = [one.domain.name for one in snapshot.figures if one.issues is None]
    job = snapshot.last_check
    if not large or not snapshot.is_ours:
        return
    if job is None or job.finished_at is None or snapshot.now - job.finished_at > CHECKED_AFTER:
        yield Alert(
            name="unchecked",
            severity=Severity.NOTE,
            title="Nobody has looked for damage of late",
            text=f"The files of {', '.join(large)} are too large for a page to look at them. A job does.",
            **at_once(may, "check", "Look now"),
        )
    elif told := [one for one in (job.result or {}).get("findings", ()) if one["severity"] == "error"]:
        yield Alert(
            name="damaged",
            severity=Severity.ERROR,
            title="Files are damaged",
            text=f"Job {job.pk}, {ago(snapshot, job.finished_at)} ago, found {len(told)} faults, such as: "
            f"{told[0]['path']} {told[0]['message']}.",
            **at_once(may, "check", "Look again"),
            links=[Link(f"Job {job.pk}", reverse("admin:job", args=[job.pk])), *form(may, "repair", "Repair…")],
        )


def _counted(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    old = [one for one in snapshot.figures if not one.is_small and not one.problem and "tallies" not in one.details]
    if old:
        names = ", ".join(f"{one.domain.name} in {one.store}" for one in old)
        yield Alert(
            name="uncounted",
            severity=Severity.NOTE,
            title="Large stores have not been counted yet",
            text=f"A page does not count what is large: {names}. Maintenance does once a day, and a job now.",
            **at_once(may, "count", "Count now"),
        )


def _rejects(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for name, number in sorted(snapshot.rejects.items()):
        shown = f"more than {MOST_REJECTS}" if number > MOST_REJECTS else str(number)
        listed = reverse("admin:orbsite_reject_changelist") + f"?domain__exact={name}&settled_by__isempty=1"
        yield Alert(
            name=f"rejects-{name}",
            severity=Severity.WARNING,
            title=f"{shown} rejected {'record' if number == 1 else 'records'} of {name}",
            text="A migration could not take them. Mend the file, and try again those that were rejected alone.",
            links=[Link("Look at them", listed), *form(may, "migrate", "Try again…", only=[name], only_rejected=True)],
        )


def _migration(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    if not snapshot.is_ours or snapshot.mode is not Persistence.SQL:
        return
    last = next((run for run in snapshot.runs.get("migrate", ()) if run.state == Run.State.COMPLETE), None)
    files = [one for one in snapshot.figures if one.store == FILE and one.written is not None and not one.problem]
    changed = [one for one in files if last is None or _has_changed(one, last)]
    if changed:
        names = ", ".join(str(one.domain.file) for one in changed)
        since = "have never been migrated" if last is None else f"are newer than the last migration, run {last.pk}"
        yield Alert(
            name="unmigrated",
            severity=Severity.NOTE,
            title="The files hold what SQL may not",
            text=f"{names}: they {since}. A dry run tells what would be new, replaced, kept or rejected.",
            links=[*form(may, "migrate", "Migrate…"), *form(may, "verify", "Compare…")],
        )


def _has_changed(one: Figures, last: Run) -> bool:
    if one.digest:
        return bool(last.sources.get(one.domain.name) != one.digest)
    return one.written is not None and one.written > last.started_at


def _mode(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    if not snapshot.is_ours or snapshot.mode is Persistence.SQL:
        return
    loses = snapshot.mode is Persistence.MEMORY
    yield Alert(
        name="mode",
        severity=Severity.WARNING if loses else Severity.NOTE,
        title=f"The store in use is {snapshot.mode.value}, not SQL",
        text=("What it holds ends with its process. " if loses else "These pages edit the SQL tables, not the files. ")
        + "Migrate, then set ORB_PERSISTENCE=sql and start again.",
        links=form(may, "migrate", "Migrate…"),
    )


def _machine(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    least = int(settings.ORB_MIN_FREE_BYTES)
    if snapshot.free is not None and snapshot.free < ROOM * least:
        yield Alert(
            name="disk",
            severity=Severity.ERROR if snapshot.free < least else Severity.WARNING,
            title="The disk is nearly full",
            text=f"{filesizeformat(snapshot.free)} are free, and saves need {filesizeformat(least)}. "
            "Clean up what is left over, or make room.",
            links=[*form(may, "cleanup", "Clean up…"), *form(may, "compact", "Compact…")],
        )
    holds = any(one.counts for one in snapshot.figures)
    if snapshot.is_ours and holds and (snapshot.backup is None or snapshot.now - snapshot.backup > BACKUP_AFTER):
        when = (
            "There is no backup"
            if snapshot.backup is None
            else f"The newest backup is {ago(snapshot, snapshot.backup)} old"
        )
        yield Alert(
            name="backup",
            severity=Severity.WARNING,
            title=when,
            text=f"One that is younger than {BACKUP_AFTER.days} days is good to have. It keeps files and database.",
            **at_once(may, "back-up", "Back up now"),
        )


OVERDUE_AFTER = timedelta(hours=1)
"""For how long a policy that is due may wait."""
WORKER_AFTER = timedelta(minutes=2)
"""For how long a job may wait while no worker gives a sign of life."""
RUN_AFTER = timedelta(hours=12)
"""For how long a run may say that it runs."""
LOOKED_BACK = timedelta(days=7)
"""For how long a job that failed is shown."""
MOST_LISTED = 5

_DIFFERENT = ("differ", "missing", "extra", "rejected")


def _runs(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    """Tell of operations whose last run did not come to its end."""
    for name, runs in snapshot.runs.items():
        last = runs[0] if runs else None
        if last is None or not _is_unfinished(snapshot, last):
            continue
        yield Alert(
            name=f"run-{name}",
            severity=Severity.ERROR if last.state == Run.State.FAILED else Severity.WARNING,
            title=f"The last {name} did not come to its end",
            text=f"Run {last.pk} of {ago(snapshot, last.started_at)} ago is {last.state}. "
            "Start it again: it goes on where it stopped.",
            links=[
                _run(last),
                *form(may, name, f"{name.capitalize()}…", **({"run": last.reverts_id} if last.reverts_id else {})),
            ],
        )


def _is_unfinished(snapshot: DashboardSnapshot, run: Run) -> bool:
    if run.state == Run.State.RUNNING:
        return snapshot.now - run.started_at > RUN_AFTER
    return run.state in (Run.State.FAILED, Run.State.INTERRUPTED)


def _differences(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    last = next(iter(snapshot.runs.get("verify", ())), None)
    if last is None:
        return
    kinds = [counts for domain in last.counts.values() for counts in domain.values()]
    told = {what: sum(counts.get(what, 0) for counts in kinds) for what in _DIFFERENT}
    if any(told.values()):
        yield Alert(
            name="differences",
            severity=Severity.WARNING,
            title="Files and SQL were not the same",
            text=f"Run {last.pk}, {ago(snapshot, last.started_at)} ago, found: "
            + ", ".join(f"{number} {what}" for what, number in told.items() if number)
            + ". Migrate what is missing, then compare again.",
            **at_once(may, "compare", "Compare again"),
            links=[_run(last), *form(may, "migrate", "Migrate…")],
        )


def _jobs(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    dead = [job for job in snapshot.open_jobs if _is_dead(snapshot, job)]
    if dead:
        one = f"Job {dead[0].pk} ({dead[0].operation}) gives"
        yield Alert(
            name="stale",
            severity=Severity.ERROR,
            title=f"{one if len(dead) == 1 else f'{len(dead)} jobs give'} no sign of life",
            text="The worker has died, or cannot reach the database. Maintenance fails them; then start them again.",
            **at_once(may, "maintain", "Run maintenance"),
            links=[_job(job) for job in dead[:MOST_LISTED]],
        )
    waiting = [job for job in snapshot.open_jobs if job.state == Job.State.QUEUED]
    is_busy = len(snapshot.open_jobs) > len(waiting) + len(dead)
    oldest = min((job.created_at for job in waiting), default=snapshot.now)
    if snapshot.has_own_workers and not is_busy and snapshot.now - oldest > WORKER_AFTER:
        yield Alert(
            name="no-worker",
            severity=Severity.ERROR,
            title="No worker is at work",
            text=f"{len(waiting)} waiting, the first for {ago(snapshot, oldest)}. "
            "Start a worker, best as a service: manage.py db_worker",
            links=[Link("Waiting jobs", reverse("admin:orbsite_job_changelist") + "?state__exact=queued")],
        )


def _is_dead(snapshot: DashboardSnapshot, job: Job) -> bool:
    since = job.heartbeat or job.started_at
    return job.state == Job.State.RUNNING and since is not None and snapshot.now - since > STALE_AFTER


def _failed(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:  # noqa: ARG001 -- the job's own page starts it again
    """Tell of operations whose last job has failed, of late."""
    last: dict[str, Job] = {}
    for job in snapshot.ended_jobs:
        last.setdefault(job.operation, job)
    for name, job in last.items():
        is_late = job.finished_at is not None and snapshot.now - job.finished_at < LOOKED_BACK
        if job.state == Job.State.FAILED and is_late:
            yield Alert(
                name=f"failed-{name}",
                severity=Severity.WARNING,
                title=f"Job {job.pk} ({name}) has failed",
                text=job.error[:300] or "Its page tells more, and starts it again.",
                links=[_job(job)],
            )


def _policies(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for policy in (one for one in snapshot.policies if one.enabled):
        links = [Link("The policy", reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk]))]
        due = policy.next_due
        if policy.last_state == RetentionPolicy.State.FAILED:
            yield Alert(
                name=f"policy-{policy.pk}",
                severity=Severity.WARNING,
                title=f"The policy “{policy.name}” has failed",
                text=policy.last_error[:300] or "Its last run tells nothing more. Preview it, then run it again.",
                links=[*links, *form(may, "preview", "Preview…", policy=policy.pk)],
            )
        elif not policy.claimed_by and due is not None and snapshot.now - due > OVERDUE_AFTER:
            yield Alert(
                name=f"policy-{policy.pk}",
                severity=Severity.WARNING,
                title=f"The policy “{policy.name}” is overdue",
                text=f"It was due {ago(snapshot, due)} ago. "
                "Have maintenance run: manage.py run_orb_maintenance --loop 30",
                **at_once(may, "maintain", "Run maintenance"),
                links=links,
            )


def _clock(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    clock = snapshot.clock
    if clock is None:
        if any(policy.enabled for policy in snapshot.policies):
            yield Alert(
                name="maintenance",
                severity=Severity.WARNING,
                title="Maintenance has never run",
                text="So no policy has. Have it run, best as a service: manage.py run_orb_maintenance --loop 30",
                **at_once(may, "maintain", "Run maintenance"),
            )
        return
    button = at_once(may, "trust-the-clock", "The clock is right")
    if clock.since is not None:
        yield Alert(
            name="clock",
            severity=Severity.WARNING,
            title="The clock has jumped, and nothing is removed",
            text="It is believed again once it has gone on steadily for a day, or at once where somebody says that it "
            "is right.",
            **button,
        )
    elif snapshot.now - clock.trusted > LEAP:
        yield Alert(
            name="maintenance",
            severity=Severity.WARNING,
            title=f"No maintenance for {ago(snapshot, clock.trusted)}",
            text="Policies do not run, and growth is not noted. Have it run, best as a service: "
            "manage.py run_orb_maintenance --loop 30. After so long it asks whether the clock is right.",
            **button,
        )


def _run(run: Run) -> Link:
    return Link(f"Run {run.pk}", reverse("admin:orbsite_run_change", args=[run.pk]))


def _job(job: Job) -> Link:
    return Link(f"Job {job.pk}", reverse("admin:job", args=[job.pk]))


RULES: tuple[Rule, ...] = (
    _stores,
    _looked_at,
    _counted,
    _rejects,
    _migration,
    _mode,
    _machine,
    _runs,
    _differences,
    _jobs,
    _failed,
    _policies,
    _clock,
)
