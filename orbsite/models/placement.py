"""Where the rows of each table belong when a database has several nodes, derived from the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.apps import apps
from django.db import models

from orbsite.storage.sql.models import KeyField

USER = "user_id"
"""The column by which rows are distributed."""


class Placement(StrEnum):
    """How the rows of a table are placed on the nodes."""

    DISTRIBUTED = "distributed"
    """In shards by user: the rows of a user are together, with those of all other distributed tables."""
    REFERENCE = "reference"
    """A copy of the whole table on every node."""
    LOCAL = "local"
    """On one node, which is the coordinator."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, how it is placed, and why."""

    model: type[models.Model]
    placement: Placement
    reason: str

    @property
    def name(self) -> str:
        """The name of the table."""
        return str(self.model._meta.db_table)


def tables(of: Iterable[type[models.Model]] | None = None) -> list[Table]:
    """Return the placement of each table that Django manages, those of models of other apps included, by name.

    A table is distributed if one of its keys contains the user: a database with shards can keep no other key unique.
    It is a reference table if a distributed one has a foreign key to it, and local otherwise.
    """
    known = list(apps.get_models(include_auto_created=True) if of is None else of)
    managed = {one._meta.db_table: one for one in known if one._meta.managed and not one._meta.proxy}
    distributed = {one for one in managed.values() if has_owner(one) and any(USER in key for key in keys_of(one))}
    referred = {target for one in distributed for target in _referred(one)} - distributed
    return [_placed(managed[name], distributed, referred) for name in sorted(managed)]


def has_owner(model: type[models.Model]) -> bool:
    """Tell whether rows name the user whose records they hold, who is none of Django's accounts."""
    return any(field.column == USER and isinstance(field, KeyField) for field in model._meta.concrete_fields)


def keys_of(model: type[models.Model]) -> list[tuple[str, ...]]:
    """Return the columns of each key that is unique over all rows, those of the primary key first."""
    meta: Any = model._meta
    keys: list[tuple[str, ...]] = [(field.column,) for field in meta.concrete_fields if field.primary_key]
    keys += [(field.column,) for field in meta.concrete_fields if field.unique and not field.primary_key]
    together = [constraint.fields for constraint in meta.total_unique_constraints]
    keys += [tuple(meta.get_field(name).column for name in fields) for fields in (*meta.unique_together, *together)]
    return keys


def _placed(model: Any, distributed: set[Any], referred: set[Any]) -> Table:
    if model in distributed:
        (key, *_) = (key for key in keys_of(model) if USER in key)
        return Table(model, Placement.DISTRIBUTED, f"its key ({', '.join(key)}) contains the user")
    if model in referred:
        return Table(model, Placement.REFERENCE, "a distributed table has a foreign key to it")
    if has_owner(model):
        return Table(model, Placement.LOCAL, "none of its keys contains the user")
    return Table(model, Placement.LOCAL, "its rows belong to no single user")


def _referred(model: Any) -> Iterator[Any]:
    """Yield the models to which a model has foreign keys that the database checks."""
    for field in model._meta.concrete_fields:
        if field.remote_field is not None and getattr(field, "db_constraint", False):
            yield field.remote_field.model
