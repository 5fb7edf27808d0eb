"""The settings of the tests with PostgreSQL as both databases, for suites that are repeated through a pooler."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"] = {**DATABASES["postgresql"], "NAME": "orb_default"}
