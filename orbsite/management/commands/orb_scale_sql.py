"""manage.py orb_scale_sql: spread the tables over several database servers, or partition them by time."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from typing_extensions import override

from orbsite.management.base import OrbCommand
from orbsite.management.progress_bar import Meter
from orbsite.operations.report import Report
from orbsite.operations.scaling.citus import SHARDS, spread
from orbsite.operations.scaling.partitions import split
from orbsite.storage.clock import utc_now
from orbsite.storage.partitions import Period
from orbsite.storage.records.domain import Domain

_PARTITIONS = "partitions"
_ENGINES = ("citus", _PARTITIONS)
_MOST_SHARDS = 64_000


class Command(OrbCommand):
    """Spread the tables over several database servers, or partition them by time."""

    help = (
        "Print the statements that distribute the tables by user over the nodes of a cluster with Citus, or that "
        "partition by time those that retention applies to; with --apply, run them. Stop the writers meanwhile: a "
        "table is locked while its rows move. A run that was interrupted is resumed by the next one."
    )
    reads_files = False
    unit = "steps"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the engine, the number of shards, and whether to run the statements."""
        super().add_arguments(parser)
        parser.add_argument("--engine", choices=_ENGINES, required=True, help="what spreads the tables")
        parser.add_argument(
            "--shards", type=_shards, default=SHARDS, metavar="N",
            help="the number of shards of each table, which limits the number of nodes (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--period", type=Period, choices=list(Period), default=Period.MONTH,
            help="the time that one partition holds (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument("--apply", action="store_true", help="run the statements")

    @override
    def operate(self, domains: list[Domain], progress: Meter, **options: Any) -> Report:
        if options["engine"] == _PARTITIONS:
            period: Period = options["period"]
            return split(domains, period=period, apply=options["apply"], now=utc_now(), progress=progress)
        return spread(domains, apply=options["apply"], shards=options["shards"], progress=progress)


def _shards(text: str) -> int:
    """Return a number of shards. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_SHARDS):
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_SHARDS}")
    return int(text)
