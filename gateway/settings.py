"""The gateway's settings. Each is read from the environment variable with its name in capitals."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from gateway.proxy.trusted_proxies import read_networks
from protocols.topology import GATEWAY_PORT
from runtime.config.settings import FilePath, Port, ProcessSettings
from runtime.serving import Limits, ServerCertificate
from runtime.urls import BaseUrl

Seconds = Annotated[float, Field(gt=0, le=86_400)]
"""A timeout: more than 0 seconds, a day at most."""
Amount = Annotated[int, Field(ge=1)]
"""An integer of at least 1."""


def _networks(value: str) -> str:
    read_networks(value)
    return value


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [origin for one in value.split(",") if (origin := one.strip())]
    return value


def _origin_kind(value: Any) -> str:
    return "any" if value == "*" else "url"


Origin = Annotated[
    Annotated[Literal["*"], Tag("any")] | Annotated[BaseUrl, Tag("url")], Discriminator(_origin_kind)
]
"""The origin of pages, in the form that browsers send; or * for any."""
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)]
"""Origins, written with commas between them."""
Networks = Annotated[str, AfterValidator(_networks)]
"""Networks and addresses, separated by commas."""


class GatewaySettings(ProcessSettings):
    """The gateway's settings besides those of every process. Times are seconds.

    upstream_connect_timeout: to connect to a service, look-up and TLS included. upstream_timeout: until the
    head of the response; upstream_idle_timeout: between two pieces of a body. client_header_timeout: from a
    request's first byte to the end of its head; client_body_timeout: between two pieces of its body;
    client_upload_timeout: of waiting for its whole body, plus one second for every client_upload_rate bytes
    received; client_write_timeout: until the client takes a piece of the response; client_idle_timeout:
    between two requests. tls_cert_file, tls_key_file: a certificate with its chain, and its key, both PEM;
    with them, TLS is served. cors_origins: origins whose pages may read responses, separated by commas, or *.
    gateway_workers: processes on the gateway's port; more than one need valkey_url.
    call_log: gets a line for each call through a breaker; None: nothing is written.
    operations_port: serves the gateway's own pages, which gateway_port then no longer has; None: none does.
    trusted_proxies: networks, separated by commas, whose X-Forwarded-* and Forwarded are believed.
    """

    gateway_port: Port = GATEWAY_PORT
    operations_port: Port | None = None
    gateway_workers: Annotated[int, Field(ge=1, le=64)] = 1
    rate_limit_per_minute: Amount = 100
    rate_limit_per_hour: Amount = 1000
    upstream_connect_timeout: Seconds = 2.0
    # None: longer than a request to a service may take; see `grace`.
    shutdown_grace: Annotated[float, Field(ge=0, le=3600)] | None = None  # type: ignore[assignment]
    upstream_timeout: Seconds = 10.0
    upstream_idle_timeout: Seconds = 300.0
    max_body_bytes: Amount = 10 * 1024 * 1024
    # The services accept 64 KiB: the rest is for the fields that the gateway adds.
    max_header_bytes: Annotated[int, Field(ge=1024, le=48 * 1024)] = 32 * 1024
    max_connections: Amount = 1000
    client_header_timeout: Seconds = 10.0
    client_body_timeout: Seconds = 30.0
    client_upload_timeout: Seconds = 300.0
    client_upload_rate: Amount = 500
    client_write_timeout: Seconds = 60.0
    client_idle_timeout: Seconds = 75.0
    trusted_proxies: Networks = ""
    cors_origins: Origins = ()
    call_log: FilePath | None = None
    tls_cert_file: FilePath | None = None
    tls_key_file: FilePath | None = None

    @field_validator("gateway_workers")
    @classmethod
    def _workers_share(cls, value: int, info: ValidationInfo) -> int:
        # An invalid VALKEY_URL has its own message, and is no key of the data.
        if value > 1 and info.data.get("valkey_url", "invalid") is None:
            raise ValueError("should be 1, or VALKEY_URL should be set too: workers share their state there")
        return value

    @field_validator("operations_port")
    @classmethod
    def _ports_differ(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and value == info.data.get("gateway_port"):
            raise ValueError("should be another port than GATEWAY_PORT")
        return value

    @model_validator(mode="after")
    def _certificate_has_key(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            missing = "tls_key_file" if self.tls_key_file is None else "tls_cert_file"
            raise ValueError(f"{missing.upper()} should be set too: TLS needs a certificate and its key")
        return self

    def grace(self) -> float:
        """Seconds in which requests in flight must finish at a stop; by default UPSTREAM_TIMEOUT + 2."""
        return self.upstream_timeout + 2 if self.shutdown_grace is None else self.shutdown_grace

    def certificate(self) -> ServerCertificate | None:
        """The certificate for TLS; None if none is set. Raises UnusableCertificate."""
        if self.tls_cert_file is None or self.tls_key_file is None:
            return None
        return ServerCertificate(self.tls_cert_file, self.tls_key_file)

    def limits(self) -> Limits:
        """The server's limits."""
        return Limits(
            head_bytes=self.max_header_bytes,
            head_seconds=self.client_header_timeout,
            body_seconds=self.client_body_timeout,
            upload_seconds=self.client_upload_timeout,
            upload_rate=self.client_upload_rate,
            idle_seconds=self.client_idle_timeout,
            write_seconds=self.client_write_timeout,
            connections=self.max_connections,
        )

    def service_urls(self) -> dict[str, list[str]]:
        """The URLs of each service's servers, by the service's name."""
        urls = {
            "auth": self.auth_service_url,
            "school": self.school_service_url,
            "student": self.student_service_url,
        }
        return {name: [str(url) for url in listed] for name, listed in urls.items()}
