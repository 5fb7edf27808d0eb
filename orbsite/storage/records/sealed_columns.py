"""Sealed columns: the private texts of records, sealed with the data key of their user when rows are written.

A sealed JSON column holds an object with one member, so that it stays valid JSON; a sealed text column holds the sealed
text. Rows are opened where they come from the database, before anything decodes them. A value that cannot be opened is
an `Unopened`, which no record can hold, so that its row is reported as one that does not decode.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import msgspec

from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.records.record import Id, Key, Record, Text, declared
from orbsite.storage.sealing.cells import MARKS, PLAIN, SEALED, DataKey, escaped, has_marks, key_in, message_in

_SEALED_MEMBER, _PLAIN_MEMBER = SEALED.rstrip(":"), PLAIN.rstrip(":")
_MEMBERS = (_SEALED_MEMBER, _PLAIN_MEMBER)
_JSON_MARK = '{"orb:'
_PRINTED_MARK = b'"orb:'
NOT_SEALED = "the column is not sealed, although keys are configured; run seal_orb_data --apply if that is right"
DESTROYED = "the column is sealed with a data key that was destroyed, as an erasure does, or that is missing"
DAMAGED = "the sealed column was changed, or belongs in another row"


class UserKeys(Protocol):
    """Finds and makes the data keys of users."""

    @property
    def is_configured(self) -> bool:
        """Whether there are keys, so that texts are sealed when they are written, and plain ones are refused."""

    def of_users(self, users: Collection[str], using: str) -> Mapping[str, DataKey]:
        """Return a key of each user, made where there is none.

        In the caller's transaction, which no erasure of these users can pass meanwhile. Raises KeyUnavailable.
        """

    def named(self, ids: Collection[str], using: str) -> Mapping[str, DataKey]:
        """Return the keys with these ids, without those that do not exist or were destroyed. Raises KeyUnavailable."""

    def refuse_plain_writer(self, using: str) -> None:
        """Raise KeyUnavailable if no keys are configured, and the database has sealed texts."""


_source: list[UserKeys] = []


def use_keys(keys: UserKeys) -> None:
    """Take the data keys of this process from here."""
    _source[:] = [keys]


def is_sealing() -> bool:
    """Tell whether texts are sealed when they are written, and plain ones are refused."""
    return bool(_source) and _source[0].is_configured


def refuse_plain_writer(using: str) -> None:
    """Raise KeyUnavailable if new texts would be plain beside sealed ones, because no keys are configured."""
    if _source:
        _source[0].refuse_plain_writer(using)


def keys_of_users(users: Collection[str], using: str) -> Mapping[str, DataKey]:
    """Return a key of each user, in the caller's transaction. Raises KeyUnavailable."""
    return _source[0].of_users(users, using)


def keys_named(ids: Collection[str], using: str) -> Mapping[str, DataKey]:
    """Return the keys with these ids that exist. Raises KeyUnavailable."""
    return _source[0].named(ids, using)


class Unopened(bytes):
    """The stored bytes of a value that could not be opened."""

    reason: str

    @classmethod
    def of(cls, cell: str, reason: str) -> Unopened:
        """Return the value of a stored text, with the reason."""
        made = cls(cell.encode("utf-8", "surrogateescape"))
        made.reason = reason
        return made


def private_columns(kind: type[Record]) -> tuple[str, ...]:
    """Return the columns of a kind that can be sealed: its private fields, and its unknown keys."""
    return (*kind.private_fields, "extra") if kind.private_fields else ()


def cell_name(kind: type[Record], column: str, key: Key) -> str:
    """Return the name of a column in the row with a key, to which a sealed text is bound."""
    return "\0".join((kind.plural, column, *key))  # no id has a NUL


