"""The stack's processes, ports and breakers: each name and each default port, once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MONGODB = "mongodb"
VALKEY = "valkey"
AUTH_SERVICE = "auth-service"
SCHOOL_SERVICE = "school-service"
STUDENT_SERVICE = "student-service"
API_GATEWAY = "api-gateway"
LOAD_BALANCER = "load-balancer"

PROCESSES = (MONGODB, VALKEY, AUTH_SERVICE, SCHOOL_SERVICE, STUDENT_SERVICE, API_GATEWAY)
"""All processes of the default stack, in the order in which they are started. A stack of several gateways has
those of `gateway_names` too, and a load balancer in front of them."""

MODULES: Mapping[str, str] = MappingProxyType(
    {
        AUTH_SERVICE: "services.auth",
        SCHOOL_SERVICE: "services.school",
        STUDENT_SERVICE: "services.student",
        API_GATEWAY: "gateway",
    }
)
"""The Python processes: `python -m MODULE` starts one."""


def gateway_names(count: int) -> tuple[str, ...]:
    """The names of so many gateways: `api-gateway`, `api-gateway-2`, `api-gateway-3`, …"""
    return (API_GATEWAY, *(f"{API_GATEWAY}-{number}" for number in range(2, count + 1)))


def is_gateway(name: str) -> bool:
    """Whether a process is one of the gateways."""
    return name == API_GATEWAY or name.startswith(f"{API_GATEWAY}-")


MONGODB_PORT = 27017
VALKEY_PORT = 6380
AUTH_SERVICE_PORT = 8081
SCHOOL_SERVICE_PORT = 8082
SCHOOL_GRPC_PORT = 50051
STUDENT_SERVICE_PORT = 8083
GATEWAY_PORT = 8080

PORTS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "GATEWAY_PORT": (API_GATEWAY, GATEWAY_PORT),
        "AUTH_SERVICE_PORT": (AUTH_SERVICE, AUTH_SERVICE_PORT),
        "SCHOOL_SERVICE_PORT": (SCHOOL_SERVICE, SCHOOL_SERVICE_PORT),
        "SCHOOL_GRPC_PORT": (SCHOOL_SERVICE, SCHOOL_GRPC_PORT),
        "STUDENT_SERVICE_PORT": (STUDENT_SERVICE, STUDENT_SERVICE_PORT),
        "MONGODB_PORT": (MONGODB, MONGODB_PORT),
        "VALKEY_PORT": (VALKEY, VALKEY_PORT),
    }
)
"""By the setting of each port: the process that listens on it, and the default. A process's first port serves
HTTP; MongoDB's and Valkey's serve their own protocols."""

AUTH_SERVICE_HTTP = "auth-service-http"
SCHOOL_SERVICE_HTTP = "school-service-http"
STUDENT_SERVICE_HTTP = "student-service-http"
AUTH_DATABASE = "auth-database"
SCHOOL_DATABASE = "school-database"
STUDENT_DATABASE = "student-database"
STUDENT_SERVICE_GRPC = "student-service-grpc"

BREAKERS: Mapping[str, str] = MappingProxyType(
    {
        AUTH_SERVICE_HTTP: API_GATEWAY,
        SCHOOL_SERVICE_HTTP: API_GATEWAY,
        STUDENT_SERVICE_HTTP: API_GATEWAY,
        AUTH_DATABASE: AUTH_SERVICE,
        SCHOOL_DATABASE: SCHOOL_SERVICE,
        STUDENT_DATABASE: STUDENT_SERVICE,
        STUDENT_SERVICE_GRPC: STUDENT_SERVICE,
    }
)
"""All breakers, each with the process that owns it. The end of a name says what the breaker guards: `-http`
calls to a service, `-database` operations on MongoDB, `-grpc` calls to the school service."""
