"""How `collectstatic` keeps static files: what an earlier collection has left goes, and the owner alone may write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whitenoise.storage import CompressedManifestStaticFilesStorage

from orbsite.runtime.static_root import collected, make_private_to_write


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Whitenoise's own, in a directory that holds what was collected and nothing else."""

    def post_process(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """Process what was collected, then tidy up."""
        if options.get("dry_run"):
            return
        root = Path(self.location)
        before = collected(root)
        yield from super().post_process(*arguments, **options)
        for name in before - collected(root):
            (root / name).unlink(missing_ok=True)
        make_private_to_write(root)