def open_rows(kind: type[Record], names: Sequence[str], rows: Any, using: str) -> Any:
    """Return the raw rows of a table with their private columns opened; `rows` itself if nothing is sealed.

    `names` are the columns of the rows, among them those of the key. Raises KeyUnavailable.
    """
    opener = _opener(kind, tuple(names))
    if opener is None or not rows:
        return rows
    refuses_plain = is_sealing()
    return opener.opened(rows, using, refuses_plain=refuses_plain) if refuses_plain or opener.is_marked(rows) else rows


def open_values(
    kind: type[Record], values: Mapping[str, Any], using: str, *, refuses_plain: bool | None = None
) -> dict[str, Any]:
    """Return the decoded columns of one row, by name, with its private columns opened. Raises KeyUnavailable.

    By default, plain values are refused where keys are configured.
    """
    hints, found = declared(kind), dict(values)
    names = [name for name in private_columns(kind) if values.get(name) is not None]
    is_json = {name: _is_json(hints, name) for name in names}
    cells = {name: json.dumps(values[name]) if is_json[name] else values[name] for name in names}
    keys = {name: values[name] for name in kind.key_fields}
    opener = _opener(kind, (*keys, *names))
    if opener is None:
        return found
    refuses_plain = is_sealing() if refuses_plain is None else refuses_plain
    (row,) = opener.opened([(*keys.values(), *cells.values())], using, refuses_plain=refuses_plain)
    for name, cell in zip(names, row[len(keys) :], strict=True):
        is_opened = is_json[name] and isinstance(cell, str)
        found[name] = json.loads(cell) if is_opened else cell
    return found


def is_marked(value: Any) -> bool:
    """Tell whether the decoded value of a private column is sealed, or is escaped because it looks like that."""
    return _is_marked_object(value) if isinstance(value, dict) else has_marks([value])


def stored_values(kind: type[Record], values: Mapping[str, Any], record: Record, using: str) -> dict[str, Any]:
    """Return the decoded private columns of one row as they are stored. In the caller's transaction."""
    hints = declared(kind)
    is_json = [_is_json(hints, name) for name in values]
    cells = [
        [json.dumps(value) if one and value is not None else value]
        for one, value in zip(is_json, values.values(), strict=True)
    ]
    stored = [cell for (cell,) in seal_columns(kind, list(values), cells, [record], using)]
    return {
        name: json.loads(cell) if one and cell is not None else cell
        for name, cell, one in zip(values, stored, is_json, strict=True)
    }


def seal_columns(
    kind: type[Record], names: Sequence[str], cells: Sequence[Sequence[Any]], records: Sequence[Record], using: str
) -> list[Sequence[Any]]:
    """Return the values of columns, one sequence for each of `names`, sealed if keys are configured.

    `records` are those whose values they are. In the caller's transaction. Raises KeyUnavailable.
    """
    sealed, hints = list(cells), declared(kind)
    places = [(at, name, _is_json(hints, name)) for at, name in enumerate(names) if name in private_columns(kind)]
    if not places:
        return sealed
    if not is_sealing():
        for at, _, is_json in places:
            sealed[at] = _escaped(cells[at], is_json=is_json)
        return sealed
    by_user = keys_of_users({record.owner for record in records}, using)
    data_keys, keys = [by_user[record.owner] for record in records], [record.key for record in records]
    for at, name, is_json in places:
        sealed[at] = [
            None if text is None else _sealed_cell(data_key, text, cell_name(kind, name, key), is_json)
            for data_key, text, key in zip(data_keys, cells[at], keys, strict=True)
        ]
    return sealed


def _opened_cell(cell: str, message: bytes, name: str, key: DataKey | None) -> Any:
    if key is None:
        return Unopened.of(cell, DESTROYED)
    try:
        return key.open(message, name)
    except DocumentCorrupt:
        return Unopened.of(cell, DAMAGED)


def _sealed_cell(key: DataKey, text: str, name: str, is_json: bool) -> str:
    sealed = key.seal(text, name)
    return f'{{"{_SEALED_MEMBER}": "{sealed}"}}' if is_json else sealed


