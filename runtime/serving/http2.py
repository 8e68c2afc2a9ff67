"""HTTP/2 on Hypercorn's protocol, with the limits that a server for strangers needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext
from hypercorn.utils import filter_pseudo_headers
from hyperframe.frame import GoAwayFrame

from runtime.http_fields import TOKEN, Fields, InvalidField, encode_fields
from runtime.serving.http1 import Phase
from runtime.serving.limits import Limits
from runtime.serving.request_reader import BadRequest, IncomingRequest, take_fields
from runtime.serving.stream import LastBody, RequestStream

FREE_FRAMES = 100
"""How many frames that cost the client nothing (resets, pings, settings) it may send at once."""
FREE_FRAMES_PER_SECOND = 10.0

_METHOD = re.compile(TOKEN)
_TARGET = re.compile(rb"[\x21-\x7e]+")


class Http2Stream(RequestStream):
    """One request of an HTTP/2 connection."""

    def __init__(self, acknowledge: Callable[[int, int], Awaitable[None]], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._acknowledge = acknowledge

    async def _took(self, size: int) -> None:
        await self._acknowledge(size, self.stream_id)


class Http2Protocol(H2Protocol):
    """Serves the requests of one HTTP/2 connection, side by side.

    Hypercorn's protocol has no limit on resets, ends a connection's requests when it drains, and lets one app
    that doesn't read hold up all others.
    """

    shields_writes = True
    """A frame that is cut off would break the other streams."""
    has_room = True
    """The windows limit what a client may send, so that the connection is always read."""

    streams: dict[int, RequestStream]  # type: ignore[assignment]

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        limits: Limits,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        super().__init__(app, config, context, task_group, ConnectionState({}), ssl, client, server, send)
        self._limits = limits
        codes = h2.settings.SettingCodes
        values = {codes.MAX_CONCURRENT_STREAMS: limits.streams, codes.MAX_HEADER_LIST_SIZE: limits.head_bytes}
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self.connection.decoder.max_header_list_size = limits.head_bytes
        self._last_stream: int | None = None
        """Since the connection drains: the last stream that is served."""
        self._free_frames = float(FREE_FRAMES)
        self._counted_at = trio.current_time()

    @property
    def phase(self) -> Phase:
        """What is read next."""
        return Phase.EXCHANGE if self.streams or self.stream_buffers else Phase.IDLE

    async def room(self) -> None:
        """Return at once."""

    def stop(self) -> None:
        """Serve the streams that have begun, and no others. The client learns which (GOAWAY)."""
        if self._last_stream is None and not self.closed:
            self._last_stream = self.connection.highest_inbound_stream_id
            self.task_group.spawn(self._go_away, self._last_stream)

    async def _go_away(self, last_stream: int) -> None:
        await self._flush()
        # By itself h2 would take the connection for closed.
        await self.send(RawData(GoAwayFrame(0, last_stream_id=last_stream).serialize()))

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                await self._request(event)
            elif isinstance(event, h2.events.DataReceived):
                await self._data(event)
            elif isinstance(event, h2.events.StreamEnded):
                if stream := self.streams.get(event.stream_id):
                    stream.request.body.end()
            elif isinstance(event, h2.events.PriorityUpdated):
                pass  # RFC 9113, 5.3.2: no longer of use
            elif isinstance(event, h2.events.StreamReset):
                self._spend_free_frame()
                await self._drop(event.stream_id)
            else:
                if isinstance(event, h2.events.PingReceived | h2.events.RemoteSettingsChanged):
                    self._spend_free_frame()
                await super()._handle_events([event])
            if self._free_frames < 0:
                self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
        await self._flush()

    def _spend_free_frame(self) -> None:
        now = trio.current_time()
        earned = (now - self._counted_at) * FREE_FRAMES_PER_SECOND
        self._free_frames = min(FREE_FRAMES, self._free_frames + earned) - 1
        self._counted_at = now

    async def _request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if self._last_stream is not None and stream_id > self._last_stream:
            self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        request = IncomingRequest()
        refusal = None
        try:
            _read(request, event)
        except BadRequest as error:
            refusal = error
        stream = Http2Stream(
            *(self.acknowledge, request, self._limits),
            *(self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server),
            *(self.stream_send, stream_id),
        )
        self.streams[stream_id] = stream
        self.stream_buffers[stream_id] = StreamBuffer(self.context.event_class)
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        await self.send(Updated(idle=False))
        if refusal is None:
            stream.start()
        else:
            self.task_group.spawn(stream.refuse, refusal)

    async def _data(self, event: h2.events.DataReceived) -> None:
        stream, size = self.streams.get(event.stream_id), event.flow_controlled_length
        if stream is not None and event.data:
            stream.request.body.push(event.data)
            size -= len(event.data)
        elif not event.data:
            self._spend_free_frame()
        if size:
            # Padding, or a body that nobody takes any more.
            await self.acknowledge(size, event.stream_id)

    async def acknowledge(self, size: int, stream_id: int) -> None:
        """Let the client send as many bytes more."""
        try:
            self.connection.acknowledge_received_data(size, stream_id)
        except (h2.exceptions.ProtocolError, ValueError):
            return  # the stream or the connection has ended
        await self._flush()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of a response. A client that doesn't take it in time loses its stream."""
        if isinstance(event, StreamClosed):
            await self._stream_ended(event.stream_id)
            return
        with trio.move_on_after(self._limits.write_seconds) as waiting:
            if isinstance(event, Body):
                if event.data:
                    await super().stream_send(event)
                if isinstance(event, LastBody):
                    await super().stream_send(EndBody(event.stream_id))
            else:
                await super().stream_send(event)
        if waiting.cancelled_caught:
            await self._reset(event.stream_id, h2.errors.ErrorCodes.CANCEL)

    async def _stream_ended(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if not stream.is_complete:
            await self._reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            return
        await self._close_stream(stream_id)
        if stream_id not in self.stream_buffers:
            await self._end_of_stream(stream_id)

    async def _send_data(self, stream_id: int) -> None:
        buffer = self.stream_buffers[stream_id]
        try:
            window = self.connection.local_flow_control_window(stream_id)
            data = await buffer.pop(max(0, min(window, self.connection.max_outbound_frame_size)))
            if data or buffer.complete:
                self.connection.send_data(stream_id, data, end_stream=buffer.complete)
            else:
                self.priority.block(stream_id)
        except h2.exceptions.ProtocolError:
            await self._drop(stream_id)
        else:
            await self._flush()
            if buffer.complete:
                self._forget_buffer(stream_id)
                if stream_id not in self.streams:
                    await self._end_of_stream(stream_id)

    async def _end_of_stream(self, stream_id: int) -> None:
        """All of a response was sent."""
        try:
            # What the client still sends of its request is of no use (RFC 9113, 8.1).
            self.connection.reset_stream(stream_id)
        except h2.exceptions.ProtocolError:
            pass  # it had sent all
        await self._flush()
        if self.phase is Phase.IDLE:
            await self.send(Updated(idle=True))

    async def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        try:
            self.connection.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            pass  # it has ended already
        await self._drop(stream_id)
        await self._flush()

    async def _drop(self, stream_id: int) -> None:
        """Forget a stream that can't be answered any more; its app learns that the client has left."""
        await self._close_stream(stream_id)
        if buffer := self.stream_buffers.get(stream_id):
            await buffer.close()
            self._forget_buffer(stream_id)
        if self.phase is Phase.IDLE:
            await self.send(Updated(idle=True))

    def _forget_buffer(self, stream_id: int) -> None:
        del self.stream_buffers[stream_id]
        self.priority.remove_stream(stream_id)


def _read(request: IncomingRequest, event: h2.events.RequestReceived) -> None:
    """Fill `request`. Raises BadRequest."""
    pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
    method = pseudo.get(b":method", b"")
    target = pseudo.get(b":path", pseudo.get(b":authority", b""))
    request.version = "2"
    request.length = 0 if event.stream_ended is not None else None
    request.fields = _joined_cookies(filter_pseudo_headers(event.headers))
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
        raise BadRequest("the method or the target has bytes that neither may have")
    request.method = method.decode()
    request.target = target
    try:
        encode_fields(request.fields)
    except InvalidField as error:
        raise BadRequest(str(error)) from None
    take_fields(request)


def _joined_cookies(fields: Fields) -> Fields:
    """HTTP/1.1 knows one Cookie field (RFC 9113, 8.2.3)."""
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) < 2:
        return fields
    return [field for field in fields if field[0] != b"cookie"] + [(b"cookie", b"; ".join(cookies))]
