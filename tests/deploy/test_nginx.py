"""The proxy's configuration in a real nginx, in front of a server of the installed package."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orbsite.client import Changed, Client
from tests.support.installed import ROOT, environment, serving
from tests.support.processes import ended
from tests.support.time_limits import time_limit

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HOST = "orb.example.org"
MAIN = """\
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
{servers}
}}
"""

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Proxy(NamedTuple):
    plain: int
    tls: int
    home: Path
    certificate: Path


def _certificate(work: Path) -> Path:
    """Write a key and a certificate that it has signed itself, and return the latter."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = (
        made.serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    )
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    (work / "orb.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (work / "orb.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return work / "orb.pem"


def _configured(work: Path, **changes: str) -> Path:
    servers = (ROOT / "deploy/nginx/orb.conf").read_text()
    for old, new in {"/etc/ssl/orb": f"{work}/orb", **changes}.items():
        assert old in servers
        servers = servers.replace(old, new)
    path = work / "nginx.conf"
    path.write_text(MAIN.format(work=work, servers=servers))
    return path


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    _certificate(tmp_path)
    done = subprocess.run([str(NGINX), "-t", "-c", _configured(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    work = tmp_path_factory.mktemp("proxy")
    home, certificate = work / "home", _certificate(work)
    environment().run(environment().orb, "init", home, cwd=work)
    public = {"ORB_HTTPS": "true", "ALLOWED_HOSTS": f"{HOST},localhost", "ORB_PROXIES": "1"}
    variables = environment().variables(work, **public)
    plain, tls = _free_ports()
    with serving([environment().orb, "--home", home, "serve"], work, variables) as url:
        places = {"http://127.0.0.1:8000": url, "listen 80;": f"listen 127.0.0.1:{plain};"}
        places |= {
            "listen 443 ssl": f"listen 127.0.0.1:{tls} ssl",
            "listen [::]:80;": "",
            "listen [::]:443 ssl default_server;": "",
        }
        places |= {"listen [::]:443 ssl;": "", f"server_name {HOST};": f"server_name {HOST} localhost;"}
        with ended(subprocess.Popen([str(NGINX), "-c", _configured(work, **places)], stderr=subprocess.DEVNULL)):
            _wait_for(tls)
            yield Proxy(plain, tls, home, certificate)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + time_limit(20)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.mark.slow
def test_the_client_works_through_the_proxy(proxy: Proxy) -> None:
    arguments = ["--name", "test", "--scope", "write", "--scope", "read", "--user", "ana"]
    make = [environment().orb, "--home", proxy.home, "create_orb_token", *arguments]
    token = environment().run(*make, cwd=proxy.home.parent).stdout.strip()
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    with Client(f"https://localhost:{proxy.tls}", token, context=context) as orb:
        created = orb.create_reflection("ana", "in" * 100_000, "out")
        assert created.etag.startswith('"'), "a proxy that compresses would make it weak"
        changed = orb.change_reflection("ana", created.record.id, {"notes": "n"}, expect=created.etag)
        with pytest.raises(Changed):
            orb.change_reflection("ana", created.record.id, {"notes": "m"}, expect=created.etag)
        assert [one.notes for one in orb.reflections("ana")] == [changed.record.notes] == ["n"]


@pytest.mark.slow
def test_plain_http_is_redirected_and_other_hosts_are_refused(proxy: Proxy) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", proxy.plain, timeout=20)
    plain.request("GET", "/admin/", headers={"Host": HOST, "X-Forwarded-Proto": "https"})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"https://{HOST}/admin/")
    plain.close()
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    with socket.create_connection(("127.0.0.1", proxy.tls), 20) as stream, pytest.raises(ssl.SSLError):
        context.wrap_socket(stream, server_hostname="another.example.org")


@pytest.mark.slow
def test_the_headers_of_a_client_are_not_believed(proxy: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    secure = http.client.HTTPSConnection("localhost", proxy.tls, context=context, timeout=20)
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"}
    secure.request("GET", "/admin/login/", headers=forged)
    answer = secure.getresponse()
    page = answer.read().decode()
    assert answer.status == 200, "with the client's protocol it would be a redirect"
    assert "evil.example" not in page
    (token,) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
    form = urlencode({"username": "mallory", "password": "wrong", "csrfmiddlewaretoken": token})
    told = {"Cookie": cookie, "Referer": "https://localhost/admin/login/", "Origin": "https://localhost"}
    told |= {"Content-Type": "application/x-www-form-urlencoded"}
    secure.request("POST", "/admin/login/", form, {**forged, **told})
    assert secure.getresponse().status == 200, "the password is wrong"
    secure.close()
    with contextlib.closing(sqlite3.connect(proxy.home / "db.sqlite3")) as database:
        assert database.execute("SELECT username, ip_address FROM axes_accessattempt").fetchall() == [
            ("mallory", "127.0.0.1")
        ]
