"""One request of an HTTP/2 connection. Its head is read by the rules of HTTP/1.1, as it is forwarded so."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import h2.events
from hypercorn.utils import filter_pseudo_headers

from runtime.header_fields import TOKEN, InvalidField, encode_fields
from runtime.serving.protocol.incoming_request import BadRequest, IncomingRequest, read_framing
from runtime.serving.protocol.stream import RequestStream

_METHOD = re.compile(TOKEN)
_PATH = re.compile(rb"/[\x21-\x7e]*|\*")
"""RFC 9113, 8.3.1. An absolute URL is refused: its host could differ from Host."""
_AUTHORITY = re.compile(rb"[\x21-\x7e]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Http2Stream(RequestStream):
    """A RequestStream that opens the client's window when the app has read a part of the body.

    acknowledge: opens the windows by a number of bytes, for a stream.
    """

    def __init__(self, acknowledge: Callable[[int, int], Awaitable[None]], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._acknowledge = acknowledge

    async def _body_taken(self, size: int) -> None:
        await self._acknowledge(size, self.stream_id)


def read_request(request: IncomingRequest, event: h2.events.RequestReceived) -> None:
    """Fill `request` from its head. Raises BadRequest if HTTP/1.1 couldn't carry the request."""
    pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
    method = pseudo.get(b":method", b"")
    target = pseudo.get(b":path", pseudo.get(b":authority", b""))
    request.version = "2"
    request.length = 0 if event.stream_ended is not None else None
    # h2 has joined the Cookie fields: HTTP/1.1 has one (RFC 9113, 8.2.3).
    request.fields = filter_pseudo_headers(event.headers)
    if not _METHOD.fullmatch(method) or not (_PATH if b":path" in pseudo else _AUTHORITY).fullmatch(target):
        raise BadRequest("the method or the target has bytes that neither may have")
    request.method = method.decode()
    request.target = target
    try:
        encode_fields(request.fields)
    except InvalidField as error:
        raise BadRequest(str(error)) from None
    lengths = [value for name, value in request.fields if name == b"content-length"]
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise BadRequest("Content-Length isn't one number")
    read_framing(request)
