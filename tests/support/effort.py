"""How much a randomised harness tries: little in `make test`, more in `make torture`, which sets ORB_DEEP."""

from __future__ import annotations

import os

IS_DEEP = bool(os.environ.get("ORB_DEEP"))


def effort(usual: int, deep: int) -> int:
    """Return a number of rounds, steps or seconds."""
    return deep if IS_DEEP else usual
