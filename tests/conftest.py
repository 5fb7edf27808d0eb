from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_timeout
from django.db import connections
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker
from pytest_django.plugin import blocking_manager_key

from tests.support import citus, emptying, postgresql
from tests.support.effort import IS_DEEP_LATER
from tests.support.pgbouncer import pooling
from tests.support.shared_run import backup_directory, is_shared, made_once, postgresql_server, shared
from tests.support.time_limits import time_limit

hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.load_profile("repeatable")

TEMPLATE = "orb_tests_template"
POOL_MODE: Any = os.environ.get("ORB_TESTS_POOL_MODE")
"""How a pooler in front of PostgreSQL pools, if the tests are to go through one."""

HAS_PARTITIONS = bool(os.environ.get("ORB_TESTS_PARTITIONS"))
"""Whether tables in PostgreSQL are partitioned by time where they can be."""

_template_lock = ExitStack()
"""Held by the first worker until its database can be copied."""
_template_to_make: list[Path] = []

_missing: list[str] = []

_BROWSER = Path(__file__).parent / "browser"


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Let the limit of each test, too, grow with the machine's load."""
    return pytest_timeout.pytest_timeout_set_timer(item, settings._replace(timeout=time_limit(settings.timeout)))


def pytest_configure(config: pytest.Config) -> None:
    """Start what the workers share, before they start."""
    is_controller = bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")
    if is_controller and not config.option.collectonly:
        stack = ExitStack()
        stack.enter_context(shared())
        config.add_cleanup(stack.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a deeper run tries later and what a cluster cannot try, and spread the slow modules."""
    if citus.ADDRESS:
        for item in items:
            for name, reason in citus.OF_SQLITE.items():
                if item.nodeid.startswith(name):
                    item.add_marker(pytest.mark.skip(reason=f"of SQLite: {reason}"))
    if IS_DEEP_LATER:
        left_out = [item for item in items if item.get_closest_marker("deep")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    _spread(items)


def _spread(items: list[pytest.Item]) -> None:
    """Spread the modules with slow tests over the list, because each worker begins with a part of it.

    Slow tests mostly wait for other processes, so that the quick tests of the other workers run meanwhile. The modules
    that share a browser and a server stay together, and are begun first.
    """
    modules = [list(group) for _, group in groupby(items, key=_module)]
    slow = [module for module in modules if any(item.get_closest_marker("slow") for item in module)]
    quick = [item for module in modules if module not in slow for item in module]
    slow.sort(key=lambda module: (module[0].path.name != "test_api_fuzz.py", _module(module[0]) != _BROWSER))
    pieces = [[item] for item in slow.pop(0)] + slow if slow else []  # the fuzz tests are the longest
    places = [number * len(quick) // len(pieces) for number in range(len(pieces))] + [len(quick)]
    spread = zip(pieces, pairwise(places), strict=True)
    items[:] = [item for piece, (start, end) in spread for item in (*piece, *quick[start:end])] if pieces else quick
    items.sort(key=lambda item: item.path.name != "test_faults.py")  # the longest ones of `make torture`


def _module(item: pytest.Item) -> Path:
    return _BROWSER if _BROWSER in item.path.parents else item.path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Have the numbers of rows begin anew in SQLite after a test whose rows were committed, as after all others."""
    result = yield
    if connections["default"].vendor != "sqlite":
        return result
    marker = item.get_closest_marker("django_db")
    if (marker and marker.kwargs.get("transaction")) or "transactional_db" in getattr(item, "fixturenames", ()):
        with item.config.stash[blocking_manager_key].unblock(), connections["default"].cursor() as cursor:
            if connections["default"].vendor == "sqlite":
                cursor.execute("DELETE FROM sqlite_sequence")
    return result


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use more workers than cores, because many tests wait for other processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + cores // 2, 6)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Start a PostgreSQL of our own, or take its alias away and remember why."""
    with ExitStack() as stack:
        if citus.ADDRESS:
            citus.remove(connections["default"].creation._get_test_db_name())  # of a run that was stopped
            yield
            return
        try:
            server = stack.enter_context(postgresql_server())
        except postgresql.Unavailable as problem:
            if os.environ.get("CI"):
                raise
            _missing.append(str(problem))
            del connections.databases["postgresql"]
        else:
            os.environ["PATH"] += f"{os.pathsep}{server.binaries}"  # pg_dump, where no other fits the server
            place = {"HOST": server.host, "PORT": str(server.port), "USER": server.user}
            for alias in _in_postgresql():
                connections.databases[alias].update(place)
                connections[alias].settings_dict.update(place)
            if is_shared():
                path = _template_lock.enter_context(made_once("tests.postgresql"))
                if path.exists():
                    _template_lock.close()
                    connections["postgresql"].settings_dict["TEST"]["TEMPLATE"] = TEMPLATE
                else:
                    _template_to_make.append(path)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make the databases, and keep a copy of the first worker's one for the other workers."""
    if citus.ADDRESS:
        from orbsite.operations.scaling.citus import spread
        from orbsite.storage.records.domain import registered

        name = connections["default"].settings_dict["NAME"]
        with django_db_blocker.unblock():
            citus.extend(name)
            spread(registered(["luna", "te"]), apply=True)
        yield
        connections["default"].close()
        citus.remove(name, is_made_again=True)
        return
    _keep_template(django_db_blocker)
    emptying.install()
    with django_db_blocker.unblock():
        made = [alias for alias in connections if _was_made(alias)]
        for alias in made if HAS_PARTITIONS else ():
            if connections[alias].vendor == "postgresql":
                _partition(alias)
        for alias in made:
            emptying.remember(alias)
    yield


def _keep_template(django_db_blocker: DjangoDbBlocker) -> None:
    with _template_lock, django_db_blocker.unblock():
        for path in _template_to_make:
            connection = connections["postgresql"]
            name = connection.settings_dict["NAME"]
            if not name.startswith("test_"):  # no test of this worker needs it
                return
            connection.close()
            with connection._nodb_cursor() as cursor:
                cursor.execute(f'CREATE DATABASE {TEMPLATE} TEMPLATE "{name}"')
            path.touch()


def _was_made(alias: str) -> bool:
    """Tell whether a database was made for these tests; one that none of them needs is not."""
    return str(connections[alias].settings_dict["NAME"]).startswith(("test_", "file:orb_tests"))


def _partition(alias: str) -> None:
    from orbsite.operations.scaling.partitions import split
    from orbsite.storage.clock import utc_now
    from orbsite.storage.partitions import Period
    from te.domain import DOMAIN

    assert split([DOMAIN], period=Period.MONTH, apply=True, now=utc_now(), using=alias).ok


@pytest.fixture(scope="session", autouse=bool(POOL_MODE))
def _pooled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let all tests reach PostgreSQL through a pooler, and let sessions have the server itself."""
    from orbsite.operations.jobs import jobs  # its models need the settings

    jobs.execute.__kwdefaults__["beat"] = 3600.0  # a heartbeat sees no job that is not committed
    server = connections["postgresql"].settings_dict
    before = {name: server[name] for name in ("HOST", "PORT")}
    place = postgresql.Place(before["HOST"], int(before["PORT"]), server["USER"])
    with django_db_blocker.unblock(), pooling(place, POOL_MODE) as pooler:
        pooled = {"HOST": pooler.host, "PORT": str(pooler.port), "DISABLE_SERVER_SIDE_CURSORS": True}
        for alias in _in_postgresql():
            connections[alias].close()
            connections[alias].settings_dict.update(pooled, DIRECT=before)
        yield
        for alias in _in_postgresql():
            connections[alias].close()
            connections[alias].settings_dict.update(before)


def _in_postgresql() -> list[str]:
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


@pytest.fixture(autouse=True)
def _no_backups_of_other_tests() -> Iterator[None]:
    """Remove the backups that a test made in the common directory, because an erasure searches all of them."""
    yield
    shutil.rmtree(backup_directory(), ignore_errors=True)


@pytest.fixture
def postgresql_alias(db: None) -> str:
    if _missing:
        pytest.skip(_missing[0])
    return "postgresql"


@pytest.fixture
def on_postgresql(postgresql_alias: str) -> Iterator[None]:
    """Have everything work on PostgreSQL, whose connection takes the place of the default one."""
    usual = connections["default"]
    connections["default"] = connections[postgresql_alias]
    yield
    connections["default"] = usual


@pytest.fixture
def sample() -> Path:
    return Path(__file__).parent.parent / "sample" / ".orb-data"


@pytest.fixture
def files(sample: Path, tmp_path: Path) -> Path:
    """The real files, private, in a directory that tests may write to."""
    copy = Path(shutil.copytree(sample, tmp_path / "data"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return copy


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / ".orb-data"
    path.mkdir(mode=0o700)
    return path
