"""HTTP/2: Hypercorn's protocol with limits for clients that can't be trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import (
    Body,
    EndBody,
    InformationalResponse,
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext
from hyperframe.frame import GoAwayFrame

from runtime.header_fields import encode_fields
from runtime.serving.limits import Limits
from runtime.serving.protocol.frame_budget import FrameBudget
from runtime.serving.protocol.http1 import Phase
from runtime.serving.protocol.http2_request import Http2Stream, read_request
from runtime.serving.protocol.incoming_request import BadRequest, IncomingRequest
from runtime.serving.protocol.stream import LastBody, RequestStream
from runtime.serving.protocol.stream_buffer import SendBuffer

CONNECTION_WINDOW = 1024 * 1024
"""Bytes of unread request bodies on one connection. A stream's window is 64 KiB: only sixteen apps that don't
read can block the other streams."""
STREAM_WINDOW = 65_535


class Http2Protocol(H2Protocol):
    """Serves the requests of one HTTP/2 connection concurrently.

    Hypercorn's protocol doesn't limit resets, aborts the requests in flight when it drains, and lets one app
    that doesn't read its body block all other streams.
    """

    shields_writes = True
    """A partly sent frame would break the other streams."""
    has_room = True
    """Always: HTTP/2's windows limit the data in flight, so the connection is always read."""

    streams: dict[int, RequestStream]  # type: ignore[assignment]
    stream_buffers: dict[int, SendBuffer]  # type: ignore[assignment]

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
        # `encode_fields` checks the same in less time.
        self.connection.config.validate_outbound_headers = False
        self._last_stream: int | None = None
        """The last stream that is served while the connection drains; None: it doesn't drain."""
        self._free_frames = FrameBudget()

    @property
    def phase(self) -> Phase:
        """RESPONSE while any stream is open, else IDLE."""
        return Phase.RESPONSE if self.streams or self.stream_buffers else Phase.IDLE

    async def wait_for_room(self) -> None:
        """Return at once: `has_room` is always true."""

    async def initiate(self, headers: Any = None, settings: Any = None) -> None:
        """Send the settings. headers, settings: unused; they belong to upgrades, which aren't supported."""
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - STREAM_WINDOW)
        await self._flush()
        self.task_group.spawn(self.send_task)

    def stop(self) -> None:
        """Serve the streams that have begun, and no others. GOAWAY has the number of the last one."""
        if self._last_stream is None and not self.closed:
            self._last_stream = self.connection.highest_inbound_stream_id
            self.task_group.spawn(self._go_away, self._last_stream)

    async def _go_away(self, last_stream: int) -> None:
        await self._flush()
        # h2's own GOAWAY would mark the connection as closed.
        await self.send(RawData(GoAwayFrame(0, last_stream_id=last_stream).serialize()))

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                await self._request(event)
            elif isinstance(event, h2.events.DataReceived):
                await self._data(event)
            elif isinstance(event, h2.events.StreamEnded):
                self._end_of_request(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self._free_frames.spend()
                await self._drop(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated) and not event.error_code:
                await self._client_goes_away()
            elif not isinstance(event, h2.events.PriorityUpdated):  # obsolete (RFC 9113, 5.3.2)
                if isinstance(event, h2.events.PingReceived | h2.events.RemoteSettingsChanged):
                    self._free_frames.spend()
                await super()._handle_events([event])
            if self._free_frames.is_overspent:
                self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
        await self._flush()

    async def _client_goes_away(self) -> None:
        """Serve the streams that have begun. h2 has marked the connection as closed: undo that."""
        if self.phase is Phase.IDLE:
            await self.send(Closed())
        else:
            self.connection.state_machine.state = h2.connection.ConnectionState.SERVER_OPEN
            self.stop()

    async def _request(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id
        if self._last_stream is not None and stream_id > self._last_stream:
            self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        request = IncomingRequest()
        refusal = None
        try:
            read_request(request, event)
        except BadRequest as error:
            refusal = error
        stream = Http2Stream(
            *(self.acknowledge, request, self._limits),
            *(self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server),
            *(self.stream_send, stream_id),
        )
        self.streams[stream_id] = stream
        self.stream_buffers[stream_id] = SendBuffer()
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        await self.send(Updated(idle=False))
        if refusal is None:
            stream.start()
        else:
            self.task_group.spawn(stream.refuse, refusal)

    def _end_of_request(self, stream_id: int) -> None:
        if stream := self.streams.get(stream_id):
            stream.request.body.end()

    async def _data(self, event: h2.events.DataReceived) -> None:
        stream, size = self.streams.get(event.stream_id), event.flow_controlled_length
        if stream is not None and event.data:
            stream.request.body.push(event.data)
            size -= len(event.data)
        elif not event.data:
            self._free_frames.spend()
        if size:
            # Padding, or a body whose stream has ended.
            await self.acknowledge(size, event.stream_id)

    async def acknowledge(self, size: int, stream_id: int) -> None:
        """Open the windows by `size` bytes, for the client to send more."""
        if self.closed:
            return
        try:
            self.connection.acknowledge_received_data(size, stream_id)
        except (h2.exceptions.ProtocolError, ValueError):
            return  # the stream or the connection has ended
        await self._flush()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send a part of a response. If the client doesn't read for `write_seconds`, reset the stream."""
        if isinstance(event, StreamClosed):
            await self._stream_ended(event.stream_id)
            return
        with trio.move_on_after(self._limits.write_seconds) as waiting:
            if isinstance(event, Body):
                if event.data:
                    await super().stream_send(event)
                if isinstance(event, LastBody):
                    await super().stream_send(EndBody(event.stream_id))
            elif isinstance(event, InformationalResponse | Response):
                await self._send_head(event)
            elif isinstance(event, Trailers):
                encode_fields(event.headers)
                await super().stream_send(event)
                self._forget_buffer(event.stream_id)
        if waiting.cancelled_caught:
            await self._reset(event.stream_id, h2.errors.ErrorCodes.CANCEL)

    async def _send_head(self, event: InformationalResponse | Response) -> None:
        encode_fields(event.headers)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        is_all = stream.bodiless and isinstance(event, Response)
        try:
            head = [(b":status", b"%d" % event.status_code), *event.headers]
            self.connection.send_headers(event.stream_id, head, end_stream=is_all)
        except h2.exceptions.ProtocolError:
            return  # the stream or the connection has ended
        if is_all:
            self._forget_buffer(event.stream_id)
        await self._flush()

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
            data = buffer.pop(max(0, min(window, self.connection.max_outbound_frame_size)))
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
        """End a stream whose whole response was sent."""
        try:
            # The rest of the request's body isn't needed (RFC 9113, 8.1).
            self.connection.reset_stream(stream_id)
        except h2.exceptions.ProtocolError:
            pass  # the client had sent the whole request
        await self._flush()
        await self._check_idle()

    async def _check_idle(self) -> None:
        if self.phase is Phase.IDLE:
            # A connection that drains gets no other stream.
            await self.send(Updated(idle=True) if self._last_stream is None else Closed())

    async def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        try:
            self.connection.reset_stream(stream_id, code)
        except h2.exceptions.ProtocolError:
            pass  # it has ended already
        await self._drop(stream_id)
        await self._flush()

    async def _drop(self, stream_id: int) -> None:
        """Close a stream without a complete response; its app sees a disconnect."""
        await self._close_stream(stream_id)
        if buffer := self.stream_buffers.get(stream_id):
            await buffer.close()
            self._forget_buffer(stream_id)
        await self._check_idle()

    async def _close_stream(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        await super()._close_stream(stream_id)
        if stream is not None and (unread := stream.request.body.size):
            # Bytes that the app didn't read would otherwise stay charged to the connection's window.
            stream.request.body.discard()
            await self.acknowledge(unread, stream_id)

    def _forget_buffer(self, stream_id: int) -> None:
        # A stream may be dropped while its last frame is being sent.
        if self.stream_buffers.pop(stream_id, None) is not None:
            self.priority.remove_stream(stream_id)
