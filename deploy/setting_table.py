"""All settings of the stack: unit and meaning of each. A test compares them with the processes' own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from protocols.topology import PORTS, SCHOOL_SERVICE, STUDENT_SERVICE

OTHERS_SETTINGS = "OTEL_"
"""The beginning of the names of OpenTelemetry's settings: every Python process reads them."""


@dataclass(frozen=True)
class Described:
    """A setting's meaning, in one sentence without a full stop. unit: of its number; empty if it has none."""

    meaning: str
    unit: str = ""


_PORTS = {
    "GATEWAY_PORT": "port of the gateway, or of the load balancer in front of several",
    "AUTH_SERVICE_PORT": "HTTP port of the auth service",
    "SCHOOL_SERVICE_PORT": "HTTP port of the school service",
    "SCHOOL_GRPC_PORT": "gRPC port of the school service",
    "STUDENT_SERVICE_PORT": "HTTP port of the student service",
    "MONGODB_PORT": "port of the stack's own MongoDB",
    "VALKEY_PORT": "port of the stack's own Valkey",
}
_STACK = {
    "STACK_DIR": Described("folder of the stack's data, logs and secrets"),
    "GATEWAY_INSTANCES": Described("number of gateways that `uv run just up` starts"),
}
_CREDENTIALS = {
    "MONGODB_URI": Described("MongoDB's address and credentials; set: the stack starts none of its own"),
    "VALKEY_URL": Described("address and password of the Valkey of what is shared; empty: nothing is shared"),
    "ADMIN_TOKEN": Described("bearer token that admits to the admin API"),
    "WEBHOOK_URL": Described("receives every transition of a breaker"),
    "WEBHOOK_SECRET": Described("key that signs each delivery to the webhook"),
    "SCHOOL_GRPC_SECRET": Described("secret that the student service shows to the school service's gRPC"),
}
_PROCESSES = {
    "CIRCUIT_BREAKERS": Described("file of the breakers' policies"),
    "CIRCUIT_BREAKER_PROFILE": Described("profile that replaces the file's: default, dev or prod"),
    "TRUSTED_GATEWAYS": Described("networks of the gateways whose X-Forwarded-For the auth service believes"),
    "GRPC_REFLECTION": Described("whether the school service's gRPC can be explored: on or off"),
    "HOST": Described("address on which the HTTP and gRPC servers listen"),
    "LOG_FORMAT": Described("format of the log: json, console, or auto, which is console on a terminal"),
    "AUTH_SERVICE_URL": Described("URLs of the auth service's servers, separated by commas"),
    "SCHOOL_SERVICE_URL": Described("URLs of the school service's servers, separated by commas"),
    "STUDENT_SERVICE_URL": Described("URLs of the student service's servers, separated by commas"),
    "SCHOOL_GRPC_ADDRESS": Described("HOST:PORT of the school service's gRPC"),
    "UPSTREAM_CA_FILE": Described("certificates that verify the services; unset: the system's"),
    "JWKS_CACHE": Described("file that keeps the public keys of tokens for the next start"),
    "SHUTDOWN_DELAY": Described(
        "time between a stop signal and the stop; /readyz answers 503 meanwhile", "s"
    ),
    "SHUTDOWN_GRACE": Described("time that requests in flight then have to finish", "s"),
}
_GATEWAY = {
    "GATEWAY_WORKERS": Described("processes of one gateway on its port; more than one need VALKEY_URL"),
    "RATE_LIMIT_PER_MINUTE": Described("requests of one address in a minute", "requests"),
    "RATE_LIMIT_PER_HOUR": Described("requests of one user in an hour", "requests"),
    "UPSTREAM_CONNECT_TIMEOUT": Described(
        "longest time to connect to a service, look-up and TLS included", "s"
    ),
    "UPSTREAM_TIMEOUT": Described("longest time until the head of a service's response", "s"),
    "UPSTREAM_IDLE_TIMEOUT": Described("longest time between two pieces of a response's body", "s"),
    "MAX_BODY_BYTES": Described("largest body of a request", "bytes"),
    "MAX_HEADER_BYTES": Described("largest head of a request", "bytes"),
    "MAX_CONNECTIONS": Described("connections of clients at once", "connections"),
    "CLIENT_HEADER_TIMEOUT": Described(
        "longest time from a request's first byte to the end of its head", "s"
    ),
    "CLIENT_BODY_TIMEOUT": Described("longest time between two pieces of a request's body", "s"),
    "CLIENT_UPLOAD_TIMEOUT": Described(
        "longest time to wait for a whole body, besides CLIENT_UPLOAD_RATE", "s"
    ),
    "CLIENT_UPLOAD_RATE": Described(
        "a body gets a second more than CLIENT_UPLOAD_TIMEOUT for so many", "bytes/s"
    ),
    "CLIENT_WRITE_TIMEOUT": Described("longest time until a client takes a piece of a response", "s"),
    "CLIENT_IDLE_TIMEOUT": Described("longest time between two requests of a connection", "s"),
    "TRUSTED_PROXIES": Described("networks whose X-Forwarded-* and Forwarded are believed"),
    "CORS_ORIGINS": Described("origins whose pages may read responses, separated by commas, or *"),
    "CALL_LOG": Described("file that gets a line for each call through a breaker, for `uv run just tune`"),
    "TLS_CERT_FILE": Described("certificate and its chain, in PEM; set: clients use TLS"),
    "TLS_KEY_FILE": Described("key of TLS_CERT_FILE, in PEM"),
    "OPERATIONS_PORT": Described("port of the gateway's operations pages; unset: its public port"),
}

SETTINGS: Mapping[str, Described] = MappingProxyType(
    {name: Described(_PORTS[name]) for name in PORTS} | _STACK | _CREDENTIALS | _PROCESSES | _GATEWAY
)
"""By the name of its environment variable."""
OF_STACK = frozenset(_STACK)
"""Settings that only `just` reads."""
CREDENTIALS = frozenset(_CREDENTIALS)
"""Settings that are secret, or may contain a secret."""
GRPC_SECRET = "SCHOOL_GRPC_SECRET"
GRPC_SECRET_READERS = (SCHOOL_SERVICE, STUDENT_SERVICE)


def is_setting(name: str) -> bool:
    """Whether an environment variable is a setting of the stack or of OpenTelemetry."""
    return name in SETTINGS or name.startswith(OTHERS_SETTINGS)
