"""The stack's processes, ports and breakers: each name and each default port, once."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

MONGODB = "mongodb"
AUTH_SERVICE = "auth-service"
SCHOOL_SERVICE = "school-service"
STUDENT_SERVICE = "student-service"
API_GATEWAY = "api-gateway"

PROCESSES = (MONGODB, AUTH_SERVICE, SCHOOL_SERVICE, STUDENT_SERVICE, API_GATEWAY)
"""All processes, in the order in which they are started."""

MODULES: Mapping[str, str] = MappingProxyType(
    {
        AUTH_SERVICE: "services.auth",
        SCHOOL_SERVICE: "services.school",
        STUDENT_SERVICE: "services.student",
        API_GATEWAY: "gateway",
    }
)
"""The Python processes: `python -m MODULE` starts one."""

MONGODB_PORT = 27017
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
    }
)
"""By the setting of each port: the process that listens on it, and the default. A process's first port serves
HTTP; MongoDB's serves its own protocol."""

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
