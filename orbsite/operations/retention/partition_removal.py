"""A removal from a table that is partitioned by time: partitions that are too old as a whole are detached.

A detached partition is kept as long as tombstones: see orbsite.operations.ledger.detached_partitions.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial

from typing_extensions import override

from orbsite.operations.progress import Progress, Stopped
from orbsite.operations.report import Report
from orbsite.operations.retention.removal import BatchedRemoval, Terms
from orbsite.storage.partitions import Partition
from orbsite.storage.records.record import Record
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.retention.partitioned_deletion import PartitionedRetentionDeletion
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.storage.sql.store import SqlStore


class PartitionedRemoval(BatchedRemoval):
    """A removal in SQL that detaches the partitions whose records all go, and removes the others in batches."""

    _deletion: PartitionedRetentionDeletion

    def __init__(self, store: SqlStore, kind: type[Record], policy: Policy, moment: datetime) -> None:
        super().__init__(store, kind, policy, moment)
        self._number_of_rows = 0
        """The number of records to remove in batches."""

    @override
    def find_records(self, *, exactly: bool) -> None:
        """Find the records to remove; only with `exactly`, each of them is listed."""
        if not exactly:
            self._deletion.find_whole()
        super().find_records(exactly=exactly)
        self._number_of_rows = self.number
        self.number += sum(self._deletion.whole.values())

    @override
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        whole, self.number = self._deletion.whole, self._number_of_rows
        super().remove(report, terms, progress)
        attempts, names = TransactionRetry(self._using), list[str]()
        with progress.heeded():
            for number, one in enumerate(whole):
                if progress.is_stopping:
                    raise Stopped("interrupted; what was removed so far can be restored. Run it again to continue")
                if terms.deadline is not None and time.monotonic() > terms.deadline:
                    left = sum(list(whole.values())[number:])
                    self._warn_of(left, "more would go: the time is up; run it again to go on")
                    break
                removed = attempts.run(partial(self._detach, one, report))
                self._move_counts(self.section.counts[self.kind.plural], removed)
                names += [one.of_run(report.run or 0).name] if removed else []
                progress(removed)
        self.section.details["detached"] = names
        self.section.facts["after"] = self.store.size()

    def _detach(self, one: Partition, report: Report) -> int:
        """Detach a partition, and save the counts of the run in the same transaction."""
        removed = self._deletion.detach(one, report.run or 0)
        self._save_counts(removed or 0, report)
        return removed or 0
