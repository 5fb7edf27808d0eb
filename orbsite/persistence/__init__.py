"""The public interface: all names of the persistence guide, in one module.

from orbsite.persistence import create_default_luna_store, migrate_all_file_to_sql

Importing a name configures Django where the program has not done so (`orbsite.conf.configure`); the four types of
records need no Django. A Django project that imports names from here sets its settings first, as for its models.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbsite.persistence.guide import *  # noqa: F403

__all__ = [  # noqa: F405
    "ActiveMode",
    "Compaction",
    "Constraint",
    "FileLunaPreferencesStore",
    "FileTeReflectionStore",
    "InMemoryLunaPreferencesStore",
    "InMemoryTeReflectionStore",
    "Profile",
    "Reflection",
    "SqlLunaPreferencesStore",
    "SqlTeReflectionStore",
    "cleanup_orphaned_files",
    "compact_luna_profiles",
    "compact_te_reflections",
    "create_default_luna_store",
    "create_default_te_store",
    "export_luna_data",
    "export_te_data",
    "get_data_directory",
    "get_storage_stats",
    "migrate_all_file_to_sql",
    "migrate_luna_file_to_sql",
    "migrate_te_file_to_sql",
    "read_json",
    "sanitize_luna_profile",
    "sanitize_te_reflection",
    "validate_luna_file_data",
    "validate_luna_profile",
    "validate_te_file_data",
    "validate_te_reflection",
    "write_json",
]

_RECORDS = {
    "ActiveMode": "luna.records",
    "Constraint": "luna.records",
    "Profile": "luna.records",
    "Reflection": "te.records",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used first, so that importing this module costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _RECORDS:
        import_module("orbsite.conf.configure").ensure_configured()
    value = getattr(import_module(_RECORDS.get(name, "orbsite.persistence.guide")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
