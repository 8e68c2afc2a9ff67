"""What an exception of a dependency means, and its reason in words that quote nobody's data. Pure.

One verdict decides both what the breaker counts and what the client is told, so that the two can't differ.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from pymongo.errors import ConnectionFailure, PyMongoError, WaitQueueTimeoutError

from actors.adapters import grpc, mongo
from actors.adapters.shortage import causes, is_shortage
from actors.call.classifier import kind_of
from runtime.observability.reasons import reason_of

LONGEST_REASON = 200

# What pymongo adds to a message about a connection: settings, and all it knows of the servers.
_ADDED = re.compile(r" \(configured timeouts:|, Timeout: ")
_OWN_WORDS = (ConnectionFailure, ProtocolError, StreamTerminatedError)
"""Errors of a connection: their messages are the driver's, and hold addresses at most."""


class Verdict(Enum):
    """What an exception means to the breaker, and what whoever asked is told."""

    ANSWER = auto()
    """The dependency is well, and refuses this request: a success. The exception comes out as it is."""
    FAILURE = auto()
    """A failure. The client is answered 503, which names the breaker: it has counted."""
    FULL = auto()
    """The pool of connections to the dependency is full: as if the breaker's bulkhead were. Not counted."""
    SHORTAGE = auto()
    """This process lacks files, memory or ports. Not counted; the client is answered 503, with no origin."""
    OWN = auto()
    """Nothing of the dependency: a bug of ours, or the driver's refusal to send. Not counted."""


def judge_mongo(error: BaseException) -> Verdict:
    """The verdict on what an operation on MongoDB raised."""
    if mongo.is_answer(error):
        return Verdict.ANSWER
    if isinstance(error, WaitQueueTimeoutError):
        return Verdict.FULL
    if mongo.is_own_shortage(error):
        return Verdict.SHORTAGE
    return Verdict.FAILURE if mongo.is_failure(error) else Verdict.OWN


def judge_grpc(error: BaseException) -> Verdict:
    """The verdict on what a gRPC call raised."""
    if grpc.is_answer(error):
        return Verdict.ANSWER
    if grpc.is_failure(error):
        return Verdict.FAILURE
    return Verdict.SHORTAGE if is_shortage(error) else Verdict.OWN


def reason(error: BaseException) -> str:
    """The kind of an exception, and why: error numbers, codes and their names, the words of a connection.

    The message of any other exception isn't used: a driver's may quote a document.
    """
    kind = kind_of(error)
    words = next((said for link in causes(error) if (said := _words(link))), "")
    return f"{kind}: {words}"[:LONGEST_REASON] if words else kind


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(reason(one) for one in error.exceptions))
    if isinstance(error, GRPCError):
        return error.status.name
    if isinstance(error, PyMongoError) and (code := _server_code(error)):
        return code
    if isinstance(error, ssl.SSLError):
        return reason_of(error)
    if isinstance(error, OSError):
        if error.errno is not None:
            return f"{os.strerror(error.errno)} (errno {error.errno})"
        return str(error) if error.__cause__ is None else ""
    # Where another error is behind it, that one says more.
    if isinstance(error, _OWN_WORDS) and error.__cause__ is None:
        return _ADDED.split(str(error), maxsplit=1)[0]
    return ""


def _server_code(error: PyMongoError) -> str:
    details: Any = getattr(error, "details", None)
    told: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
    code = getattr(error, "code", None) or told.get("code")
    if code is None:
        return ""
    return f"{told['codeName']} ({code})" if "codeName" in told else f"code {code}"
