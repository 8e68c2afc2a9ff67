"""What the gateway itself answers, and the way every answer takes to the client."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import trio

from actors import BulkheadFullError, CircuitOpenError
from gateway.client import Client, Message
from gateway.fields import Fields
from protocols.http import REQUEST_ID, RETRY_AFTER, STATUS, Code, failure

Send = Callable[[Message], Awaitable[None]]

LINGER_SECONDS = 2.0


class Refused(Exception):
    """The gateway answers by itself, with the envelope of a failure.

    retry_after: seconds; sent as whole ones, rounded up, at least 1.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code.value}: {message}")
        self.status = STATUS[code] if status is None else status
        self.body = json.dumps(failure(code, message)).encode()
        self.code = code
        self._fields = dict(fields or {})
        if retry_after is not None:
            self._fields[RETRY_AFTER] = str(whole_seconds(retry_after))

    def fields(self) -> Fields:
        """The header fields of the answer, without those that every answer has."""
        fixed = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        return fixed + [(name.lower().encode(), value.encode()) for name, value in self._fields.items()]


def whole_seconds(seconds: float) -> int:
    """As Retry-After has it: rounded up, and at least 1."""
    return max(1, math.ceil(seconds))


def http_date() -> bytes:
    """The present time as a Date field has it."""
    return formatdate(time.time(), usegmt=True).encode()


def rejected(error: CircuitOpenError | BulkheadFullError) -> Refused:
    """The answer to a call that the breaker or its bulkhead did not admit."""
    wait = 1.0 if error.retry_after is None else error.retry_after
    if isinstance(error, BulkheadFullError):
        return Refused(Code.BULKHEAD_FULL, "Too many requests to this service at once", retry_after=wait)
    message = "Service is temporarily unavailable due to circuit breaker"
    return Refused(Code.CIRCUIT_BREAKER_OPEN, message, retry_after=wait)


def unreachable() -> Refused:
    """The upstream can't be reached, broke off or answered garbage."""
    return Refused(Code.SERVICE_UNAVAILABLE, "Target service is unavailable", status=502)


def too_slow() -> Refused:
    """The upstream did not answer in time."""
    return Refused(Code.GATEWAY_TIMEOUT, "Target service did not answer in time")


def too_large(limit: int) -> Refused:
    """The body is over the limit."""
    return Refused(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {limit} bytes")


class Answer:
    """The one answer to a request. status: None until its head was sent; ended: all of it was.

    refused: what the gateway said in the place of a service.
    """

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self.request_id = request_id
        self.status: int | None = None
        self.ended = False
        self.refused: Refused | None = None

    async def head(self, status: int, fields: Fields) -> None:
        """Send the head, which needs no more than to begin: after a cancellation, don't answer again."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client is slow."""
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, last: bytes, client: Client) -> None:
        """Send the last piece. Where the client is still sending, it has a while to see the answer.

        The server closes a connection whose request wasn't read, which would reset it under the answer.
        """
        if not client.done.is_set():
            client.discard()
            await self.piece(last)
            last = b""
            with trio.move_on_after(LINGER_SECONDS):
                await client.done.wait()
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
        self.ended = True

    async def refuse(self, refused: Refused, client: Client) -> None:
        """Answer with an envelope."""
        self.refused = refused
        fields = refused.fields()
        fields += [(REQUEST_ID.lower().encode(), self.request_id), (b"date", http_date())]
        await self.head(refused.status, fields)
        await self.end(refused.body, client)
