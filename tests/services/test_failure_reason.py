"""Reasons of failures: useful to operators, without data of clients."""

from __future__ import annotations

import errno
import os
import ssl

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from pymongo.errors import (
    AutoReconnect,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from services.failure_reason import failure_reason

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class _Private(AutoReconnect):
    pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, "ConnectionRefusedError: Connection refused (errno 111)"),
        (because(AutoReconnect("it:1: x"), REFUSED), "AutoReconnect: Connection refused (errno 111)"),
        (
            because(ServerSelectionTimeoutError("x"), because(_Private("it:1"), REFUSED)),
            "ServerSelectionTimeoutError: Connection refused (errno 111)",
        ),
        (
            because(AutoReconnect("x"), ExceptionGroup("all", [REFUSED, AutoReconnect("it:2")])),
            "AutoReconnect: ConnectionRefusedError: Connection refused (errno 111); AutoReconnect: it:2",
        ),
        (
            AutoReconnect("it:1: connection closed (configured timeouts: timeoutMS: 5000.0ms)"),
            "AutoReconnect: it:1: connection closed",
        ),
        (
            ServerSelectionTimeoutError("No primary, Timeout: 0.9s, Topology Description: <…>"),
            "ServerSelectionTimeoutError: No primary",
        ),
        (
            NotPrimaryError("no", {"code": 189, "codeName": "PrimarySteppedDown"}),
            "NotPrimaryError: PrimarySteppedDown (189)",
        ),
        (OperationFailure("ada@example.org", 1), "OperationFailure: code 1"),
        (OperationFailure("ada@example.org"), "OperationFailure"),
        (OSError("all attempts failed"), "OSError: all attempts failed"),
        (because(OSError("all attempts failed"), REFUSED), "OSError: Connection refused (errno 111)"),
        (GRPCError(Status.UNIMPLEMENTED, "ada@example.org"), "GRPCError: UNIMPLEMENTED"),
        (StreamTerminatedError("Connection lost"), "StreamTerminatedError: Connection lost"),
        (ssl.SSLError(1, "[SSL: X] wrong version number (_ssl.c:9)"), "SSLError: wrong version number"),
        (TimeoutError(), "TimeoutError"),
        (KeyError("ada@example.org"), "KeyError"),
        (AutoReconnect("x" * 1000), "AutoReconnect: " + "x" * 185),
    ],
)
def test_a_reason_names_the_cause_and_quotes_nothing(error: Exception, words: str) -> None:
    assert failure_reason(error) == words
