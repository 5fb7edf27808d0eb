"""How much a randomised harness tries: little in `make test`, more in `make torture`, which sets ORB_DEEP."""

from __future__ import annotations

import os

IS_DEEP = bool(os.environ.get("ORB_DEEP"))
IS_DEEP_LATER = not IS_DEEP and bool(os.environ.get("ORB_DEEP_LATER"))
"""Whether `make torture` follows, so that `make test` need not try the same at random before, as in .ci/run."""


def effort(usual: int, deep: int) -> int:
    """Return a number of rounds, steps or seconds."""
    return deep if IS_DEEP else usual
