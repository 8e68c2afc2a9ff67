"""The envelope, error codes and header names of every HTTP response of the stack."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Any

REQUEST_ID = "X-Request-ID"
FAILURE_ORIGIN = "X-Failure-Origin"
"""The breaker that has counted the failure behind this response."""
HANDLER_FAILURE = "X-Handler-Failure"
"""`1` on a response to a handler's own error, which says nothing about any dependency."""
REQUEST_TIMEOUT_MS = "X-Request-Timeout-Ms"
RETRY_AFTER = "Retry-After"


class Code(StrEnum):
    """The `error` of a failed response."""

    INVALID_REQUEST = "INVALID_REQUEST"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    INVALID_ID = "INVALID_ID"
    INVALID_SCHOOL_ID = "INVALID_SCHOOL_ID"
    INVALID_SCHOOL = "INVALID_SCHOOL"
    MISSING_TOKEN = "MISSING_TOKEN"
    INVALID_TOKEN = "INVALID_TOKEN"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    SCHOOL_NOT_FOUND = "SCHOOL_NOT_FOUND"
    STUDENT_NOT_FOUND = "STUDENT_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    USER_EXISTS = "USER_EXISTS"
    REGISTRATION_NUMBER_EXISTS = "REGISTRATION_NUMBER_EXISTS"
    ROLL_NUMBER_EXISTS = "ROLL_NUMBER_EXISTS"
    EMAIL_EXISTS = "EMAIL_EXISTS"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    DATABASE_ERROR = "DATABASE_ERROR"
    SCHOOL_SERVICE_ERROR = "SCHOOL_SERVICE_ERROR"
    CIRCUIT_BREAKER_OPEN = "CIRCUIT_BREAKER_OPEN"
    BULKHEAD_FULL = "BULKHEAD_FULL"
    GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT"
    GATEWAY_OVERLOADED = "GATEWAY_OVERLOADED"
    PARTIAL_OUTAGE = "PARTIAL_OUTAGE"


STATUS = MappingProxyType(
    {
        Code.INVALID_REQUEST: 400,
        Code.VALIDATION_ERROR: 400,
        Code.INVALID_ID: 400,
        Code.INVALID_SCHOOL_ID: 400,
        Code.INVALID_SCHOOL: 400,
        Code.MISSING_TOKEN: 401,
        Code.INVALID_TOKEN: 401,
        Code.INVALID_CREDENTIALS: 401,
        Code.FORBIDDEN: 403,
        Code.NOT_FOUND: 404,
        Code.SCHOOL_NOT_FOUND: 404,
        Code.STUDENT_NOT_FOUND: 404,
        Code.METHOD_NOT_ALLOWED: 405,
        Code.USER_EXISTS: 409,
        Code.REGISTRATION_NUMBER_EXISTS: 409,
        Code.ROLL_NUMBER_EXISTS: 409,
        Code.EMAIL_EXISTS: 409,
        Code.PAYLOAD_TOO_LARGE: 413,
        Code.RATE_LIMITED: 429,
        Code.REQUEST_TIMEOUT: 408,
        Code.INTERNAL_ERROR: 500,
        Code.SERVICE_UNAVAILABLE: 503,
        Code.DATABASE_ERROR: 503,
        Code.SCHOOL_SERVICE_ERROR: 503,
        Code.CIRCUIT_BREAKER_OPEN: 503,
        Code.BULKHEAD_FULL: 503,
        Code.GATEWAY_TIMEOUT: 504,
        Code.GATEWAY_OVERLOADED: 503,
        Code.PARTIAL_OUTAGE: 503,
    }
)
"""The usual status of each code. SERVICE_UNAVAILABLE is 502 if the gateway can't reach a service."""


def success(message: str, data: Any, **more: Any) -> dict[str, Any]:
    """Return the body of a successful response. more: keys beside `data`, such as `next`."""
    return {"message": message, "data": data, **more}


def failure(code: Code, message: str, **more: Any) -> dict[str, Any]:
    """Return the body of a failed response. more: further keys."""
    return {"error": code.value, "message": message, **more}
