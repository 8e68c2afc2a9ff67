"""Settings from the environment, typed and checked at the start.

A process subclasses `ProcessSettings`, adds its own fields and calls `load`. A field's variable is its
name in capitals. Secrets are `SecretText`: they are kept out of reprs and of error messages.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from protocols.topology import (
    AUTH_SERVICE_PORT,
    MONGODB_PORT,
    SCHOOL_GRPC_PORT,
    SCHOOL_SERVICE_PORT,
    STUDENT_SERVICE_PORT,
)
from runtime.observability.reasons import reason_of
from runtime.observability.redaction import redact


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("should be http://HOST:PORT or https://HOST:PORT")
    if "@" in parts.netloc:
        raise ValueError("should have no user and no password")
    if parts.port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("should have a port above 0 and no path, query or fragment")
    return value.rstrip("/")


def _base_urls(value: str) -> str:
    return ",".join(_base_url(url.strip()) for url in value.split(","))


def split_urls(value: str) -> list[str]:
    """The URLs of a BaseUrls setting."""
    return value.split(",")


def _web_url(value: str) -> str:
    # Only who sets the variable pays for the import: what will ask for the URL has to understand it.
    from httpx import URL, InvalidURL

    try:
        url, parts = URL(value), urlsplit(value)
    except InvalidURL:
        raise ValueError("should be an http or https URL") from None
    if url.scheme not in ("http", "https") or not url.host or "%" in url.host or parts.port == 0:
        raise ValueError("should be an http or https URL, with a port above 0 if any")
    return value


def _token(value: str) -> str:
    # What a header can carry behind "Bearer".
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("should be printable ASCII without spaces")
    return value


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("should be HOST:PORT")
    return value


def _mongodb_uri(value: str) -> str:
    if not value.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("should begin with mongodb:// or mongodb+srv://")
    if value.startswith("mongodb://"):
        # Only who sets the variable pays for the import; an SRV name can't be parsed without DNS.
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri

        try:
            parse_uri(value)
        except (PyMongoError, ValueError):
            raise ValueError("should be a MongoDB connection string") from None
    return value


def _text(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("should not be empty")
    value.encode()  # a variable may hold bytes that are no text
    return value


def _file(value: Path) -> Path:
    if value.is_dir():
        raise ValueError("should be a file, not a directory")
    return value


def _ca_file(value: Path) -> Path:
    # Imported here: few processes set the variable.
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as error:
        raise ValueError(f"should be a file of certificates in PEM: {reason_of(error)}") from None
    return value


class _Secret:
    """Marks a type whose values are never shown."""


def is_secret(cls: type[BaseSettings], name: str) -> bool:
    """Whether the field, or a part of its type, is a SecretText."""
    field = cls.model_fields[name]
    return any(isinstance(mark, _Secret) for mark in (*field.metadata, *_marks(field.annotation)))


def _marks(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for part in get_args(annotation):
        yield from _marks(part)


Port = Annotated[int, Field(ge=0, le=65535)]
"""A port to listen on; 0 takes a free one."""
BaseUrls = Annotated[str, AfterValidator(_base_urls)]
"""http://HOST:PORT without a slash at the end, or several separated by commas; see `split_urls`."""
Address = Annotated[str, AfterValidator(_address)]
"""HOST:PORT."""
Text = Annotated[str, AfterValidator(_text)]
"""Text that isn't empty."""
CaFile = Annotated[Path, AfterValidator(_ca_file)]
"""A file of certificates in PEM, there and readable."""
FilePath = Annotated[Path, AfterValidator(_file)]
"""A file that may not exist yet."""
SecretText = Annotated[str, _Secret()]
"""Text that is never shown."""
SecretLine = Annotated[SecretText, AfterValidator(_text)]
"""Secret text that isn't empty."""
SecretToken = Annotated[SecretText, AfterValidator(_token)]
"""A bearer's token: printable ASCII without spaces."""
WebUrl = Annotated[SecretText, AfterValidator(_web_url)]
"""A whole http or https URL; secret, for what receives webhooks often has its key in the path."""
MongoUri = Annotated[SecretText, AfterValidator(_mongodb_uri)]
"""Where MongoDB is; secret, for it may carry a password."""


class ProcessSettings(BaseSettings):
    """What all processes share; each field's variable is its name in capitals.

    …_service_url: the URLs of the service's servers. upstream_ca_file: the authorities that verify their
    certificates; None: the system's.
    admin_token: lets its bearer steer breakers, beside the access tokens of admins; None: those alone.
    webhook_url: is told of every transition; webhook_secret signs what it is told.
    shutdown_delay: seconds for which clients are still served after a stop signal, while /readyz answers 503.
    shutdown_grace: seconds that requests in flight then have to finish in.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=False)

    circuit_breakers: FilePath = Path("breakers.toml")
    circuit_breaker_profile: Text | None = None
    mongodb_uri: MongoUri = f"mongodb://127.0.0.1:{MONGODB_PORT}/?replicaSet=rs0"
    host: Text = "127.0.0.1"
    log_format: Literal["auto", "json", "console"] = "auto"
    auth_service_url: BaseUrls = f"http://127.0.0.1:{AUTH_SERVICE_PORT}"
    school_service_url: BaseUrls = f"http://127.0.0.1:{SCHOOL_SERVICE_PORT}"
    student_service_url: BaseUrls = f"http://127.0.0.1:{STUDENT_SERVICE_PORT}"
    upstream_ca_file: CaFile | None = None
    school_grpc_address: Address = f"127.0.0.1:{SCHOOL_GRPC_PORT}"
    jwks_cache: FilePath | None = None
    admin_token: SecretToken | None = None
    webhook_url: WebUrl | None = None
    webhook_secret: SecretLine | None = None
    shutdown_delay: Annotated[float, Field(ge=0, le=3600)] = 0.0
    shutdown_grace: Annotated[float, Field(ge=0, le=3600)] = 12.0

    def secrets(self) -> list[str]:
        """What must be in no line of the log, wherever it comes from."""
        return [value for value in (self.admin_token, self.webhook_secret) if value]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, "***" if name and is_secret(type(self), name) else value


Settings = TypeVar("Settings", bound=ProcessSettings)


def load(cls: type[Settings]) -> Settings:
    """Read `cls` from the environment; a bad value prints `setting NAME: reason (got …)` and exits with 2."""
    try:
        return cls()
    except ValidationError as error:
        for line in complaints(cls, error):
            print(line, file=sys.stderr)
        raise SystemExit(2) from None


def complaints(cls: type[ProcessSettings], error: ValidationError) -> list[str]:
    """One line for each value that can't be used; a secret's value is not in it."""
    return [_complaint(cls, problem) for problem in error.errors(include_url=False, include_context=False)]


def _complaint(cls: type[ProcessSettings], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "?"
    secret = name not in cls.model_fields or is_secret(cls, name)
    reason = problem["msg"].removeprefix("Value error, ")
    got = "a secret" if secret else redact(repr(problem["input"]))
    return f"setting {name.upper()}: {reason} (got {got})"
