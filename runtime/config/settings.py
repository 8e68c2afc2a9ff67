"""Settings from the environment, typed and checked at the start.

A process subclasses `ProcessSettings`, adds its own fields and calls `load`. The variable of a field is its
name in capitals. Secrets are `SecretStr` or `Secret`: their values appear in no repr and in no error message.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import unquote, unquote_plus

from pydantic import AfterValidator, Field, Secret, SecretStr, ValidationError
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
from runtime.urls import BaseUrls, MongoUri, ValkeyUrl, WebUrl

ADMIN_TOKEN_CHARACTERS = 32
"""The least characters of ADMIN_TOKEN. `openssl rand -hex 24` makes 48."""


def _token(value: str) -> str:
    # The characters that a header can carry after "Bearer".
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("should be printable ASCII without spaces")
    return value


def _admin_token(value: str) -> str:
    # A shorter one can be guessed.
    if len(_token(value)) < ADMIN_TOKEN_CHARACTERS:
        raise ValueError(f"should have {ADMIN_TOKEN_CHARACTERS} characters at least")
    return value


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("should be HOST:PORT")
    return value


def _text(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("should not be empty")
    value.encode()  # raises ValueError: a variable may hold bytes that aren't UTF-8
    return value


def _file(value: Path) -> Path:
    if value.is_dir():
        raise ValueError("should be a file, not a directory")
    return value


def _ca_file(value: Path) -> Path:
    # Few processes set the variable.
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except OSError as error:
        raise ValueError(f"should be a file of certificates in PEM: {reason_of(error)}") from None
    return value


def _checked_secret(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(lambda secret: SecretStr(check(secret.get_secret_value())))


Port = Annotated[int, Field(ge=0, le=65535)]
"""A port to listen on; 0: any free one."""
Address = Annotated[str, AfterValidator(_address)]
"""HOST:PORT."""
Text = Annotated[str, AfterValidator(_text)]
"""Text that isn't empty."""
CaFile = Annotated[Path, AfterValidator(_ca_file)]
"""A readable file of certificates in PEM."""
FilePath = Annotated[Path, AfterValidator(_file)]
"""A file, which may not exist yet."""
SecretLine = Annotated[SecretStr, _checked_secret(_text)]
"""Secret text that isn't empty."""
SecretToken = Annotated[SecretStr, _checked_secret(_token)]
"""A token: printable ASCII without spaces."""
AdminToken = Annotated[SecretStr, _checked_secret(_admin_token)]
"""A bearer token: printable ASCII without spaces, ADMIN_TOKEN_CHARACTERS at least."""


def _url(default: str) -> Any:
    """Return a field whose default is read as a variable's value would be."""
    return Field(default=default, validate_default=True)


_SECRET_OPTIONS = ("tlscertificatekeyfilepassword", "authmechanismproperties")
"""Options of a MongoDB connection string that hold secrets, in lower case."""


class ProcessSettings(BaseSettings):
    """The settings that all processes share.

    circuit_breakers: breakers.toml. circuit_breaker_profile: overrides the file's.
    valkey_url: where the instances share their breakers; None: nothing is shared.
    …_service_url: the URLs of the service's servers. upstream_ca_file: the authorities that verify their
    certificates; None: the system's.
    jwks_cache: keeps the auth service's public keys for the next start; None: nothing is kept.
    admin_token: admits its bearer to the admin API, besides admins with access tokens; None: only them.
    webhook_url: receives every transition; webhook_secret signs each delivery.
    shutdown_delay: seconds between a stop signal and the stop; requests are served and /readyz answers 503.
    shutdown_grace: seconds that requests in flight then have to finish.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=False)

    circuit_breakers: FilePath = Path("breakers.toml")
    circuit_breaker_profile: Text | None = None
    valkey_url: ValkeyUrl = None
    host: Text = "127.0.0.1"
    log_format: Literal["auto", "json", "console"] = "auto"
    auth_service_url: BaseUrls = _url(f"http://127.0.0.1:{AUTH_SERVICE_PORT}")
    school_service_url: BaseUrls = _url(f"http://127.0.0.1:{SCHOOL_SERVICE_PORT}")
    student_service_url: BaseUrls = _url(f"http://127.0.0.1:{STUDENT_SERVICE_PORT}")
    upstream_ca_file: CaFile | None = None
    school_grpc_address: Address = f"127.0.0.1:{SCHOOL_GRPC_PORT}"
    jwks_cache: FilePath | None = None
    admin_token: AdminToken | None = None
    webhook_url: WebUrl | None = None
    webhook_secret: SecretLine | None = None
    shutdown_delay: Annotated[float, Field(ge=0, le=3600)] = 0.0
    shutdown_grace: Annotated[float, Field(ge=0, le=3600)] = 12.0

    def secrets(self) -> list[str]:
        """Return the values that `configure_logs` hides wherever they occur."""
        found = [one.get_secret_value() for one in (self.admin_token, self.webhook_secret) if one]
        password = (self.valkey_url.get_secret_value().password if self.valkey_url else None) or ""
        # The driver unquotes the password, and may quote it in an error.
        return found + ([password, unquote(password)] if password else [])


class DatabaseSettings(ProcessSettings):
    """The settings of a process with a database.

    mongodb_uri: MongoDB's address and credentials.
    """

    mongodb_uri: MongoUri = _url(f"mongodb://127.0.0.1:{MONGODB_PORT}/?replicaSet=rs0")

    def secrets(self) -> list[str]:
        """Return the values that `configure_logs` hides wherever they occur."""
        url = self.mongodb_uri.get_secret_value()
        written = [host["password"] or "" for host in url.hosts()]
        options = dict(url.query_params())
        written += [value for name, value in options.items() if name.lower() in _SECRET_OPTIONS]
        # The driver decodes them, a plus sign to a space.
        return [*super().secrets(), *dict.fromkeys(form for one in written for form in _forms(one))]


def _forms(written: str) -> tuple[str, ...]:
    return (written, unquote(written), unquote_plus(written)) if written else ()


Settings = TypeVar("Settings", bound=ProcessSettings)


def is_secret(cls: type[BaseSettings], name: str) -> bool:
    """Return whether the field holds a secret."""
    parts = _parts(cls.model_fields[name].annotation)
    return any(part is SecretStr or get_origin(part) is Secret for part in parts)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def load(cls: type[Settings]) -> Settings:
    """Read `cls` from the environment.

    Ends the process with 2 if a value can't be used, after a line for each: `setting NAME: reason (got …)`.
    """
    try:
        return cls()
    except ValidationError as error:
        for line in complaints(cls, error):
            print(line, file=sys.stderr)
        raise SystemExit(2) from None


def complaints(cls: type[ProcessSettings], error: ValidationError) -> list[str]:
    """Return one line for each unusable value, without the values of secrets."""
    return [_complaint(cls, problem) for problem in error.errors(include_url=False, include_context=False)]


def _complaint(cls: type[ProcessSettings], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "?"
    secret = name not in cls.model_fields or is_secret(cls, name)
    reason = problem["msg"].removeprefix("Value error, ")
    got = "a secret" if secret else redact(repr(problem["input"]))
    return f"setting {name.upper()}: {reason} (got {got})"
