"""Limits on gRPC messages, for servers and clients alike."""

from __future__ import annotations

from typing import Any

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol, Stream

MAX_MESSAGE_BYTES = 64 * 1024
WINDOWS = Configuration(
    http2_stream_window_size=MAX_MESSAGE_BYTES * 2, http2_connection_window_size=MAX_MESSAGE_BYTES * 16
)
"""What a peer may send before it is read: a message and a half of each call, and 1 MiB in total."""


class MessageTooLarge(GRPCError):
    """The peer announces a message of more than MAX_MESSAGE_BYTES."""

    def __init__(self) -> None:
        super().__init__(Status.RESOURCE_EXHAUSTED, f"a message has at most {MAX_MESSAGE_BYTES} bytes")


def limit_messages(protocol: H2Protocol) -> H2Protocol:
    """Refuse larger messages on the connection of `protocol`, before they are read."""
    connection_made = protocol.connection_made

    def limited_connection_made(transport: Any) -> None:
        connection_made(transport)
        create_stream = protocol.connection.create_stream

        def create_limited_stream(**arguments: Any) -> Stream:
            return _limited(create_stream(**arguments))

        protocol.connection.create_stream = create_limited_stream  # type: ignore[method-assign]

    protocol.connection_made = limited_connection_made  # type: ignore[method-assign]
    return protocol


def _limited(stream: Stream) -> Stream:
    receive = stream.recv_data

    async def recv_data(size: int) -> bytes:
        # grpclib asks for the five bytes of the prefix, then for as many as these announce.
        if size > MAX_MESSAGE_BYTES:
            raise MessageTooLarge
        return await receive(size)

    stream.recv_data = recv_data  # type: ignore[method-assign]
    return stream
