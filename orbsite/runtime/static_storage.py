"""The storage for `collectstatic`: removes files of earlier collections, and lets only the owner write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage

from orbsite.runtime.static_root import collected, make_private_to_write


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Whitenoise's storage, without files of earlier collections."""

    def post_process(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """Process the collected files, then remove those of earlier collections and restrict write permissions."""
        if options.get("dry_run"):
            return
        root = Path(self.location)
        before = collected(root)
        yield from super().post_process(*arguments, **options)
        for name in before - collected(root):
            (root / name).unlink(missing_ok=True)
        make_private_to_write(root)
