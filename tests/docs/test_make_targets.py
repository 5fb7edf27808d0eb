from __future__ import annotations

import re

from tests.docs.pages import ROOT, pages


def test_the_targets_that_the_documentation_names_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(pages().values())
    named = set(re.findall(r"(?:`|^    |  )make ([a-z-]+)", text, re.MULTILINE))
    assert {"run", "test", "docs", "serve", "check"} <= named
    assert named <= targets
