"""The clients of the documentation against the project as it is served, and many clients at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.serving import Server, served
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/reference/rest.md").read_text()
ALL = "/api/v1/users/ana/reflections"
AT_ONCE = 20


@pytest.fixture(scope="module", params=["sql", "file"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp("client")
    settings = {
        "ORB_PERSISTENCE": request.param,
        "ORB_HTTPS": "false",
        "ALLOWED_HOSTS": "127.0.0.1",
        "ORB_API_RATE": "none",
    }
    with served(work, f"sqlite:///{work}/orb.sqlite3", ORB_THREADS="10", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("--scope", "write", "--user", "ana")


def _run(server: Server, token: str, *command: str) -> str:
    chosen = {"PATH": os.environ["PATH"], "URL": f"http://127.0.0.1:{server.port}", "TOKEN": token}
    done = subprocess.run(command, env=chosen, capture_output=True, text=True, check=False, timeout=time_limit(60))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ask(server: Server, token: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    answer = server.ask(method, path, data, token, Host="127.0.0.1", **headers)
    return answer.status, answer.body


def test_the_client_in_python_saves_and_reads_back(server: Server, token: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 20
    assert set(re.findall(r"^(?:import|from) (.*?)(?: import.*)?$", example, re.MULTILINE)) == {
        "json, os",
        "urllib.request",
    }
    told, name = _run(server, token, sys.executable, "-c", example).split()
    assert told == "True"
    status, body = _ask(server, token, "GET", f"{ALL}/{name}")
    assert (status, json.loads(body)["tags"]) == (200, ["success"])


def test_the_client_in_curl_saves_and_reads_back(server: Server, token: str) -> None:
    if shutil.which("curl") is None:
        assert "CI" not in os.environ
        pytest.skip("there is no curl on this machine")
    (example,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    saved, read = re.findall(r"\{.*?\}(?=\{|\s*$)", _run(server, token, "bash", "-e", "-c", example))
    assert json.loads(saved) == json.loads(read)
    assert json.loads(read)["id"] == "r-2"


@pytest.mark.parametrize("body", [{"input": "once", "output": "o"}, [{"input": "many", "output": "o"}] * 3])
def test_the_same_key_twenty_times_at_once_creates_once(server: Server, token: str, body: object) -> None:
    key = f"key {isinstance(body, list)}"
    before = _count(server, token)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(_ask, server, token, "POST", ALL, body, Idempotency_Key=key) for _ in range(AT_ONCE)]
    assert Counter(one.result() for one in asked).most_common(1)[0][1] == AT_ONCE
    assert asked[0].result()[0] == 201
    assert _count(server, token) - before == (len(body) if isinstance(body, list) else 1)


def test_of_two_with_the_same_etag_one_saves_and_one_is_told(server: Server, token: str) -> None:
    assert _ask(server, token, "PUT", f"{ALL}/cas", {"input": "0", "output": ""})[0] == 201
    for number in range(10):
        tag = server.ask("GET", f"{ALL}/cas", None, token, Host="127.0.0.1").headers["etag"]
        with ThreadPoolExecutor(2) as pool:
            bodies = [{"input": f"{number} of {who}", "output": ""} for who in "ab"]
            asked = [pool.submit(_ask, server, token, "PUT", f"{ALL}/cas", body, If_Match=tag) for body in bodies]
        told = [one.result()[0] for one in asked]
        assert sorted(told) == [200, 412]
        kept = json.loads(_ask(server, token, "GET", f"{ALL}/cas")[1])
        assert kept["input"] == bodies[told.index(200)]["input"]


def _count(server: Server, token: str) -> int:
    status, body = _ask(server, token, "GET", "/api/v1/users/ana/sessions")
    assert status == 200
    return sum(one["reflections"] for one in json.loads(body)["items"])
