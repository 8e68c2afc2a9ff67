"""The reason of a dependency's failure, for logs and breakers. Pure; quotes no data of any client."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import Any

from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from pymongo.errors import ConnectionFailure, PyMongoError

from actors.adapters.shortage import causes
from actors.call.classifier import kind_of
from runtime.observability.reasons import reason_of

MAX_REASON_LENGTH = 200

# pymongo appends its settings and the topology to the message of a connection error.
_PYMONGO_SUFFIX = re.compile(r" \(configured timeouts:|, Timeout: ")
_CONNECTION_ERRORS = (ConnectionFailure, ProtocolError, StreamTerminatedError)
"""Errors with messages by the driver alone; these contain addresses at most."""


def failure_reason(error: BaseException) -> str:
    """The class of `error` and its cause: an error number, a code with its name, or a connection's message.

    At most MAX_REASON_LENGTH characters. Any other message is left out, because a driver's message may quote
    a document.
    """
    kind = kind_of(error)
    details = next((text for link in causes(error) if (text := _details(link))), "")
    return f"{kind}: {details}"[:MAX_REASON_LENGTH] if details else kind


def _details(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(failure_reason(leaf) for leaf in error.exceptions))
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
    # An error with a cause is described by the cause.
    if isinstance(error, _CONNECTION_ERRORS) and error.__cause__ is None:
        return _PYMONGO_SUFFIX.split(str(error), maxsplit=1)[0]
    return ""


def _server_code(error: PyMongoError) -> str:
    details: Any = getattr(error, "details", None)
    fields: Mapping[str, Any] = details if isinstance(details, Mapping) else {}
    code = getattr(error, "code", None) or fields.get("code")
    if code is None:
        return ""
    return f"{fields['codeName']} ({code})" if "codeName" in fields else f"code {code}"
