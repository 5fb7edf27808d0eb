"""The command options for a retention policy."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orbsite.storage.errors import InvalidPolicy
from orbsite.storage.retention.policy import Policy

_NUMBERS: dict[str, tuple[type, str]] = {
    "max_age_days": (float, "remove records older than N days; a record of exactly that age stays"),
    "max_per_session": (int, "remove all but the newest N records of each session"),
    "keep_within_days": (float, "keep records of the last N days"),
    "keep_last": (int, "keep the newest N records of each session"),
    "keep_last_of_user": (int, "keep the newest N records of each user"),
    "keep_daily": (int, "keep the newest record of each of the last N days that have any, per session"),
    "keep_weekly": (int, "keep the newest record of each of the last N weeks that have any, per session"),
    "keep_monthly": (int, "keep the newest record of each of the last N months that have any, per session"),
}


def add_rules(parser: ArgumentParser) -> None:
    """Add an option for each retention rule."""
    group = parser.add_argument_group("retention", "a --keep rule protects records only within the --max limits")
    for name, (kind, text) in _NUMBERS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=text)
    group.add_argument("--keep-tag", action="append", metavar="TAG", help="keep records with this tag; may be repeated")


def policy_of(options: dict[str, Any]) -> Policy | None:
    """Return the policy that the options describe, or None without a rule. Raises InvalidPolicy."""
    rules = {name: options[name] for name in _NUMBERS if options[name] is not None}
    tags = tuple(options["keep_tag"] or ())
    if not rules and not tags:
        return None
    return Policy(**rules, keep_tags=tags)


def refuse_without_rules(options: dict[str, Any], names: tuple[str, ...]) -> None:
    """Raise InvalidPolicy if an option was given that needs a rule."""
    for name in names:
        if options[name] is not None and options[name] is not False:
            raise InvalidPolicy(
                f"--{name.replace('_', '-')} needs a rule, such as --max-age-days 90; nothing was removed"
            )