def reseal_rows(
    kind: type[Record], names: Sequence[str], rows: Sequence[Sequence[Any]], using: str, *, unseal: bool
) -> list[tuple[Any, ...]]:
    """Return raw rows with their plain private columns sealed, or with `unseal`, the sealed ones opened.

    What cannot be opened stays. `names` are the columns of the rows, among them `user_id` and those of the key. In the
    caller's transaction. Raises KeyUnavailable.
    """
    opener = _opener(kind, tuple(names))
    if opener is None:
        return [tuple(row) for row in rows]
    opened = opener.opened(rows, using, refuses_plain=False)
    return opener.opened_for_good(rows, opened) if unseal else opener.sealed(rows, opened, using)


def may_be_marked(printed: bytes) -> bool:
    """Tell whether a text in JSON, as msgspec prints it, may be sealed or escaped."""
    return _PRINTED_MARK in printed


def is_marked_cell(cell: Any) -> bool:
    """Tell whether a raw value may be sealed or escaped."""
    return isinstance(cell, str) and cell.startswith((*MARKS, _JSON_MARK))


def unescaped(cell: Any, *, is_json: bool) -> Any:
    """Return the raw value that a plain one stands for."""
    return _message(cell, is_json=is_json, refuses_plain=False)


def begins_sealed(cell: Any) -> bool:
    """Tell whether a raw value begins like a sealed one."""
    return isinstance(cell, str) and cell.startswith((SEALED, f'{{"{_SEALED_MEMBER}"'))


def _is_sealed(cell: Any, *, is_json: bool) -> bool:
    if not isinstance(cell, str):
        return False
    return _SEALED_MEMBER in (_marked(cell) or {}) if is_json else cell.startswith(SEALED)


