"""Errors of HTTP handlers, and the response to each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import structlog
from quart import g
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from actors import CallRejected
from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE, RETRY_AFTER, STATUS, Code
from protocols.http import failure as failure_body
from runtime.auth import TokenError
from runtime.web.request_log import DeadlineExceeded

_CODES = {404: Code.NOT_FOUND, 408: Code.REQUEST_TIMEOUT, 413: Code.PAYLOAD_TOO_LARGE}

log = structlog.get_logger("http")


class ApiError(Exception):
    """A handler raises it to answer with the envelope of a failure.

    status: None: the usual one of the code. retry_after: seconds, sent as whole ones, rounded up, at least 1.
    failure_origin: the breaker that counted this failure or rejected the call, and no other. fields: further
    header fields of the response.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        failure_origin: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message
        self.status = STATUS[code] if status is None else status
        self.retry_after = retry_after
        self.failure_origin = failure_origin
        self.fields = dict(fields or {})

    def log_fields(self) -> dict[str, str]:
        """Return what the request's log line adds: code, message, breaker, and the reason of a rejection.

        A TokenError as the cause replaces the message: it is more precise than what the client may read.
        """
        cause = self.__cause__
        reason = str(cause) if isinstance(cause, TokenError) else self.message
        added = {"error": self.code.value, "reason": reason}
        if self.failure_origin is not None:
            added["breaker"] = self.failure_origin
        if isinstance(cause, CallRejected):
            added["rejected"] = cause.reason.value
        return added

    def headers(self) -> dict[str, str]:
        """Return the header fields of the response."""
        fields = dict(self.fields)
        if self.retry_after is not None:
            fields[RETRY_AFTER] = str(whole_seconds(self.retry_after))
        if self.failure_origin is not None:
            fields[FAILURE_ORIGIN] = self.failure_origin
        return fields


def whole_seconds(seconds: float) -> int:
    """Return the seconds as Retry-After has them: rounded up, at least 1."""
    return max(1, math.ceil(seconds))


def unavailable(breaker: str, message: str, retry_after: float) -> ApiError:
    """Return the error for a call that a breaker of this service rejects. retry_after: seconds."""
    return ApiError(Code.SERVICE_UNAVAILABLE, message, retry_after=retry_after, failure_origin=breaker)


def token_api_error(error: TokenError) -> ApiError:
    """Return the response to a request without a usable token: 401, or 503 while there are no keys."""
    made = ApiError(error.code, error.message, retry_after=error.retry_after, fields=error.challenge)
    made.__cause__ = error
    return made


def add_error_handlers(app: QuartTrio, wrong_method: Code) -> None:
    """Answer every exception of a handler with the envelope of a failure.

    wrong_method: the error code for a method that the path doesn't support.
    """

    async def api_error(error: ApiError) -> Any:
        g.log_fields = error.log_fields()
        return failure_body(error.code, error.message), error.status, error.headers()

    async def deadline_exceeded(_: DeadlineExceeded) -> Any:
        return await api_error(ApiError(Code.GATEWAY_TIMEOUT, "the request ran out of its caller's time"))

    async def token_error(error: TokenError) -> Any:
        return await api_error(token_api_error(error))

    async def http_error(error: HTTPException) -> Any:
        status = error.code or 500
        code = _CODES.get(status) if status != 405 else wrong_method
        if code is None:
            code = Code.INVALID_REQUEST if status < 500 else Code.INTERNAL_ERROR
        if code in (Code.NOT_FOUND, wrong_method):
            status = STATUS[code]
        g.log_fields = {"error": code.value}
        fields = {name: value for name, value in error.get_headers() if name == "Allow"}
        if status == 500:
            fields[HANDLER_FAILURE] = "1"
        return failure_body(code, error.name), status, fields

    async def unexpected(error: Exception) -> Any:
        g.log_fields = {"error": Code.INTERNAL_ERROR.value}
        log.error("a handler failed", exc_info=error)
        return failure_body(Code.INTERNAL_ERROR, "internal error"), 500, {HANDLER_FAILURE: "1"}

    app.register_error_handler(ApiError, api_error)
    app.register_error_handler(DeadlineExceeded, deadline_exceeded)
    app.register_error_handler(TokenError, token_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected)
