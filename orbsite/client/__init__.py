"""A typed client of the REST API, with the standard library's HTTP. It needs no Django and no settings.

    from orbsite.client import Client

    with Client("http://127.0.0.1:8000", token) as orb:
        created = orb.create_reflection("ana", "deploy", "done", tags=["success"])
        orb.change_reflection("ana", created.record.id, {"notes": "at night"}, expect=created.etag)
        for reflection in orb.reflections("ana", tag="success"):
            print(reflection.created_at, reflection.input)

Imports the records, and nothing of the project that needs Django.
"""

from luna.records import ActiveMode, Constraint, Profile
from orbsite.client.client import Client
from orbsite.client.errors import (
    Changed,
    ClientError,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    InvalidResponse,
    JobFailed,
    NotFound,
    Problem,
    ServerUnreachable,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from orbsite.client.transport import Retries
from orbsite.client.values import Exported, Job, Session, Unreadable, Versioned
from te.records import Reflection

__all__ = [
    "ActiveMode",
    "Changed",
    "Client",
    "ClientError",
    "Conflict",
    "Constraint",
    "Exported",
    "FieldError",
    "Forbidden",
    "InvalidRequest",
    "InvalidResponse",
    "Job",
    "JobFailed",
    "NotFound",
    "Problem",
    "Profile",
    "Reflection",
    "Retries",
    "ServerUnreachable",
    "Session",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "Unreadable",
    "Versioned",
]
