"""The gateway's tables: the services, the routes to them, and the paths of the gateway's own pages."""

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
    """One upstream service.

    process: its name in `protocols.topology`. breaker: guards the gateway's calls to it. dependencies: the
    breakers that the service itself owns.
    indirect: breakers of the services behind it, which it may name in X-Failure-Origin too.
    """

    name: str
    process: str
    breaker: str
    dependencies: tuple[str, ...]
    indirect: tuple[str, ...] = ()

    @property
    def origins(self) -> frozenset[str]:
        """The breakers that the service may name in X-Failure-Origin."""
        return frozenset(self.dependencies + self.indirect)


@dataclass(frozen=True, slots=True)
class Route:
    """Sends every path below `prefix` to `service`.

    exact: the prefix itself is a path of the service too. strip: the service gets the path without the
    prefix. bearer: an access token is required.
    """

    prefix: bytes
    service: Service
    exact: bool
    strip: bool
    bearer: bool


AUTH = Service("auth", AUTH_SERVICE, AUTH_SERVICE_HTTP, (AUTH_DATABASE,))
SCHOOL = Service("school", SCHOOL_SERVICE, SCHOOL_SERVICE_HTTP, (SCHOOL_DATABASE,))
STUDENT = Service(
    "student",
    STUDENT_SERVICE,
    STUDENT_SERVICE_HTTP,
    (STUDENT_DATABASE, STUDENT_SERVICE_GRPC),
    indirect=(SCHOOL_DATABASE,),
)
SERVICES = (AUTH, SCHOOL, STUDENT)

ROUTES = (
    Route(b"/auth", AUTH, exact=False, strip=True, bearer=False),
    Route(b"/schools", SCHOOL, exact=True, strip=False, bearer=True),
    Route(b"/students", STUDENT, exact=True, strip=False, bearer=True),
)

OWN_PATHS = frozenset(
    (
        b"/",
        b"/health",
        b"/livez",
        b"/readyz",
        b"/metrics",
        b"/docs",
        b"/docs/",
        b"/docs/openapi.json",
        b"/dashboard",
        b"/dashboard/",
        b"/dashboard/events",
        b"/admin/breakers",
    )
)
ASSET_FOLDERS = (b"/docs/assets/", b"/dashboard/assets/")
OWN_FOLDERS = (*ASSET_FOLDERS, b"/admin/breakers/")
