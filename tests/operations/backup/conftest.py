from __future__ import annotations

from typing import Any

import pytest
from django.db import connections


@pytest.fixture(params=["default", "postgresql"])
def alias(request: Any, transactional_db: None) -> str:
    if request.param not in connections:
        pytest.skip("no PostgreSQL here: its backups were NOT tested")
    return request.param
