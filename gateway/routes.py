"""The gateway's two tables: which path goes to which service, and which paths are its own."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.topology import (
    AUTH_DATABASE,
    AUTH_SERVICE,
    AUTH_SERVICE_HTTP,
    SCHOOL_DATABASE,
    SCHOOL_SERVICE,
    SCHOOL_SERVICE_HTTP,
    STUDENT_DATABASE,
    STUDENT_SERVICE,
    STUDENT_SERVICE_GRPC,
    STUDENT_SERVICE_HTTP,
)


@dataclass(frozen=True, slots=True)
class Service:
    """One upstream.

    process: its name in `protocols.topology`. breaker: guards the calls to it. dependencies: the breakers
    that it owns itself. behind: the breakers of its dependencies, whose failures it reports too.
    """

    name: str
    process: str
    breaker: str
    dependencies: tuple[str, ...]
    behind: tuple[str, ...] = ()

    @property
    def origins(self) -> frozenset[str]:
        """The breakers that it may name as having counted a failure."""
        return frozenset(self.dependencies + self.behind)


@dataclass(frozen=True, slots=True)
class Route:
    """Everything below `prefix` belongs to `service`.

    itself: the prefix is a path of the service too. strip: the service sees the path without the prefix.
    bearer: an access token is needed.
    """

    prefix: bytes
    service: Service
    itself: bool
    strip: bool
    bearer: bool


AUTH = Service("auth", AUTH_SERVICE, AUTH_SERVICE_HTTP, (AUTH_DATABASE,))
SCHOOL = Service("school", SCHOOL_SERVICE, SCHOOL_SERVICE_HTTP, (SCHOOL_DATABASE,))
STUDENT = Service(
    "student",
    STUDENT_SERVICE,
    STUDENT_SERVICE_HTTP,
    (STUDENT_DATABASE, STUDENT_SERVICE_GRPC),
    behind=(SCHOOL_DATABASE,),
)
SERVICES = (AUTH, SCHOOL, STUDENT)

ROUTES = (
    Route(b"/auth", AUTH, itself=False, strip=True, bearer=False),
    Route(b"/schools", SCHOOL, itself=True, strip=False, bearer=True),
    Route(b"/students", STUDENT, itself=True, strip=False, bearer=True),
)

OWN_PATHS = frozenset(
    (
        b"/",
        b"/health",
        b"/livez",
        b"/readyz",
        b"/metrics",
        b"/docs",
        b"/docs/openapi.json",
        b"/dashboard",
        b"/dashboard/events",
        b"/admin/breakers",
    )
)
OWN_FOLDERS = (b"/docs/assets/", b"/dashboard/assets/", b"/admin/breakers/")
