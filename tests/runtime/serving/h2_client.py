"""An HTTP/2 client that sends no frame by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import trio
from hyperframe.frame import Frame

from tests.runtime.serving.running_app import RunningApp


class StreamResponse:
    """The response on a stream so far. reset: the error code that it was reset with."""

    def __init__(self) -> None:
        self.informational: list[tuple[int, list[tuple[bytes, bytes]]]] = []
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.trailers: list[tuple[bytes, bytes]] = []
        self.ended = False
        self.reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class H2Client:
    """opens_windows: acknowledge data as it comes. goaway: of the server. closed: the server has closed."""

    def __init__(self, stream: Any, *, opens_windows: bool = True) -> None:
        self.stream = stream
        self.opens_windows = opens_windows
        self.answers: dict[int, StreamResponse] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self.pongs = 0
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()

    async def flush(self) -> None:
        if data := self.connection.data_to_send():
            await self.stream.send_all(data)

    async def frames(self, *frames: Frame) -> None:
        """Send these frames, even if they are invalid in this state of the connection."""
        await self.flush()
        await self.stream.send_all(b"".join(frame.serialize() for frame in frames))

    def open(
        self,
        path: bytes = b"/",
        method: bytes = b"GET",
        fields: Sequence[tuple[bytes, bytes]] = (),
        *,
        end: bool = True,
    ) -> int:
        """Begin a request, to be sent by the next `flush`."""
        stream_id = self.connection.get_next_available_stream_id()
        head = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"h"),
            (b":path", path),
            *fields,
        ]
        self.connection.send_headers(stream_id, head, end_stream=end)
        self.answers[stream_id] = StreamResponse()
        return stream_id

    async def ask(self, *args: Any, body: bytes | None = None, **options: Any) -> StreamResponse:
        """The whole answer to one request. body: no longer than a window."""
        stream_id = self.open(*args, end=body is None, **options)
        if body is not None:
            self.send_data(stream_id, body, end=True)
        await self.flush()
        return await self.answer(stream_id)

    def send_data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        size = self.connection.max_outbound_frame_size
        for at in range(0, len(data), size):
            self.connection.send_data(stream_id, data[at : at + size])
        if end:
            self.connection.end_stream(stream_id)

    async def upload(self, stream_id: int, size: int, within: float = 5.0) -> None:
        """Send so many bytes as the windows allow, then the end."""
        with trio.fail_after(within):
            while size:
                room = min(
                    size,
                    self.connection.local_flow_control_window(stream_id),
                    self.connection.max_outbound_frame_size,
                )
                if room:
                    self.connection.send_data(stream_id, bytes(room))
                    size -= room
                    await self.flush()
                else:
                    await self.read()
            self.connection.end_stream(stream_id)
            await self.flush()

    async def answer(self, stream_id: int, within: float = 3.0) -> StreamResponse:
        """The whole answer to a request that was sent."""
        answer = self.answers[stream_id]
        await self.until(lambda: answer.over, within)
        return answer

    async def until(self, reached: Callable[[], Any], within: float = 3.0) -> None:
        """Read until the condition holds. Raises EOFError if the server closes before."""
        with trio.fail_after(within):
            while not reached():
                await self.read()

    async def read(self) -> None:
        """Read and handle the next data."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.closed = True
            raise EOFError
        for event in self.connection.receive_data(bytes(data)):
            self._take(event)
        await self.flush()

    async def end(self, within: float = 3.0) -> None:
        """Read until the server closes."""
        with trio.fail_after(within):
            try:
                while True:
                    await self.read()
            except EOFError:
                pass

    def _take(self, event: h2.events.Event) -> None:  # noqa: C901 - one branch a kind
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
            # Streams in flight go on, which h2 doesn't see.
            self.connection.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            return
        if isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            answer.informational.append((int(fields[0][1]), fields[1:]))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            answer.status = int(answer.fields.pop(0)[1])
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.opens_windows:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)


@asynccontextmanager
async def h2_client(server: RunningApp, *, opens_windows: bool = True) -> AsyncIterator[H2Client]:
    """A client of a server that speaks TLS."""
    peer = await server.connect("h2")
    client = H2Client(peer.stream, opens_windows=opens_windows)
    await client.flush()
    try:
        yield client
    finally:
        await trio.aclose_forcefully(peer.stream)
