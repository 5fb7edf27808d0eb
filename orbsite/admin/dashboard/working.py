"""What needs attention about runs, jobs, policies, and the clock that they trust."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.urls import reverse

from orbsite.admin.dashboard.alert import Concern, Link, May, Rule, Weight, ago, at_once, form
from orbsite.admin.dashboard.snapshot import Scene
from orbsite.models.jobs import Job
from orbsite.models.ledger import Run
from orbsite.models.retention import RetentionPolicy
from orbsite.operations.scheduling.clock_guard import LEAP
from orbsite.operations.workers.workers import STALE_AFTER

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


def _runs(scene: Scene, may: May) -> Iterator[Concern]:
    """Tell of operations whose last run did not come to its end."""
    for name, runs in scene.runs.items():
        last = runs[0] if runs else None
        if last is None or not _is_unfinished(scene, last):
            continue
        yield Concern(
            name=f"run-{name}",
            weight=Weight.ERROR if last.state == Run.State.FAILED else Weight.WARNING,
            title=f"The last {name} did not come to its end",
            text=f"Run {last.pk} of {ago(scene, last.started_at)} ago is {last.state}. "
            "Start it again: it goes on where it stopped.",
            links=[
                _run(last),
                *form(may, name, f"{name.capitalize()}…", **({"run": last.reverts_id} if last.reverts_id else {})),
            ],
        )


def _is_unfinished(scene: Scene, run: Run) -> bool:
    if run.state == Run.State.RUNNING:
        return scene.now - run.started_at > RUN_AFTER
    return run.state in (Run.State.FAILED, Run.State.INTERRUPTED)


def _differences(scene: Scene, may: May) -> Iterator[Concern]:
    last = next(iter(scene.runs.get("verify", ())), None)
    if last is None:
        return
    kinds = [counts for domain in last.counts.values() for counts in domain.values()]
    told = {what: sum(counts.get(what, 0) for counts in kinds) for what in _DIFFERENT}
    if any(told.values()):
        yield Concern(
            name="differences",
            weight=Weight.WARNING,
            title="Files and SQL were not the same",
            text=f"Run {last.pk}, {ago(scene, last.started_at)} ago, found: "
            + ", ".join(f"{number} {what}" for what, number in told.items() if number)
            + ". Migrate what is missing, then compare again.",
            **at_once(may, "compare", "Compare again"),
            links=[_run(last), *form(may, "migrate", "Migrate…")],
        )


def _jobs(scene: Scene, may: May) -> Iterator[Concern]:
    dead = [job for job in scene.open_jobs if _is_dead(scene, job)]
    if dead:
        one = f"Job {dead[0].pk} ({dead[0].operation}) gives"
        yield Concern(
            name="stale",
            weight=Weight.ERROR,
            title=f"{one if len(dead) == 1 else f'{len(dead)} jobs give'} no sign of life",
            text="The worker has died, or cannot reach the database. Maintenance fails them; then start them again.",
            **at_once(may, "maintain", "Run maintenance"),
            links=[_job(job) for job in dead[:MOST_LISTED]],
        )
    waiting = [job for job in scene.open_jobs if job.state == Job.State.QUEUED]
    is_busy = len(scene.open_jobs) > len(waiting) + len(dead)
    oldest = min((job.created_at for job in waiting), default=scene.now)
    if scene.has_own_workers and not is_busy and scene.now - oldest > WORKER_AFTER:
        yield Concern(
            name="no-worker",
            weight=Weight.ERROR,
            title="No worker is at work",
            text=f"{len(waiting)} waiting, the first for {ago(scene, oldest)}. "
            "Start a worker, best as a service: manage.py db_worker",
            links=[Link("Waiting jobs", reverse("admin:orbsite_job_changelist") + "?state__exact=queued")],
        )


def _is_dead(scene: Scene, job: Job) -> bool:
    since = job.heartbeat or job.started_at
    return job.state == Job.State.RUNNING and since is not None and scene.now - since > STALE_AFTER


def _failed(scene: Scene, may: May) -> Iterator[Concern]:  # noqa: ARG001 -- the job's own page starts it again
    """Tell of operations whose last job has failed, of late."""
    last: dict[str, Job] = {}
    for job in scene.ended_jobs:
        last.setdefault(job.operation, job)
    for name, job in last.items():
        is_late = job.finished_at is not None and scene.now - job.finished_at < LOOKED_BACK
        if job.state == Job.State.FAILED and is_late:
            yield Concern(
                name=f"failed-{name}",
                weight=Weight.WARNING,
                title=f"Job {job.pk} ({name}) has failed",
                text=job.error[:300] or "Its page tells more, and starts it again.",
                links=[_job(job)],
            )


def _policies(scene: Scene, may: May) -> Iterator[Concern]:
    for policy in (one for one in scene.policies if one.enabled):
        links = [Link("The policy", reverse("admin:orbsite_retentionpolicy_change", args=[policy.pk]))]
        due = policy.next_due
        if policy.last_state == RetentionPolicy.State.FAILED:
            yield Concern(
                name=f"policy-{policy.pk}",
                weight=Weight.WARNING,
                title=f"The policy “{policy.name}” has failed",
                text=policy.last_error[:300] or "Its last run tells nothing more. Preview it, then run it again.",
                links=[*links, *form(may, "preview", "Preview…", policy=policy.pk)],
            )
        elif not policy.claimed_by and due is not None and scene.now - due > OVERDUE_AFTER:
            yield Concern(
                name=f"policy-{policy.pk}",
                weight=Weight.WARNING,
                title=f"The policy “{policy.name}” is overdue",
                text=f"It was due {ago(scene, due)} ago. Have maintenance run: manage.py run_orb_maintenance --loop 30",
                **at_once(may, "maintain", "Run maintenance"),
                links=links,
            )


def _clock(scene: Scene, may: May) -> Iterator[Concern]:
    clock = scene.clock
    if clock is None:
        if any(policy.enabled for policy in scene.policies):
            yield Concern(
                name="maintenance",
                weight=Weight.WARNING,
                title="Maintenance has never run",
                text="So no policy has. Have it run, best as a service: manage.py run_orb_maintenance --loop 30",
                **at_once(may, "maintain", "Run maintenance"),
            )
        return
    button = at_once(may, "trust-the-clock", "The clock is right")
    if clock.since is not None:
        yield Concern(
            name="clock",
            weight=Weight.WARNING,
            title="The clock has jumped, and nothing is removed",
            text="It is believed again once it has gone on steadily for a day, or at once where somebody says that it "
            "is right.",
            **button,
        )
    elif scene.now - clock.trusted > LEAP:
        yield Concern(
            name="maintenance",
            weight=Weight.WARNING,
            title=f"No maintenance for {ago(scene, clock.trusted)}",
            text="Policies do not run, and growth is not noted. Have it run, best as a service: "
            "manage.py run_orb_maintenance --loop 30. After so long it asks whether the clock is right.",
            **button,
        )


def _run(run: Run) -> Link:
    return Link(f"Run {run.pk}", reverse("admin:orbsite_run_change", args=[run.pk]))


def _job(job: Job) -> Link:
    return Link(f"Job {job.pk}", reverse("admin:job", args=[job.pk]))


RULES: tuple[Rule, ...] = (_runs, _differences, _jobs, _failed, _policies, _clock)
