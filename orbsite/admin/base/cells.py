"""What the cells of a list show: a text on one line, a time relative to now, a user with a link to the user's page."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from orbsite.admin.base import url_converters  # noqa: F401 -- the converters

SHOWN, LONGEST = 200, 500
"""The number of characters of a text in a cell, and in the title of the cell."""
_UNITS = (("year", 31_556_952), ("month", 2_629_746), ("day", 86_400), ("hour", 3_600), ("minute", 60))


def text_cell(text: str, label: str = "") -> SafeString:
    """Return a text on one line, with more of it in its title; `label` stands before it where rows are cards."""
    line = " ".join(text.split())
    if not line:
        return format_html("{}", "")
    return format_html(
        '<span class="orb-cell" data-label="{}" title="{}" dir="auto">{}</span>',
        label,
        text if len(text) <= LONGEST else f"{text[:LONGEST]}…",
        excerpt(line, SHOWN),
    )


def time_cell(moment: datetime | None, now: datetime) -> SafeString:
    """Return a time relative to `now`, with the exact time in its title."""
    if moment is None:
        return format_html("{}", "-")
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), exact, relative(moment, now))


def user_cell(user: str) -> SafeString:
    """Return a user's id with a link to the user's page; an empty id has no page."""
    if not user:
        return format_html("{}", "")
    return format_html('<a class="orb-cell" dir="auto" title="{}" href="{}">{}</a>', user, user_address(user), user)


def user_address(user: str) -> str:
    """Return the URL of the page about a user."""
    return reverse("admin:user", args=[(user,)])


def relative(moment: datetime, now: datetime) -> str:
    """Return a time relative to `now` in its largest unit, rounded down, such as `3 days ago` or `in 2 hours`."""
    distance = abs(now - moment)
    for unit, seconds in _UNITS:
        if number := distance // timedelta(seconds=seconds):
            text = f"{number} {unit}{'' if number == 1 else 's'}"
            return f"{text} ago" if moment < now else f"in {text}"
    return "just now"


def excerpt(text: str, length: int = 80) -> str:
    """Return the first `length` characters of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
