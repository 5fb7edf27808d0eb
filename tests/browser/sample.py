"""What is there before a browser looks: python -m tests.browser.sample begin|signed_in|hostile|large [ARGUMENT...]."""

from __future__ import annotations

import io
import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

from tests.support.suites import naughty_strings

PEOPLE = ("admin", "operator", "viewer", "nobody")
USER, MODE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
READER = "javascript:alert(1)//"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


TALK = (
    ("What is on my list for Kyoto?", "Three things: a rail pass, walking shoes, and the tea house to book."),
    ("Book the tea house for Thursday.", "Thursday at four is taken. I asked for five, and they said yes."),
    (
        "Does it still fit before the train?",
        "The last train to Nara leaves at 19:40; it takes ten minutes to walk there.",
    ),
    ("Good. Remind me of the rail pass.", "I will, on the evening before. It is in the blue folder."),
    ("And no calls while we are away.", "Calls wait until Monday. What is urgent comes through as one line of text."),
)
TAGS = ("success", "travel", "planning", "failure")


def begin() -> dict[str, str]:
    """Prepare a site: its tables, its static files, the sample's files migrated, memories of the last month, and people.

    Return the keys of their sessions: all of them have signed in.
    """
    from django.contrib.auth.hashers import make_password
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command

    from tests.browser.site import PASSWORD

    told = io.StringIO()
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("migrate_orb_files", "--no-backup", stdout=told, stderr=told)
    known = make_password(PASSWORD)
    for name in PEOPLE:
        user = User.objects.create(username=name, password=known, is_staff=True, is_superuser=name == "admin")
        user.groups.set(Group.objects.filter(name=name))
    remember(datetime.now(UTC))
    return {name: signed_in(name) for name in PEOPLE}


