"""One client's connection: Hypercorn's TCPServer with time limits, and a close that loses no response."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from socket import SHUT_WR
from typing import Any, cast

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from runtime.serving.client_socket import has_arrived, host_and_port, hung_up, reset_on_close
from runtime.serving.limits import Limits
from runtime.serving.protocol.http1 import Finished, Http1Protocol, LastData, Phase
from runtime.serving.protocol.http2 import Http2Protocol
from runtime.serving.protocol.request_reader import READ_SIZE
from runtime.serving.protocol.stream import RECHECK_SECONDS

LINGER_SECONDS = 2.0
"""Seconds for which a client that is still sending may read its response."""

ClientStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

log = structlog.get_logger("runtime")


class ClientConnection(TCPServer):
    """Serves one client. Call `run` once; cancelling it resets the connection.

    Raises OSError if the client has disconnected already. idle_since: on trio's clock, when the last response
    ended or the connection began.
    """

    protocol: Http1Protocol | Http2Protocol  # type: ignore[assignment]

    def __init__(
        self, app: AppWrapper, config: Config, context: WorkerContext, stream: ClientStream, limits: Limits
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), cast(Any, stream))
        self._limits = limits
        self._secured = isinstance(stream, trio.SSLStream)
        self._socket = _transport(stream).socket
        self._client = host_and_port(self._socket.getpeername())
        self._server = host_and_port(self._socket.getsockname())
        self._reading = trio.CancelScope()
        self._phase: Phase | None = None
        self._deadline = math.inf
        self._idle_until = math.inf
        self._stopping = False
        self._closing = False
        self._resets = False
        self._has_rechecked = False
        """Whether the deadline was extended for data that arrived before it."""
        self.idle_since = trio.current_time()

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self._client[0]

    @property
    def is_idle(self) -> bool:
        """Whether the connection waits for the first byte of a request."""
        return self._phase is Phase.IDLE

    async def run(self) -> None:
        """Serve until either side closes. An unexpected error is logged and ends this connection only."""
        try:
            if self._secured and not await self._shake_hands():
                self._resets = True
                return
            async with TaskGroup() as group:
                self.protocol = self._chosen_protocol()(
                    *(self.app, self.config, self.context, group, self._limits, self._secured),
                    *(self._client, self._server, self.protocol_send),
                )
                await self.protocol.initiate()
                await self._read_data()
        except Exception:
            log.exception("a connection failed")
        finally:
            await self._end()

    def _chosen_protocol(self) -> type[Http1Protocol | Http2Protocol]:
        # HTTP/2 needs ALPN: on clear text neither prior knowledge nor an upgrade is supported.
        offered = self.stream.selected_alpn_protocol() if self._secured else None
        return Http2Protocol if offered == "h2" else Http1Protocol

    async def _shake_hands(self) -> bool:
        with trio.move_on_after(self._limits.head_seconds):
            try:
                await self.stream.do_handshake()
            except trio.BrokenResourceError:
                return False
            return True
        return False

    def stop(self, idle_grace: float) -> None:
        """Close after the responses in flight.

        idle_grace: seconds for which an idle connection stays open: its next request may be on its way.
        """
        self._stopping = True
        self._idle_until = trio.current_time() + idle_grace
        if self._phase is not None and not self._closing:
            self.protocol.stop()
            if self.is_idle:
                self._deadline = self._reading.deadline = self._idle_until

    def close(self) -> None:
        """Stop reading, and close when the apps in flight have ended."""
        self._closing = True
        self._reading.cancel()

    async def _read_data(self) -> None:
        if self._stopping:
            self.protocol.stop()
        while not self._closing and await self._read_on():
            pass
        self._closing = True
        await self.protocol.handle(Closed())

    async def _read_on(self) -> bool:
        """Read until the phase changes or no more may be buffered. Return whether to read on."""
        protocol = self.protocol
        if not protocol.has_room:
            return await self._wait_for_room()
        data: bytes | bytearray = b""
        with trio.CancelScope() as self._reading:
            self._enter_phase()
            self._reading.deadline = self._deadline
            try:
                while not self._closing and protocol.has_room:
                    data = await self.stream.receive_some(READ_SIZE)
                    if isinstance(protocol, Http2Protocol) or not data:
                        break
                    protocol.feed(bytes(data))
                    self._enter_phase()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        if self._reading.cancelled_caught:
            return self._has_time()
        if data and isinstance(protocol, Http2Protocol):
            # It may send frames and wait for the client, outside the scope that a deadline cancels.
            await protocol.handle(RawData(bytes(data)))
        return bool(data)

    def _enter_phase(self) -> None:
        """Start the time limit of the current phase, if the phase has changed."""
        phase = self.protocol.phase
        if phase is self._phase:
            return
        self._phase = phase
        self._has_rechecked = False
        if phase is Phase.RESPONSE:
            self._deadline = math.inf
            return
        now = trio.current_time()
        if phase is Phase.IDLE:
            self.idle_since = now
            self._deadline = min(now + self._limits.idle_seconds, max(self._idle_until, now))
        elif phase is Phase.HEAD:
            self._deadline = now + self._limits.head_seconds
        else:
            self._deadline = now + LINGER_SECONDS
        # A later deadline takes effect when the earlier one is reached: moving it every time would be slow.
        if self._deadline < self._reading.deadline:
            self._reading.deadline = self._deadline

    def _has_time(self) -> bool:
        """Return whether to read on after a deadline."""
        if self._closing:
            return False
        if trio.current_time() < self._deadline:
            return True
        # After a stall of the event loop, trio reports a deadline before the data that arrived in time.
        if not self._has_rechecked and has_arrived(self._socket):
            self._has_rechecked = True
            self._deadline = trio.current_time() + RECHECK_SECONDS
            return True
        if self._phase is Phase.HEAD and isinstance(self.protocol, Http1Protocol):
            self.protocol.refuse_slow_head()
            return True
        self.protocol.stop()
        return False

    async def _wait_for_room(self) -> bool:
        """Wait until more may be buffered. Return False if the client disconnects meanwhile."""
        left = True

        async def look() -> None:
            await hung_up(self._socket)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await self.protocol.wait_for_room()
            left = False
            nursery.cancel_scope.cancel()
        return not left

    async def protocol_send(self, event: Event) -> None:
        """Carry out an event of the protocol: write, update the phase, finish or close."""
        if isinstance(event, RawData):
            data = self._write_at_once(event.data) if isinstance(event, LastData) else event.data
            if data:
                await self._write(data)
        elif isinstance(event, Updated):
            self._enter_phase()
        elif isinstance(event, Finished):
            await self._finish(event)
        elif isinstance(event, Closed):
            self.close()

    def _write_at_once(self, data: bytes) -> bytes:
        """Write without waiting and return the rest. This usually saves a turn of the event loop."""
        if self._secured or self.send_lock.locked():
            return data
        try:
            sent = os.write(self._socket.fileno(), data)
        except OSError:
            return data  # `_write` reports the error
        return data[sent:]

    async def _finish(self, event: Finished) -> None:
        if event.reset:
            self._reset_on_close()
        if event.linger:
            self._enter_phase()
            if not self._secured:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self.stream.send_eof()
        else:
            self.close()

    async def _write(self, data: bytes) -> None:
        """Send all data within `write_seconds`, else reset the connection."""
        deadline = trio.current_time() + self._limits.write_seconds
        try:
            # Shielded from the wait for the lock on: a frame in a sequence of frames can't be skipped.
            with trio.CancelScope(deadline=deadline, shield=self.protocol.shields_writes) as writing:
                await self._take_turn()
                try:
                    await self.stream.send_all(data)
                finally:
                    self.send_lock.release()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.protocol.handle(Closed())
        except trio.Cancelled:
            # The data may be partly sent, so nothing can follow it.
            self.abort()
            raise
        if writing.cancelled_caught:
            self.abort()
            await self.protocol.handle(Closed())

    async def _take_turn(self) -> None:
        try:
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()

    def abort(self) -> None:
        """Reset the connection. Reads and writes in progress raise errors."""
        self._reset_on_close()
        self._socket.close()
        self.close()

    def _reset_on_close(self) -> None:
        self._resets = True
        reset_on_close(self._socket)

    async def _end(self) -> None:
        if self._secured and not self._resets:
            with trio.move_on_after(LINGER_SECONDS):
                await self.stream.aclose()
        if not self._resets:
            with suppress(OSError):  # closed already, or the client has disconnected
                self._socket.shutdown(SHUT_WR)
        self._socket.close()


def _transport(stream: ClientStream) -> trio.SocketStream:
    return stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
