"""The client: a method for each request of the API."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

import msgspec

from luna.records import ActiveMode, Profile
from orbsite.client.errors import Changed, InvalidResponse, JobFailed, NotFound
from orbsite.client.transport import Response, Retries, Transport
from orbsite.client.values import (
    Exported,
    Job,
    Page,
    Session,
    Unreadable,
    Versioned,
    decoded,
    has_changes,
    record_in,
    same,
)
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.encoding.url_ids import segment
from orbsite.storage.records.record import R
from te.records import Reflection

_T = TypeVar("_T")
_MERGE_PATCH = "application/merge-patch+json"


class Client:
    """Talks to a server; all methods raise the errors of `orbsite.client.errors`. Threads may share it.

    Creations have an `Idempotency-Key`, by default a new one, so that a request whose response was lost is repeated
    and executed once. `expect` is the ETag of the version that a change replaces; without it, any version is replaced.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 30.0,
        retries: Retries | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare requests to a server, with a token of `create_orb_token`. Nothing is sent yet.

        `timeout` is in seconds, for connecting and for each part of a response. Raises ValueError for another address.
        """
        self._transport = Transport(url, token, timeout=timeout, retries=retries or Retries(), context=context)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept for later requests."""
        self._transport.close()

    # Profiles, modes

    def profiles(self, user: str, *, page_size: int | None = None) -> Iterator[Profile]:
        """Yield the profiles of a user, ordered by mode."""
        return self._records(Profile, _of(user, "profiles"), {"limit": page_size})

    def profile(self, user: str, mode: str) -> Versioned[Profile]:
        """Return the profile of a user in a mode."""
        return self._read(Profile, _of(user, "profiles", mode))

    def create_profile(self, user: str, mode: str, *, key: str | None = None) -> Versioned[Profile]:
        """Create a profile from the preset of its mode. Raises Conflict if there is one."""
        return self._created(Profile, _of(user, "profiles"), {"modeId": mode}, key)

    def save_profile(self, profile: Profile, *, expect: str | None = None) -> Versioned[Profile]:
        """Create a profile or replace it completely. Raises Changed."""
        return self._saved(profile, _of(profile.user_id, "profiles", profile.mode_id), expect)

    def change_profile(
        self, user: str, mode: str, changes: Mapping[str, Any], *, expect: str | None = None
    ) -> Versioned[Profile]:
        """Change some members, by their JSON names; None removes one (JSON Merge Patch). Raises Changed."""
        return self._patched(Profile, _of(user, "profiles", mode), changes, expect)

    def delete_profile(self, user: str, mode: str, *, expect: str | None = None) -> None:
        """Delete a profile. Raises NotFound and Changed."""
        self._deleted(_of(user, "profiles", mode), expect)

    def modes(self, user: str, *, page_size: int | None = None) -> Iterator[str]:
        """Yield the modes in which a user has a profile."""
        return (decoded(str, item) for item in self._items(_of(user, "modes"), {"limit": page_size}))

    def active_mode(self, user: str) -> Versioned[ActiveMode]:
        """Return the active mode of a user."""
        return self._read(ActiveMode, _of(user, "active-mode"))

    def set_active_mode(self, user: str, mode: str, *, expect: str | None = None) -> Versioned[ActiveMode]:
        """Set the active mode of a user. Raises Changed."""
        address = _of(user, "active-mode")
        try:
            response = self._transport.send("PUT", address, compact({"modeId": mode}), If_Match=expect)
        except Changed as problem:
            return self._stored_if(problem, ActiveMode, address, lambda stored: stored.mode_id == mode)
        return _versioned(ActiveMode, response, address)

    # Reflections, sessions

    def reflections(
        self,
        user: str,
        *,
        session: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str | None = None,
        search: str | None = None,
        page_size: int | None = None,
        unreadable: list[Unreadable] | None = None,
    ) -> Iterator[Reflection]:
        """Yield the reflections of a user that meet every condition, newest first; more pages are read when needed.

        Pages neither skip nor repeat records while others write. `since` is included, `until` is not. `unreadable`
        receives the stored items that do not decode.
        """
        wanted: dict[str, Any] = {"session": session, "tag": tag, "text": text, "search": search, "limit": page_size}
        wanted |= {"from": since and spell(since), "to": until and spell(until)}
        return self._records(Reflection, _of(user, "reflections"), wanted, unreadable)

    def reflection(self, user: str, reflection: str) -> Versioned[Reflection]:
        """Return one reflection of a user."""
        return self._read(Reflection, _of(user, "reflections", reflection))

    def create_reflection(
        self,
        user: str,
        input: str,  # noqa: A002 -- the name of the field
        output: str,
        *,
        id: str | None = None,  # noqa: A002
        session: str | None = None,
        tags: Iterable[str] = (),
        notes: str | None = None,
        created_at: datetime | None = None,
        key: str | None = None,
    ) -> Versioned[Reflection]:
        """Create a reflection; the server gives it an id and the current time by default.

        Raises Conflict if another reflection has the id.
        """
        given: dict[str, Any] = {
            "id": id,
            "input": input,
            "output": output,
            "sessionId": session,
            "tags": list(tags),
            "notes": notes,
        }
        given["createdAt"] = created_at and spell(created_at)
        body = {name: value for name, value in given.items() if value is not None}
        return self._created(Reflection, _of(user, "reflections"), body, key)

    def create_reflections(
        self, user: str, reflections: Iterable[Reflection], *, key: str | None = None
    ) -> list[Reflection]:
        """Create up to 1000 reflections, all or nothing. Raises Conflict if an id is taken."""
        body = compact([one.as_json() for one in reflections])
        response = self._post(_of(user, "reflections"), body, key)
        return [record_in(Reflection, item) for item in decoded(list[msgspec.Raw], response.body)]

    def save_reflection(self, user: str, reflection: Reflection, *, expect: str | None = None) -> Versioned[Reflection]:
        """Create a reflection or replace it completely. Raises Changed."""
        return self._saved(reflection, _of(user, "reflections", reflection.id), expect)

    def change_reflection(
        self, user: str, reflection: str, changes: Mapping[str, Any], *, expect: str | None = None
    ) -> Versioned[Reflection]:
        """Change some members, by their JSON names; None removes one (JSON Merge Patch). Raises Changed."""
        return self._patched(Reflection, _of(user, "reflections", reflection), changes, expect)

    def delete_reflection(self, user: str, reflection: str, *, expect: str | None = None) -> None:
        """Delete a reflection. Raises NotFound and Changed."""
        self._deleted(_of(user, "reflections", reflection), expect)

    def sessions(self, user: str, *, page_size: int | None = None) -> Iterator[Session]:
        """Yield the sessions of a user, by id."""
        return (decoded(Session, item) for item in self._items(_of(user, "sessions"), {"limit": page_size}))

    def delete_session(self, user: str, session: str) -> None:
        """Delete the reflections of a user in a session. Raises NotFound."""
        self._deleted(_of(user, "sessions", session, "reflections"), None)

    # Users, operations

    def refresh(self, known: Versioned[R]) -> Versioned[R]:
        """Return the stored version of a record: `known` itself if it has not changed, which sends no record."""
        response = self._transport.send("GET", known.address, If_None_Match=known.etag)
        if response.status == HTTPStatus.NOT_MODIFIED:
            return known
        return _versioned(type(known.record), response, known.address)

    def export_user(self, user: str) -> Iterator[Exported]:
        """Yield all records of a user from one snapshot, and a last line with their number.

        Raises InvalidResponse if the last line is missing, because the response was cut then.
        """
        last = Exported()
        with self._transport.stream(_of(user, "export"), Accept="application/x-ndjson") as lines:
            for line in lines:
                last = decoded(Exported, line)
                yield last
        if not last.end:
            raise InvalidResponse("the export was cut off; its last line is missing. Repeat it")

    def erase_user(self, user: str) -> dict[str, Any]:
        """Erase a user in every store, and return the receipt. Raises Conflict while a run is in progress."""
        return decoded(dict[str, Any], self._transport.send("DELETE", _of(user)).body)

    def stats(self) -> dict[str, Any]:
        """Return the report on the stores."""
        return decoded(dict[str, Any], self._transport.send("GET", "api/v1/operations/stats").body)

    def start(self, operation: str, *, key: str | None = None, **arguments: Any) -> Job:
        """Start an operation, such as `validate` or `export`, as a job. Arguments have their Python names."""
        body = compact({_camel(name): value for name, value in arguments.items()})
        return decoded(Job, self._post(f"api/v1/operations/{segment(operation)}", body, key).body)

    def job(self, number: int) -> Job:
        """Return the state of a job."""
        return decoded(Job, self._transport.send("GET", f"api/v1/operations/jobs/{number:d}").body)

    def cancel(self, number: int) -> Job:
        """Cancel a queued or running job. Raises Conflict if it has ended."""
        return decoded(Job, self._transport.send("POST", f"api/v1/operations/jobs/{number:d}/cancel").body)

    def wait(
        self, job: Job, *, seconds: float = 600.0, pause: float = 1.0, sleep: Callable[[float], None] = time.sleep
    ) -> Job:
        """Return a job when it is done. Raises JobFailed if it ends otherwise, or not within the time."""
        deadline = time.monotonic() + seconds
        while job.is_open and time.monotonic() < deadline:
            sleep(pause)
            job = self.job(job.id)
        if job.state != "done":
            raise JobFailed(f"the job {job.id} ({job.operation}) is {job.state}: {job.error}".rstrip(": "))
        return job

    def _read(self, kind: type[R], address: str) -> Versioned[R]:
        return _versioned(kind, self._transport.send("GET", address), address)

    def _post(self, address: str, body: bytes, key: str | None) -> Response:
        return self._transport.send("POST", address, body, Idempotency_Key=key or str(uuid4()))

    def _created(self, kind: type[R], address: str, body: Mapping[str, Any], key: str | None) -> Versioned[R]:
        response = self._post(address, compact(body), key)
        return _versioned(kind, response, response.headers.get("location", address))

    def _saved(self, record: R, address: str, expect: str | None) -> Versioned[R]:
        try:
            response = self._transport.send("PUT", address, compact(record.as_json()), If_Match=expect)
        except Changed as problem:
            return self._stored_if(problem, type(record), address, lambda stored: same(record, stored))
        return _versioned(type(record), response, address)

    def _patched(self, kind: type[R], address: str, changes: Mapping[str, Any], expect: str | None) -> Versioned[R]:
        headers = {"Content_Type": _MERGE_PATCH, "If_Match": expect}
        try:
            response = self._transport.send("PATCH", address, compact(dict(changes)), **headers)
        except Changed as problem:
            return self._stored_if(problem, kind, address, lambda stored: has_changes(stored, changes))
        return _versioned(kind, response, address)

    def _stored_if(self, problem: Changed, kind: type[R], address: str, is_done: Callable[[R], bool]) -> Versioned[R]:
        """Return the stored record if an earlier attempt may have written it and it has what was sent, else raise."""
        if not problem.was_repeated:
            raise problem
        stored = self._read(kind, address)
        if not is_done(stored.record):
            raise problem
        return stored

    def _deleted(self, address: str, expect: str | None) -> None:
        try:
            self._transport.send("DELETE", address, If_Match=expect)
        except NotFound as problem:
            if not problem.was_repeated:  # else the first attempt has deleted it
                raise

    def _records(
        self, kind: type[R], address: str, query: Mapping[str, Any], unreadable: list[Unreadable] | None = None
    ) -> Iterator[R]:
        return (record_in(kind, item) for item in self._items(address, query, unreadable))

    def _items(
        self, address: str, query: Mapping[str, Any], unreadable: list[Unreadable] | None = None
    ) -> Iterator[msgspec.Raw]:
        """Yield the items of a list, page by page."""
        asked = {name: value for name, value in query.items() if value is not None}
        following: str | None = f"{address}?{urlencode(asked)}" if asked else address
        while following is not None:
            page = decoded(Page, self._transport.send("GET", following).body)
            yield from page.items
            if unreadable is not None:
                unreadable += page.unreadable
            following = page.next


def _of(user: str, *names: str) -> str:
    """Return the address of a user's resource; the names are encoded where they are ids."""
    return "/".join(["api/v1/users", *map(segment, (user, *names))])


def _versioned(kind: type[R], response: Response, address: str) -> Versioned[R]:
    return Versioned(record_in(kind, response.body), response.headers.get("etag", ""), address)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
