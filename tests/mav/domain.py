from __future__ import annotations

from pathlib import PurePosixPath

from orbsite.storage.records.domain import Domain, register
from tests.mav.layout import ActionsLayout
from tests.mav.models import ActionRow
from tests.mav.records import Action

DOMAIN = register(
    Domain(name="mav", file=PurePosixPath("mav/actions.json"), layout=ActionsLayout(), models={Action: ActionRow})
)
