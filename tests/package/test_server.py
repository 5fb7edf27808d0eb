"""The third way in: the server of the installed wheel, over HTTP, with the typed client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from orbsite.client import (
    Changed,
    Client,
    Conflict,
    Constraint,
    Forbidden,
    InvalidRequest,
    JobFailed,
    NotFound,
    Profile,
    Retries,
    Unauthenticated,
)
from tests.support.factories import ReflectionFactory, moment
from tests.support.installed import ROOT, environment, serving

pytestmark = pytest.mark.slow


class Server(NamedTuple):
    home: Path
    url: str

    def token(self, *options: str) -> str:
        make = [environment().orb, "create_orb_token", "--name", "test", *options]
        return environment().run(*make, cwd=self.home.parent, ORB_HOME=str(self.home)).stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("server")
    home = work / "home"
    environment().run(environment().orb, "init", home, cwd=work)
    variables = environment().variables(work, ORB_TASKS_BACKEND="immediate")
    with serving([environment().orb, "--home", home, "serve"], work, variables) as url:
        yield Server(home, url)


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("--scope", "admin", "--scope", "write", "--scope", "operate", "--scope", "read", "--every-user")


@pytest.fixture
def orb(server: Server, token: str) -> Iterator[Client]:
    with Client(server.url, token, retries=Retries(number=2)) as client:
        yield client


def test_the_example_of_the_docs_runs_as_a_file_without_django(server: Server, token: str, tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/use.md").read_text(), re.DOTALL)
    (example,) = (one for one in examples if "orbsite.client" in one)
    program = tmp_path / "program.py"
    program.write_text(f"{example}\nimport sys\nassert 'django' not in sys.modules and 'environ' not in sys.modules\n")
    done = environment().run(environment().python, program, cwd=tmp_path, URL=server.url, TOKEN=token)
    assert "deploy" in done.stdout


def test_reflections(orb: Client) -> None:
    created = orb.create_reflection("bo/é", "in", "out", id="r/1", tags=["x"], key="once")
    assert orb.create_reflection("bo/é", "in", "out", id="r/1", tags=["x"], key="once") == created
    assert orb.reflection("bo/é", "r/1") == created._replace(address=orb.reflection("bo/é", "r/1").address)
    assert orb.refresh(created) is created
    with pytest.raises(Conflict):
        orb.create_reflection("bo/é", "another", "out", id="r/1")
    changed = orb.change_reflection("bo/é", "r/1", {"notes": "n", "tags": ["y"]}, expect=created.etag)
    assert (changed.record.notes, changed.record.tags) == ("n", ("y",))
    with pytest.raises(Changed):
        orb.save_reflection("bo/é", created.record, expect=created.etag)
    assert orb.refresh(created) == changed._replace(address=created.address)
    assert orb.save_reflection("bo/é", created.record, expect=changed.etag).record == created.record
    orb.delete_reflection("bo/é", "r/1", expect=created.etag)
    with pytest.raises(NotFound):
        orb.reflection("bo/é", "r/1")
    with pytest.raises(InvalidRequest, match=r"\$\.id"):
        orb.create_reflection("bo/é", "in", "out", id="")


def test_pages_of_reflections_and_sessions(orb: Client) -> None:
    many = [ReflectionFactory(user_id="cy", session_id=f"s-{n % 2}", created_at=moment(n)) for n in range(7)]
    assert orb.create_reflections("cy", many) == many
    assert list(orb.reflections("cy", page_size=2)) == many[::-1]
    found = orb.reflections("cy", session="s-1", since=moment(2), until=moment(5), tag="orb", text="INPUT")
    assert list(found) == [many[3]]
    assert [(one.session_id, one.reflections, one.newest) for one in orb.sessions("cy", page_size=1)] == [
        ("s-0", 4, moment(6)),
        ("s-1", 3, moment(5)),
    ]
    orb.delete_session("cy", "s-0")
    assert len(list(orb.reflections("cy"))) == 3
    lines = list(orb.export_user("cy"))
    assert [one.record["id"] for one in lines[:-1]] == [many[n].id for n in (1, 3, 5)]
    assert lines[-1].records == 3


def test_profiles_and_modes(orb: Client) -> None:
    mars = orb.create_profile("dia", "mars")
    assert mars.record.preferences
    rule = Constraint(id="c", type="other", active=True, description="d")
    sol = Profile(user_id="dia", mode_id="sol", preferences=("p",), constraints=(rule,), updated_at=moment(0))
    saved = orb.save_profile(sol)
    assert saved.record == sol
    assert orb.change_profile("dia", "sol", {"preferences": ["q"]}).record.preferences == ("q",)
    assert [one.mode_id for one in orb.profiles("dia", page_size=1)] == list(orb.modes("dia")) == ["mars", "sol"]
    orb.delete_profile("dia", "mars", expect=mars.etag)
    with pytest.raises(NotFound):
        orb.profile("dia", "mars")
    assert orb.set_active_mode("dia", "sol").record == orb.active_mode("dia").record
    with pytest.raises(Changed):
        orb.set_active_mode("dia", "mars", expect=saved.etag)


def test_operations_and_erasure(orb: Client, server: Server) -> None:
    orb.create_reflection("eve", "in", "out")
    (server.home / ".orb-data").mkdir(mode=0o700, exist_ok=True)
    assert orb.stats()["ok"]
    job = orb.wait(orb.start("check", only=["te"]), pause=0.1)
    assert (job.operation, job.state) == ("check", "done")
    assert orb.job(job.id) == job
    with pytest.raises(Conflict):
        orb.cancel(job.id)
    failed = msgspec.structs.replace(job, state="failed", error="why")
    with pytest.raises(JobFailed, match="is failed: why"):
        orb.wait(failed)
    assert orb.erase_user("eve")["erased"]["ok"]
    assert list(orb.reflections("eve")) == []
    with Client(server.url, server.token("--scope", "read", "--user", "eve")) as read_only:
        with pytest.raises(Forbidden):
            read_only.create_reflection("eve", "in", "out")
        with pytest.raises(NotFound):
            read_only.active_mode("ana")
    with Client(server.url, "orb_wrong") as nobody, pytest.raises(Unauthenticated):
        nobody.stats()
