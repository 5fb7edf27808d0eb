"""The project's settings, but that nobody counts wrong tokens: a fuzzer sends very many."""

from __future__ import annotations

from orbsite.settings import *  # noqa: F403

CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