class _Opener:
    """Opens rows with the same columns of one kind."""

    def __init__(self, kind: type[Record], names: tuple[str, ...]) -> None:
        hints, private = declared(kind), private_columns(kind)
        self._kind, self._names = kind, names
        self._keys = [names.index(name) for name in kind.key_fields]
        self._places = [(at, name, _is_json(hints, name)) for at, name in enumerate(names) if name in private]

    def is_marked(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Tell whether a value may be sealed or escaped."""
        return any(
            any(isinstance(row[at], str) and row[at].startswith(_JSON_MARK) for row in rows)
            if is_json
            else has_marks(row[at] for row in rows)
            for at, _, is_json in self._places
        )

    def opened(self, rows: Sequence[Sequence[Any]], using: str, *, refuses_plain: bool) -> list[tuple[Any, ...]]:
        """Return the rows with opened columns."""
        found = [
            [_message(row[at], is_json=is_json, refuses_plain=refuses_plain) for at, _, is_json in self._places]
            for row in rows
        ]
        ids = {key_in(one) for messages in found for one in messages if type(one) is bytes}
        by_id = {bytes.fromhex(name): key for name, key in keys_named({one.hex() for one in ids}, using).items()}
        return [self._row(row, messages, by_id) for row, messages in zip(rows, found, strict=True)]

    def sealed(
        self, rows: Sequence[Sequence[Any]], opened: Sequence[tuple[Any, ...]], using: str
    ) -> list[tuple[Any, ...]]:
        """Return the rows with their plain columns sealed."""
        user = self._names.index("user_id")
        is_plain = [
            [self._is_clean(row, user) and self._is_plain(row[at], is_json=is_json) for at, _, is_json in self._places]
            for row in rows
        ]
        owners = {row[user] for row, plain in zip(rows, is_plain, strict=True) if any(plain)}
        keys = keys_of_users(owners, using) if owners else {}
        made = []
        for row, texts, plain in zip(rows, opened, is_plain, strict=True):
            cells, key = list(row), tuple(row[at] for at in self._keys)
            for (at, name, is_json), to_seal in zip(self._places, plain, strict=True):
                if to_seal:
                    cells[at] = _sealed_cell(keys[row[user]], texts[at], cell_name(self._kind, name, key), is_json)
            made.append(tuple(cells))
        return made

    def opened_for_good(
        self, rows: Sequence[Sequence[Any]], opened: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows with opened columns as they are stored where nothing is sealed."""
        made = [list(row) for row in rows]
        for at, _, is_json in self._places:
            for cells, texts in zip(made, opened, strict=True):
                if isinstance(texts[at], str):
                    (cells[at],) = _escaped([texts[at]], is_json=is_json)
        return [tuple(cells) for cells in made]

    def _is_clean(self, row: Sequence[Any], user: int) -> bool:
        """Tell whether the user and the key of a row are texts that can be a place."""
        return all(isinstance(row[at], str) and not UNCLEAN.search(row[at]) for at in (user, *self._keys))

    def _is_plain(self, cell: Any, *, is_json: bool) -> bool:
        return isinstance(cell, str) and not _is_sealed(cell, is_json=is_json) and not UNCLEAN.search(cell)

    def _row(self, row: Sequence[Any], messages: list[Any], by_id: Mapping[bytes, DataKey]) -> tuple[Any, ...]:
        cells = list(row)
        key = tuple(row[at] for at in self._keys)
        is_key = all(isinstance(part, str) for part in key)
        for (at, name, _), message in zip(self._places, messages, strict=True):
            cells[at] = message
            if type(message) is bytes:
                data_key = by_id.get(key_in(message))
                name_of_cell = cell_name(self._kind, name, key) if is_key else ""
                cells[at] = _opened_cell(row[at], message, name_of_cell, data_key)
        return tuple(cells)


@cache
def _opener(kind: type[Record], names: tuple[str, ...]) -> _Opener | None:
    return _Opener(kind, names) if set(names) & set(private_columns(kind)) else None


def _message(cell: Any, *, is_json: bool, refuses_plain: bool) -> Any:
    """Return the message of a sealed value as bytes, an `Unopened`, or the plain value."""
    if not isinstance(cell, str):
        return cell
    try:
        if is_json:
            members = _marked(cell) or {}
            sealed = members.get(_SEALED_MEMBER)
            if sealed is not None:
                return message_in(sealed)
            plain = json.dumps(members[_PLAIN_MEMBER]) if members else cell
        elif cell.startswith(SEALED):
            return message_in(cell)
        else:
            plain = cell.removeprefix(PLAIN)
    except DocumentCorrupt:
        return Unopened.of(cell, DAMAGED)
    return Unopened.of(cell, NOT_SEALED) if refuses_plain else plain


def _marked(cell: str) -> dict[str, Any] | None:
    """Return the object of a JSON column that is sealed or escaped, None for other JSON."""
    if not cell.startswith(_JSON_MARK):
        return None
    try:
        members = msgspec.json.decode(cell.encode(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return members if _is_marked_object(members) else None


def _is_marked_object(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((name, content),) = value.items()
    return name == _PLAIN_MEMBER or (name == _SEALED_MEMBER and isinstance(content, str))


def _escaped(cells: Sequence[Any], *, is_json: bool) -> Sequence[Any]:
    """Return plain values as they are stored."""
    if is_json:
        if not any(cell is not None and cell.startswith(_JSON_MARK) for cell in cells):
            return cells
        begin = f'{{"{_PLAIN_MEMBER}": '
        return [f"{begin}{cell}}}" if cell is not None and _begins_like_ours(cell) else cell for cell in cells]
    return [text if text is None else escaped(text) for text in cells] if has_marks(cells) else cells


def _begins_like_ours(cell: str) -> bool:
    return cell.startswith(_JSON_MARK) and any(cell.startswith(f'{{"{name}"') for name in _MEMBERS)


def _is_json(hints: Mapping[str, Any], name: str) -> bool:
    return hints[name] not in (Text, Id)
