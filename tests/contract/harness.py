"""The stores under test, each with a back door past the store itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import connections

from orbsite.models.user_keys import UserKey
from orbsite.storage.base.store import Store
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import field_names
from orbsite.storage.sealing.envelope import Envelope, Packing, generation_of
from orbsite.storage.sealing.keys import Key, KeyRing
from orbsite.storage.sealing.packed import unpack
from orbsite.storage.sql.store import SqlStore
from orbsite.testing.cases import Case, held, moment
from orbsite.testing.harness import TO_SPOIL, Harness
from te.domain import DOMAIN as TE
from te.records import Reflection

_KEYS = [Key("new", bytes(range(32))), Key("old", bytes(range(32, 64)))]
KEYS = KeyRing(_KEYS)
SECRETS = ",".join(f"{key.id}:{base64.b64encode(key.secret).decode()}" for key in _KEYS)
"""The same keys, as ORB_KEYS has them."""
PACKINGS = {
    "": Packing(),
    "compressed ": Packing(is_compressed=True),
    "sealed ": Packing(is_compressed=True, keys=KEYS),
}
"""The ways in which files are stored, by what the name of a harness begins with."""


def file(base: Path, form: str = "") -> Harness:
    """A file store that rewrites the document for every save."""

    def envelope(case: Case) -> Envelope:
        return PACKINGS[form].envelope(str(case.domain.file.with_suffix("")))

    def look(case: Case) -> dict[tuple[str, ...], Any]:
        path = base / case.domain.file
        return case.items(json.loads(envelope(case).open(path.read_bytes()))) if path.exists() else {}

    def spoil(case: Case, record: Any) -> bool:
        path = base / case.domain.file
        before = envelope(case).open(path.read_bytes())
        after = before.replace(f'"{TO_SPOIL}"'.encode(), b"5")
        path.write_bytes(envelope(case).close(after, generation_of(path.read_bytes())))
        assert after != before
        return True

    def open_store(domain: Domain) -> Store:
        return FileStore(domain, Document(base, domain.file, PACKINGS[form]))

    return Harness(f"{form}file", open_store, look, spoil)


def journal(base: Path, form: str = "") -> Harness:
    """A file store that journals every save but the first; what it keeps is read here without its help."""

    def look(case: Case) -> dict[tuple[str, ...], Any]:
        found = file(base, form).witnesses(case)
        path = base / f"{case.domain.file}.journal"
        names = dict(field_names(case.kind))
        envelope = PACKINGS[form].envelope(str(case.domain.file.with_suffix("")))
        for line in path.read_bytes().splitlines() if path.exists() else ():
            for step in json.loads(envelope.open_line(line)).get("steps", ()):
                if step.get("put") == case.kind.plural:
                    record = step["record"]
                    value = record[names[case.witness]]
                    key = tuple(record[names[field]] for field in case.kind.key_fields)
                    found[key] = held(value)
                elif step.get("delete") == case.kind.plural:
                    del found[tuple(step["key"])]
        return found

    def open_store(domain: Domain) -> Store:
        return FileStore(domain, Document(base, domain.file, PACKINGS[form]), journal_above=0)

    def spoil(case: Case, record: Any) -> bool:
        FileStore(case.domain, Document(base, case.domain.file, PACKINGS[form])).fold()
        return file(base, form).spoil(case, record)

    return Harness(f"{form}journal", open_store, look, spoil)


BEGINNINGS: dict[str, Any] = {
    "luna": {"seed": {"schemaVersion": 2, "profiles": {}}},
    "te": {"schemaVersion": 2, "sessions": {}, "userSessions": {}},
}
"""The documents of version 2 without records, by domain. In Luna's, a user without data states the version."""


def version_2(of: Harness, base: Path) -> Harness:
    """Return a harness whose documents are of version 2 from the beginning."""

    def open_store(domain: Domain) -> Store:
        path = base / domain.file
        if domain.versions is not None and not path.exists():
            path.parent.mkdir(parents=True, mode=0o700)
            base.chmod(0o700)
            path.write_bytes(json.dumps(BEGINNINGS[domain.name]).encode())
        return of.open(domain)

    return Harness(f"version 2 {of.name}", open_store, of.look, of.spoil)


def sql(alias: str, *, is_sealed: bool = False) -> Harness:
    """A store in SQL. Where it is sealed, ORB_KEYS are `SECRETS`."""

    def look(case: Case) -> dict[tuple[str, ...], Any]:
        table = case.domain.models[case.kind]._meta.db_table
        names = ", ".join((*case.kind.key_fields, case.witness))
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT {names} FROM {table}")
            rows = cursor.fetchall()
        return {
            tuple(key): _plain(case, _unsealed(case, tuple(key), value, alias) if is_sealed else value)
            for *key, value in rows
        }

    def spoil(case: Case, record: Any) -> bool:
        table = case.domain.models[case.kind]._meta.db_table
        where = " AND ".join(f"{name} = %s" for name in case.kind.key_fields)
        with connections[alias].cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET extra = '[]' WHERE {where}", record.key)
            assert cursor.rowcount == 1
        return True

    return Harness(f"{'sealed ' if is_sealed else ''}{alias}", lambda domain: SqlStore(domain, alias), look, spoil)


def _unsealed(case: Case, key: tuple[str, ...], value: str, alias: str) -> str:
    """Open a sealed column with the user's key, as the format says, without the store."""
    if case.witness not in case.kind.private_fields:
        return value
    if isinstance(case.values[0], tuple | dict):
        ((_, value),) = json.loads(value).items()
        value = f":{value}"
    message = base64.b64decode(value.rpartition(":")[2], validate=True)
    row = UserKey.objects.using(alias).get(pk=message[:8].hex())
    secret = unpack(bytes(row.wrapped or b""), f"data key|{row.pk}|{row.user_id}", KEYS)
    name = "\0".join([case.kind.plural, case.witness, *key])
    return AESGCM(secret).decrypt(message[8:20], message[20:], name.encode()).decode()


def _plain(case: Case, value: Any) -> Any:
    return held(json.loads(value)) if isinstance(case.values[0], tuple | dict) else value


def reflections_with_a_journal(base: Path) -> Path:
    """Save two reflections in the document and two more in its journal, and return the data directory."""
    for above, names in ((None, "ab"), (0, "cd")):
        store = FileStore(TE, Document(base, TE.file), journal_above=above)
        for name in names:
            fields = {"input": "i", "output": "o", "tags": ("t",), "user_id": "ana", "session_id": "s"}
            store.put([Reflection(id=name, created_at=moment(0), **fields)])
    return base
