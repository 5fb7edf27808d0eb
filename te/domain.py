"""Registers the domain of Te: its records, its data file, its table and its statistics."""

from __future__ import annotations

from pathlib import PurePosixPath

from orbsite.storage.records.domain import Domain, register
from te.layout import ReflectionsLayout
from te.models import ReflectionRow
from te.records import Reflection
from te.reflection_log import DEFAULT_SESSION
from te.versions import VERSIONS

DOMAIN = register(
    Domain(
        name="te",
        file=PurePosixPath("te/reflections.json"),
        layout=ReflectionsLayout(),
        models={Reflection: ReflectionRow},
        others=frozenset({"patterns.json", "insights.json", "actions.json"}),
        when_null={"session_id": DEFAULT_SESSION},
        versions=VERSIONS,
        facets={"users": (Reflection, "user_id"), "sessions": (Reflection, "session_id")},
        tallies={"largest_sessions": (Reflection, "session_id"), "by_tag": (Reflection, "tags")},
    )
)
