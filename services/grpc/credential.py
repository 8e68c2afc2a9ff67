"""The credential that a gRPC server and its callers share."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import structlog
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from services.grpc.call_log import Call, WrappedService

SETTING = "SCHOOL_GRPC_SECRET"
_FIELD = "authorization"

log = structlog.get_logger("grpc")


def credential_metadata(secret: str | None) -> dict[str, str]:
    """The metadata of a call with the credential; None: there is none."""
    return {} if secret is None else {_FIELD: f"Bearer {secret}"}


def protected_service(service: Any, secret: str | None) -> Any:
    """The service, which refuses calls without the credential.

    It answers them UNAUTHENTICATED. secret: None: it accepts all calls. The first of consecutive refusals
    is logged: usually one of the two processes has another setting.
    """
    if secret is None:
        return service
    # Bytes: compare_digest accepts no str with characters outside ASCII.
    expected = credential_metadata(secret)[_FIELD].encode()
    is_refusing = False

    def protect(_: str, func: Call) -> Call:
        async def protected(stream: Stream[Any, Any]) -> None:
            nonlocal is_refusing
            if not hmac.compare_digest(_given(stream.metadata), expected):
                if not is_refusing:
                    log.error("a caller is refused: its credential is wrong or missing", setting=SETTING)
                is_refusing = True
                raise GRPCError(Status.UNAUTHENTICATED, "the credential is wrong or missing")
            is_refusing = False
            await func(stream)

        return protected

    return WrappedService(service, protect)


def _given(metadata: Mapping[str, Any] | None) -> bytes:
    given = (metadata or {}).get(_FIELD, b"")
    return given if isinstance(given, bytes) else str(given).encode("utf-8", "replace")
