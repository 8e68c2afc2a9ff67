"""Responses of the server itself: to requests that reach no app, or that an app leaves unanswered."""

from __future__ import annotations

import json

from protocols.http import REQUEST_ID, RETRY_AFTER, Code, failure
from runtime.header_fields import SECURITY_FIELDS, Fields, encoded, http_date

_CODES = {408: Code.REQUEST_TIMEOUT, 500: Code.INTERNAL_ERROR, 503: Code.SERVICE_UNAVAILABLE}


def error_response(
    status: int, message: str, request_id: str, retry_after: int | None = None
) -> tuple[Fields, bytes]:
    """Return header fields and body of a JSON error. retry_after: seconds."""
    body = json.dumps(failure(_CODES.get(status, Code.INVALID_REQUEST), message)).encode()
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"date", http_date()),
        (REQUEST_ID.lower().encode(), request_id.encode()),
        *encoded(SECURITY_FIELDS),
    ]
    if retry_after is not None:
        fields.append((RETRY_AFTER.lower().encode(), b"%d" % retry_after))
    return fields, body
