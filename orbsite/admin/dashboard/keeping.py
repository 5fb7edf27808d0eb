"""What needs attention about stores, files, disk and backups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.template.defaultfilters import filesizeformat
from django.urls import reverse

from orbsite.admin.dashboard.alert import Concern, Link, May, Rule, Weight, ago, at_once, form
from orbsite.admin.dashboard.figures import FILE, Figures
from orbsite.admin.dashboard.snapshot import MOST_REJECTS, Scene
from orbsite.conf.app_settings import Persistence
from orbsite.models.ledger import Run

BACKUP_AFTER = timedelta(days=7)
"""How old the newest backup may be."""
CHECKED_AFTER = timedelta(days=7)
"""How long ago a job may have looked at large files."""
ROOM = 5
"""How many times the room that has to be free is little."""


def _stores(scene: Scene, may: May) -> Iterator[Concern]:
    for one in scene.figures:
        yield from _of_file(one, may) if one.store == FILE else _of_sql(one)


def _of_sql(one: Figures) -> Iterator[Concern]:
    if one.problem:
        yield Concern(
            name=f"sql-{one.domain.name}",
            weight=Weight.ERROR,
            title=f"SQL cannot be read: {one.domain.name}",
            text=one.problem,
        )


def _of_file(one: Figures, may: May) -> Iterator[Concern]:
    damage = [symptom for symptom in one.symptoms or () if symptom.trouble.is_damage]
    others = [symptom for symptom in one.symptoms or () if not symptom.trouble.is_damage]
    what, name = one.domain.file, one.domain.name
    if damage or one.problem:
        told = "; ".join(f"{symptom.name} {symptom.message}" for symptom in damage) or one.problem
        yield Concern(
            name=f"damaged-{name}",
            weight=Weight.ERROR,
            title=f"The file {what} is damaged",
            text=f"{told}. Repair tells first what it would do, and keeps whatever it replaces.",
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "check", "Look at all files")],
        )
    elif others:
        yield Concern(
            name=f"odd-{name}",
            weight=Weight.NOTE,
            title=f"Something is odd about {what}",
            text="; ".join(f"{symptom.name} {symptom.message}" for symptom in others),
            links=[*form(may, "repair", "Repair…", only=[name]), *form(may, "cleanup", "Clean up…", only=[name])],
        )
    most = int(settings.ORB_MAX_JOURNAL_BYTES)
    if one.journal > most // 2:
        yield Concern(
            name=f"journal-{name}",
            weight=Weight.ERROR if one.journal > most else Weight.WARNING,
            title=f"The journal of {what} is long",
            text=f"It has {filesizeformat(one.journal)}, and more than {filesizeformat(most)} is not ready to serve. "
            "Compaction folds it into its file.",
            links=form(may, "compact", "Compact…", only=[name]),
        )


def _looked_at(scene: Scene, may: May) -> Iterator[Concern]:
    """Tell what a job found of files that are too large for a page to look at them."""
    large = [one.domain.name for one in scene.figures if one.symptoms is None]
    job = scene.last_check
    if not large or not scene.is_ours:
        return
    if job is None or job.finished_at is None or scene.now - job.finished_at > CHECKED_AFTER:
        yield Concern(
            name="unchecked",
            weight=Weight.NOTE,
            title="Nobody has looked for damage of late",
            text=f"The files of {', '.join(large)} are too large for a page to look at them. A job does.",
            **at_once(may, "check", "Look now"),
        )
    elif told := [one for one in (job.result or {}).get("findings", ()) if one["severity"] == "error"]:
        yield Concern(
            name="damaged",
            weight=Weight.ERROR,
            title="Files are damaged",
            text=f"Job {job.pk}, {ago(scene, job.finished_at)} ago, found {len(told)} faults, such as: "
            f"{told[0]['path']} {told[0]['message']}.",
            **at_once(may, "check", "Look again"),
            links=[Link(f"Job {job.pk}", reverse("admin:job", args=[job.pk])), *form(may, "repair", "Repair…")],
        )


def _counted(scene: Scene, may: May) -> Iterator[Concern]:
    old = [one for one in scene.figures if not one.is_small and not one.problem and "tallies" not in one.details]
    if old:
        names = ", ".join(f"{one.domain.name} in {one.store}" for one in old)
        yield Concern(
            name="uncounted",
            weight=Weight.NOTE,
            title="Large stores have not been counted yet",
            text=f"A page does not count what is large: {names}. Maintenance does once a day, and a job now.",
            **at_once(may, "count", "Count now"),
        )


def _rejects(scene: Scene, may: May) -> Iterator[Concern]:
    for name, number in sorted(scene.rejects.items()):
        shown = f"more than {MOST_REJECTS}" if number > MOST_REJECTS else str(number)
        listed = reverse("admin:orbsite_reject_changelist") + f"?domain__exact={name}&settled_by__isempty=1"
        yield Concern(
            name=f"rejects-{name}",
            weight=Weight.WARNING,
            title=f"{shown} rejected {'record' if number == 1 else 'records'} of {name}",
            text="A migration could not take them. Mend the file, and try again those that were rejected alone.",
            links=[Link("Look at them", listed), *form(may, "migrate", "Try again…", only=[name], only_rejected=True)],
        )


def _migration(scene: Scene, may: May) -> Iterator[Concern]:
    if not scene.is_ours or scene.mode is not Persistence.SQL:
        return
    last = next((run for run in scene.runs.get("migrate", ()) if run.state == Run.State.COMPLETE), None)
    files = [one for one in scene.figures if one.store == FILE and one.written is not None and not one.problem]
    changed = [one for one in files if last is None or _has_changed(one, last)]
    if changed:
        names = ", ".join(str(one.domain.file) for one in changed)
        since = "have never been migrated" if last is None else f"are newer than the last migration, run {last.pk}"
        yield Concern(
            name="unmigrated",
            weight=Weight.NOTE,
            title="The files hold what SQL may not",
            text=f"{names}: they {since}. A dry run tells what would be new, replaced, kept or rejected.",
            links=[*form(may, "migrate", "Migrate…"), *form(may, "verify", "Compare…")],
        )


def _has_changed(one: Figures, last: Run) -> bool:
    if one.digest:
        return bool(last.sources.get(one.domain.name) != one.digest)
    return one.written is not None and one.written > last.started_at


def _mode(scene: Scene, may: May) -> Iterator[Concern]:
    if not scene.is_ours or scene.mode is Persistence.SQL:
        return
    loses = scene.mode is Persistence.MEMORY
    yield Concern(
        name="mode",
        weight=Weight.WARNING if loses else Weight.NOTE,
        title=f"The store in use is {scene.mode.value}, not SQL",
        text=("What it holds ends with its process. " if loses else "These pages edit the SQL tables, not the files. ")
        + "Migrate, then set ORB_PERSISTENCE=sql and start again.",
        links=form(may, "migrate", "Migrate…"),
    )


def _machine(scene: Scene, may: May) -> Iterator[Concern]:
    least = int(settings.ORB_MIN_FREE_BYTES)
    if scene.free is not None and scene.free < ROOM * least:
        yield Concern(
            name="disk",
            weight=Weight.ERROR if scene.free < least else Weight.WARNING,
            title="The disk is nearly full",
            text=f"{filesizeformat(scene.free)} are free, and saves need {filesizeformat(least)}. "
            "Clean up what is left over, or make room.",
            links=[*form(may, "cleanup", "Clean up…"), *form(may, "compact", "Compact…")],
        )
    holds = any(one.counts for one in scene.figures)
    if scene.is_ours and holds and (scene.backup is None or scene.now - scene.backup > BACKUP_AFTER):
        when = "There is no backup" if scene.backup is None else f"The newest backup is {ago(scene, scene.backup)} old"
        yield Concern(
            name="backup",
            weight=Weight.WARNING,
            title=when,
            text=f"One that is younger than {BACKUP_AFTER.days} days is good to have. It keeps files and database.",
            **at_once(may, "back-up", "Back up now"),
        )


RULES: tuple[Rule, ...] = (_stores, _looked_at, _counted, _rejects, _migration, _mode, _machine)
