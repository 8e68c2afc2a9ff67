"""The requests that a RequestReader reads, in a form that can be compared."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.serving.protocol.incoming_request import IncomingRequest
from runtime.serving.protocol.request_reader import RequestReader

HEAD_BYTES = 32 * 1024


@dataclass(frozen=True)
class Read:
    """A request as it was read. body: the part that arrived; whole: whether that is all."""

    method: str
    target: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    whole: bool


def read_in(pieces: list[bytes], head_bytes: int = HEAD_BYTES) -> tuple[list[Read], RequestReader]:
    """The requests in these pieces, and the reader behind them."""
    reader = RequestReader(head_bytes)
    for piece in pieces:
        reader.feed(piece)
    return [_as_read(request) for request in reader.requests], reader


def read_one(data: bytes) -> IncomingRequest:
    """The only request in `data`, or the error if it is refused."""
    reader = RequestReader(HEAD_BYTES)
    reader.feed(data)
    if reader.error is not None:
        raise reader.error
    [request] = reader.requests
    return request


def _as_read(request: IncomingRequest) -> Read:
    body = request.body
    return Read(
        request.method, request.target, request.version, tuple(request.fields), body.take(), body.ended
    )


HOST = b"Host: h\r\n"


GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def request(line=b"GET / HTTP/1.1", *fields):
    return line + b"\r\n" + HOST + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
