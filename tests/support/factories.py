"""Makes records for tests; each is valid, and differs from the one before."""

from __future__ import annotations

import factory

from luna.records import ActiveMode, Constraint, Profile
from orbsite.testing.cases import BEGIN, moment
from te.records import Reflection
from tests.mav.records import Action

__all__ = ["BEGIN", "moment"]


class ConstraintFactory(factory.Factory):
    class Meta:
        model = Constraint

    id = factory.Sequence(lambda n: f"c-{n}")
    type = "block_tool"
    active = True
    description = "no-work-alerts"


class ProfileFactory(factory.Factory):
    class Meta:
        model = Profile

    user_id = "ana"
    mode_id = factory.Sequence(lambda n: f"mode-{n:04}")
    preferences = factory.Sequence(lambda n: (f"preference {n}", "calm-ui"))
    constraints = factory.LazyFunction(lambda: (ConstraintFactory(),))
    updated_at = factory.Sequence(moment)


class ObjectProfileFactory(ProfileFactory):
    """A profile as the earlier system's hosted line has it."""

    mode_id = factory.Sequence(lambda n: f"{('work', 'personal', 'research')[n % 3]}-{n:04}")
    preferences = factory.Sequence(lambda n: {"tone": f"calm {n}", "learnt": ["key: value"], "limits": {"emails": n}})
    constraints = factory.Sequence(
        lambda n: {f"constraint-{1704067200000 + n}": {"active": True, "weight": 0.5}, "quiet hours": ["22:00", None]}
    )


class ActiveModeFactory(factory.Factory):
    class Meta:
        model = ActiveMode

    user_id = factory.Sequence(lambda n: f"user-{n:04}")
    mode_id = factory.Sequence(lambda n: f"mode-{n}")


class ReflectionFactory(factory.Factory):
    class Meta:
        model = Reflection

    id = factory.Sequence(lambda n: f"reflection-{n:04}")
    user_id = "ana"
    session_id = "default"
    input = factory.Sequence(lambda n: f"input {n}")
    output = "output"
    tags = ("success", "orb")
    created_at = factory.Sequence(moment)


class ActionFactory(factory.Factory):
    class Meta:
        model = Action

    id = factory.Sequence(lambda n: f"action-{n:04}")
    user_id = "ana"
    title = factory.Sequence(lambda n: f"title {n}")
    done_at = factory.Sequence(moment)