def signed_in(name: str, minutes_ago: str = "0") -> str:
    """Sign somebody in, some time ago; return the session's key."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.get(username=name), backend="django.contrib.auth.backends.ModelBackend")
    session = client.session
    for key, value in list(session.items()):
        if key.endswith("_at"):
            then = datetime.fromisoformat(value) - timedelta(minutes=int(minutes_ago))
            session[key] = then.isoformat()
    session.save()
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def remember(now: datetime) -> None:
    """Keep a session that can be read, some reflections a day for a month, how much there was, and what was done."""
    from orbsite.models.jobs import Job
    from orbsite.models.retention import RetentionPolicy
    from orbsite.models.statistics import Growth
    from orbsite.operations.statistics.daily import note_growth
    from orbsite.storage.records.domain import registered
    from orbsite.stores import open_sql_store
    from te.records import Reflection

    lots, te = random.Random(7), registered(["te"])[0]
    kept = [
        Reflection(
            id=f"kyoto-{number}",
            user_id="mira",
            session_id="holiday in Kyoto",
            input=question,
            output=answer,
            tags=("travel", "success") if number % 2 else ("travel", "planning"),
            notes="Asked twice; the first answer was too long." if number == 1 else None,
            created_at=now - timedelta(hours=3, minutes=-4 * number),
        )
        for number, (question, answer) in enumerate(TALK)
    ]
    for day in range(30):
        for number in range(lots.randint(2, 9)):
            question, answer = lots.choice(TALK)
            kept.append(
                Reflection(
                    id=f"day-{day}-{number}",
                    user_id=lots.choice(("mira", "noor", "sam")),
                    session_id=f"day {day}",
                    input=question,
                    output=answer,
                    tags=(lots.choice(TAGS),),
                    created_at=now - timedelta(days=day, minutes=10 * number + 1),
                )
            )
    open_sql_store(te).put(kept)
    note_growth(lambda: now)
    for today in list(Growth.objects.all()):
        Growth.objects.bulk_create(
            Growth(
                day=today.day - timedelta(days=day),
                domain=today.domain,
                store=today.store,
                counts=today.counts,
                size=round(today.size * (1 - 0.02 * day) - lots.randint(0, 900)),
                noted_at=now - timedelta(days=day),
            )
            for day in range(1, 30)
        )
    follow(now, lots)
    RetentionPolicy.objects.create(
        name="ninety days", domain="te", rules={"max_age_days": 90}, next_due=now + timedelta(days=1)
    )
    for number in range(12):
        began = now - timedelta(hours=30 - 2 * number)
        Job.objects.create(
            operation=lots.choice(("verify", "check", "validate")),
            state="done" if number % 5 else "cancelled",
            actor="operator",
            created_at=began,
            started_at=began,
            finished_at=began + timedelta(seconds=lots.uniform(0.4, 9)),
        )


def follow(now: datetime, lots: random.Random) -> None:
    """Keep what the trends show: a cut-over that comes to its end, its rejects, and two clients of two days."""
    from orbsite.models.ledger import Reject, Run
    from orbsite.models.statistics import CutoverProgress, HourlyUse

    te = "te"
    for ago in range(14):
        begin, users = now - timedelta(days=ago), 14
        counts = {"equal": users - ago, "differ": ago // 3, "only_in_files": ago - ago // 3, "only_in_sql": 3}
        CutoverProgress.objects.create(day=begin.date(), domain=te, counts=counts, noted_at=begin)
        known = {"state": "complete", "started_at": begin, "finished_at": begin + timedelta(seconds=2)}
        run = Run.objects.create(operation="import", source="orb.db", **known)
        for number in range(lots.randint(0, 4)):
            reason = lots.choice(("the time 'soon' is no time", "the output is empty"))
            Reject.objects.create(
                run=run,
                domain=te,
                kind="reflections",
                path=f"$[{number}]",
                reason=reason,
                original="{}",
                settled_by=run,
            )
    for ago in range(48):
        hour = (now - timedelta(hours=ago)).replace(minute=0, second=0, microsecond=0)
        for client in ("assistant (4f0c9a1e…)", "phone (b27d5533…)"):
            HourlyUse.objects.create(hour=hour, client=client, reads=lots.randint(0, 90), saves=lots.randint(0, 30))


def hostile() -> None:
    """Keep what is known to break pages as every text of records: 515 reflections of each of two users, and one profile."""
    from luna.records import ActiveMode, Constraint, Profile
    from orbsite.storage.records.domain import registered
    from orbsite.stores import open_sql_store
    from te.records import Reflection

    luna, te = registered()
    strings = naughty_strings()
    open_sql_store(te).put(
        Reflection(
            id=f"{number} {text}"[:255],
            user_id=user,
            session_id=session or text[:255] or "-",
            input=text,
            output=text,
            tags=(text,),
            notes=text,
            created_at=BEGIN + timedelta(minutes=number),
        )
        for user, session, first in ((USER, "", 0), (READER, "all", len(strings)))
        for number, text in enumerate(strings, first)
    )
    constraints = [
        Constraint(
            id=text, type=text, active=True, tool_id=text, max_risk=text, applies_to_roles=(text,), description=text
        )
        for text in strings[::2]
    ]
    store = open_sql_store(luna)
    store.put(
        [
            Profile(
                user_id=USER,
                mode_id=MODE,
                preferences=tuple(strings),
                constraints=(*constraints, *strings[1::2]),
                updated_at=BEGIN,
            ),
            ActiveMode(user_id=USER, mode_id=MODE, updated_at=BEGIN),
        ]
    )


def large(path: str, number: str) -> None:
    """Write files with that many small reflections."""
    item = (
        '{{"id": "r-{0:06}", "input": "input {0}", "output": "output {0}", "tags": ["success"], '
        '"createdAt": "2024-01-01T00:00:{1:06.3f}Z"}}'
    )
    sessions = {f"s-{session}": [] for session in range(100)}
    for one in range(int(number)):
        sessions[f"s-{one % 100}"].append(item.format(one, one % 60_000 / 1000))
    content = ", ".join(f'"{name}": [{", ".join(items)}]' for name, items in sessions.items())
    target = Path(path) / "te" / "reflections.json"
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target.write_text(f'{{"sessions": {{{content}}}, "userSessions": {{"ana": {json.dumps(list(sessions))}}}}}')
    target.chmod(0o600)


if __name__ == "__main__":
    django.setup()
    verbs: dict[str, Any] = {one.__name__: one for one in (begin, signed_in, hostile, large)}
    told = verbs[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(told))
