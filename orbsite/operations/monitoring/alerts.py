"""The rules that make the alerts. Each alert says what to do, with a button or a link for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.template.defaultfilters import filesizeformat

from orbsite.conf.app_settings import Persistence
from orbsite.models.jobs import Job, JobState
from orbsite.models.ledger import Run, RunState
from orbsite.models.retention import PolicyState
from orbsite.operations.monitoring.alert import Alert, Link, May, Rule, Severity, ago, at_once, form
from orbsite.operations.monitoring.console_pages import page_address
from orbsite.operations.monitoring.snapshot import MOST_REJECTS, DashboardSnapshot
from orbsite.operations.scheduling.clock_guard import LEAP
from orbsite.operations.statistics.figures import FILE, Figures
from orbsite.operations.workers.workers import STALE_AFTER
from orbsite.runtime.home import program
from orbsite.storage.postgresql.replicas import MAX_LAG, Condition


def alerts(snapshot: DashboardSnapshot, may: May) -> list[Alert]:
    """Return the alerts, the most severe first; `may` returns whether the user may start an operation."""
    every = [alert for rule in RULES for alert in rule(snapshot, may)]
    return sorted(every, key=lambda alert: list(Severity).index(alert.severity))


BACKUP_AFTER = timedelta(days=7)
"""The age of the newest backup from which an alert is shown."""
CHECKED_AFTER = timedelta(days=7)
"""The age of the last check of large files from which an alert is shown."""
LOW_SPACE_FACTOR = 5
"""An alert is shown if less than this many times ORB_MIN_FREE_BYTES is free."""


def _stores(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for figures in snapshot.figures:
        yield from _of_file(figures, may) if figures.store == FILE else _of_sql(figures)


def _of_sql(figures: Figures) -> Iterator[Alert]:
    if figures.problem:
        yield Alert(
            name=f"sql-{figures.domain.name}",
            severity=Severity.ERROR,
            title=f"SQL cannot be read: {figures.domain.name}",
            text=figures.problem,
        )


def _of_file(figures: Figures, may: May) -> Iterator[Alert]:
    damage = [issue for issue in figures.issues or () if issue.trouble.is_damage]
    others = [issue for issue in figures.issues or () if not issue.trouble.is_damage]
    what, name = figures.domain.file, figures.domain.name
    if damage or figures.problem:
        details = "; ".join(f"{issue.name} {issue.message}" for issue in damage) or figures.problem
        yield Alert(
            name=f"damaged-{name}",
            severity=Severity.ERROR,
            title=f"The file {what} is damaged",
            text=f"{details}. Repair the file. You see a preview first, and replaced files are kept as copies.",
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "check", "Check all files…")],
        )
    elif others:
        yield Alert(
            name=f"odd-{name}",
            severity=Severity.NOTE,
            title=f"The file {what} has issues",
            text="; ".join(f"{issue.name} {issue.message}" for issue in others),
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "cleanup", "Clean up…", only=[name])],
        )
    most = int(settings.ORB_MAX_JOURNAL_BYTES)
    if figures.journal > most // 2:
        yield Alert(
            name=f"journal-{name}",
            severity=Severity.ERROR if figures.journal > most else Severity.WARNING,
            title=f"The journal of {what} is large",
            text=f"The journal has {filesizeformat(figures.journal)}. Above {filesizeformat(most)}, the server is not "
            "ready. Compact the file to merge the journal into it.",
            links=form(may, "compact", "Compact…", only=[name]),
        )


def _large_files(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    """Report the last check of files that are too large to be checked by a page."""
    large = [figures.domain.name for figures in snapshot.figures if figures.issues is None]
    job = snapshot.last_check
    if not large or not snapshot.is_ours:
        return
    if job is None or job.finished_at is None or snapshot.now - job.finished_at > CHECKED_AFTER:
        yield Alert(
            name="unchecked",
            severity=Severity.NOTE,
            title="Large files have not been checked recently",
            text=f"The files of {', '.join(large)} are too large for this page to check. Start a job to check them.",
            **at_once(may, "check", "Check files now"),
        )
    elif found := [finding for finding in (job.result or {}).get("findings", ()) if finding["severity"] == "error"]:
        yield Alert(
            name="damaged",
            severity=Severity.ERROR,
            title="Files are damaged",
            text=f"Job {job.pk}, {ago(snapshot, job.finished_at)} ago, found {len(found)} errors, such as: "
            f"{found[0]['path']} {found[0]['message']}.",
            **at_once(may, "check", "Check files again"),
            links=[Link(f"Job {job.pk}", partial(page_address, "job", job.pk)), *form(may, "repair", "Repair…")],
        )


def _counted(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    old = [
        figures
        for figures in snapshot.figures
        if not figures.is_small and not figures.problem and "tallies" not in figures.details
    ]
    if old:
        names = ", ".join(f"{figures.domain.name} in {figures.store}" for figures in old)
        yield Alert(
            name="uncounted",
            severity=Severity.NOTE,
            title="Large stores have not been counted yet",
            text=f"These stores are too large to be counted by this page: {names}. Maintenance counts them once a day. "
            "To count them now, start a job.",
            **at_once(may, "count", "Count records now"),
        )


def _rejects(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for name, number in sorted(snapshot.rejects.items()):
        shown = f"more than {MOST_REJECTS}" if number > MOST_REJECTS else str(number)
        listed = partial(page_address, "orbsite_reject_changelist", domain__exact=name, settled_by__isempty=1)
        yield Alert(
            name=f"rejects-{name}",
            severity=Severity.WARNING,
            title=f"{shown} rejected {'record' if number == 1 else 'records'} of {name}",
            text="A migration could not import these records. Correct the file, then retry the rejected records.",
            links=[Link("Show rejects", listed), *form(may, "migrate", "Retry…", only=[name], only_rejected=True)],
        )


def _migration(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    if not snapshot.is_ours or snapshot.mode is not Persistence.SQL:
        return
    last = next((run for run in snapshot.runs.get("migrate", ()) if run.state == RunState.COMPLETE), None)
    files = [
        figures
        for figures in snapshot.figures
        if figures.store == FILE and figures.written is not None and not figures.problem
    ]
    changed = [figures for figures in files if last is None or figures.has_changed_since(last)]
    if changed:
        names = ", ".join(str(figures.domain.file) for figures in changed)
        reason = "were never migrated" if last is None else f"have changed since the last migration, run {last.pk}"
        yield Alert(
            name="unmigrated",
            severity=Severity.NOTE,
            title="The files may hold records that SQL does not have",
            text=f"These files {reason}: {names}. A dry run shows what would be new, replaced, kept or rejected.",
            links=[*form(may, "migrate", "Migrate…"), *form(may, "verify", "Verify…")],
        )


def _mode(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    if not snapshot.is_ours or snapshot.mode is Persistence.SQL:
        return
    loses = snapshot.mode is Persistence.MEMORY
    yield Alert(
        name="mode",
        severity=Severity.WARNING if loses else Severity.NOTE,
        title=f"The store in use is {snapshot.mode.value}, not SQL",
        text=(
            "Its records are lost when the process ends. "
            if loses
            else "These pages edit the SQL tables, not the files. "
        )
        + "Migrate the files, then set ORB_PERSISTENCE=sql and restart the server.",
        links=form(may, "migrate", "Migrate…"),
    )


def _machine(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    least = int(settings.ORB_MIN_FREE_BYTES)
    if snapshot.free is not None and snapshot.free < LOW_SPACE_FACTOR * least:
        yield Alert(
            name="disk",
            severity=Severity.ERROR if snapshot.free < least else Severity.WARNING,
            title="The disk is nearly full",
            text=f"{filesizeformat(snapshot.free)} are free, and saving needs {filesizeformat(least)}. "
            "Clean up leftover files, or free disk space.",
            links=[*form(may, "cleanup", "Clean up…"), *form(may, "compact", "Compact…")],
        )
    holds = any(figures.counts for figures in snapshot.figures)
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
            text=f"Back up at least every {BACKUP_AFTER.days} days. A backup holds the files and the database.",
            **at_once(may, "back-up", "Back up now"),
        )


OVERDUE_AFTER = timedelta(hours=1)
"""How long a due policy may wait before an alert is shown."""
WORKER_AFTER = timedelta(minutes=2)
"""How long a job may be queued while no job is running before an alert is shown."""
RUN_AFTER = timedelta(hours=12)
"""How long a run may be in the state `running` before it counts as unfinished."""
FAILED_JOB_AGE = timedelta(days=7)
"""How long a failed job is shown as an alert."""
MOST_LISTED = 5

_DIFFERENT = ("differ", "missing", "extra", "rejected")


def _runs(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    """Report operations whose last run has not finished."""
    for name, runs in snapshot.runs.items():
        last = runs[0] if runs else None
        if last is None or not _is_unfinished(snapshot, last):
            continue
        yield Alert(
            name=f"run-{name}",
            severity=Severity.ERROR if last.state == RunState.FAILED else Severity.WARNING,
            title=f"The last {name} did not finish",
            text=f"Run {last.pk}, started {ago(snapshot, last.started_at)} ago, is {last.state}. "
            "Start the operation again: it continues where it stopped.",
            links=[
                _run(last),
                *form(may, name, f"{name.capitalize()}…", **({"run": last.reverts_id} if last.reverts_id else {})),
            ],
        )


def _is_unfinished(snapshot: DashboardSnapshot, run: Run) -> bool:
    if run.state == RunState.RUNNING:
        return snapshot.now - run.started_at > RUN_AFTER
    return run.state in (RunState.FAILED, RunState.INTERRUPTED)


def _differences(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    last = next(iter(snapshot.runs.get("verify", ())), None)
    if last is None:
        return
    kinds = [counts for domain in last.counts.values() for counts in domain.values()]
    totals = {what: sum(counts.get(what, 0) for counts in kinds) for what in _DIFFERENT}
    if any(totals.values()):
        yield Alert(
            name="differences",
            severity=Severity.WARNING,
            title="Files and SQL differ",
            text=f"Run {last.pk}, {ago(snapshot, last.started_at)} ago, found: "
            + ", ".join(f"{number} {what}" for what, number in totals.items() if number)
            + ". Migrate the missing records, then verify again.",
            **at_once(may, "compare", "Verify again"),
            links=[_run(last), *form(may, "migrate", "Migrate…")],
        )


def _jobs(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    dead = [job for job in snapshot.open_jobs if _is_dead(snapshot, job)]
    if dead:
        first = f"Job {dead[0].pk} ({dead[0].operation}) has"
        yield Alert(
            name="stale",
            severity=Severity.ERROR,
            title=f"{first if len(dead) == 1 else f'{len(dead)} jobs have'} stopped responding",
            text="The worker has died, or cannot reach the database. Run maintenance to mark such jobs as failed, then "
            "start them again.",
            **at_once(may, "maintain", "Run maintenance"),
            links=[_job(job) for job in dead[:MOST_LISTED]],
        )
    waiting = [job for job in snapshot.open_jobs if job.state == JobState.QUEUED]
    is_busy = len(snapshot.open_jobs) > len(waiting) + len(dead)
    oldest = min((job.created_at for job in waiting), default=snapshot.now)
    if snapshot.has_own_workers and not is_busy and snapshot.now - oldest > WORKER_AFTER:
        yield Alert(
            name="no-worker",
            severity=Severity.ERROR,
            title="No worker is running",
            text=f"{len(waiting)} jobs are queued, the oldest for {ago(snapshot, oldest)}. "
            f"Start a worker, preferably as a service: {program()} db_worker",
            links=[Link("Show queued jobs", partial(page_address, "orbsite_job_changelist", state__exact="queued"))],
        )


def _is_dead(snapshot: DashboardSnapshot, job: Job) -> bool:
    since = job.heartbeat or job.started_at
    return job.state == JobState.RUNNING and since is not None and snapshot.now - since > STALE_AFTER


def _failed(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:  # noqa: ARG001 -- the job's own page starts it again
    """Report operations whose last job has failed recently."""
    last: dict[str, Job] = {}
    for job in snapshot.ended_jobs:
        last.setdefault(job.operation, job)
    for name, job in last.items():
        is_recent = job.finished_at is not None and snapshot.now - job.finished_at < FAILED_JOB_AGE
        if job.state == JobState.FAILED and is_recent:
            yield Alert(
                name=f"failed-{name}",
                severity=Severity.WARNING,
                title=f"Job {job.pk} ({name}) has failed",
                text=job.error[:300] or "Open the job's page to see the details and to start it again.",
                links=[_job(job)],
            )


def _policies(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:
    for policy in (active for active in snapshot.policies if active.enabled):
        links = [Link("Show policy", partial(page_address, "orbsite_retentionpolicy_change", policy.pk))]
        due = policy.next_due
        if policy.last_state == PolicyState.FAILED:
            yield Alert(
                name=f"policy-{policy.pk}",
                severity=Severity.WARNING,
                title=f"The policy “{policy.name}” has failed",
                text=policy.last_error[:300]
                or "The last run left no error text. Preview the policy, then run it again.",
                links=[*links, *form(may, "preview", "Preview…", policy=policy.pk)],
            )
        elif not policy.claimed_by and due is not None and snapshot.now - due > OVERDUE_AFTER:
            yield Alert(
                name=f"policy-{policy.pk}",
                severity=Severity.WARNING,
                title=f"The policy “{policy.name}” is overdue",
                text=f"It was due {ago(snapshot, due)} ago. "
                f"Start maintenance: {program()} run_orb_maintenance --loop 30",
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
                text="No policy is applied without maintenance. Start it, preferably as a service: "
                f"{program()} run_orb_maintenance --loop 30",
                **at_once(may, "maintain", "Run maintenance"),
            )
        return
    button = at_once(may, "trust-the-clock", "Trust the clock and run maintenance")
    if clock.since is not None:
        yield Alert(
            name="clock",
            severity=Severity.WARNING,
            title="The clock has jumped, so retention is paused",
            text="Retention removes no records now. It resumes after the clock has been stable for a day, or at once "
            "if you confirm that the clock is right.",
            **button,
        )
    elif snapshot.now - clock.trusted > LEAP:
        yield Alert(
            name="maintenance",
            severity=Severity.WARNING,
            title=f"Maintenance has not run for {ago(snapshot, clock.trusted)}",
            text="Policies are not applied, and growth is not recorded. Start maintenance, preferably as a service: "
            f"{program()} run_orb_maintenance --loop 30. After so long a pause, confirm first that the clock is right.",
            **button,
        )


def _replicas(snapshot: DashboardSnapshot, may: May) -> Iterator[Alert]:  # noqa: ARG001 -- of all rules
    for name, condition in snapshot.replicas.items():
        if condition is not Condition.FIT:
            severity, title, text = _OF_REPLICA[condition]
            yield Alert(name=f"replica-{name}", severity=severity, title=title.format(name), text=text)


_OF_REPLICA = {
    Condition.LAGGING: (
        Severity.WARNING,
        "The replica {} is behind",
        f"It is more than {MAX_LAG:.0f} seconds behind the primary, so that no reads go to it. Check whether its "
        "replay is paused, and its load and network.",
    ),
    Condition.UNREACHABLE: (
        Severity.WARNING,
        "The replica {} does not respond",
        "No reads go to it, and the primary has their load. Check that the server runs, and its address in "
        "DATABASE_REPLICA_URLS.",
    ),
    Condition.PROMOTED: (
        Severity.ERROR,
        "The replica {} is no standby any more",
        "It was promoted, and takes writes of its own, so that two servers may have different data. No reads go to it "
        "from here. Stop the server that is not to be the primary; then set DATABASE_URL and DATABASE_REPLICA_URLS.",
    ),
}


def _run(run: Run) -> Link:
    return Link(f"Run {run.pk}", partial(page_address, "orbsite_run_change", run.pk))


def _job(job: Job) -> Link:
    return Link(f"Job {job.pk}", partial(page_address, "job", job.pk))


RULES: tuple[Rule, ...] = (
    _stores,
    _large_files,
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
    _replicas,
)
