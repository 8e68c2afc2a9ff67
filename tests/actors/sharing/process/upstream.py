"""The dependency of the instances: it answers, refuses or hangs, and records which probes are in flight."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import trio


class Mode(Enum):
    """The upstream's treatment of a call."""

    ANSWERS = b"ok"
    REFUSES = b"no"
    HANGS = b""


class Probe(NamedTuple):
    """A probe by a lease. at: its arrival, monotonic."""

    instance: str
    lease: int
    at: float


class Upstream:
    """mode: the treatment of an instance's calls; `change` applies it also to calls that hang.

    probes: all that have come. overlaps: those that came while one of another lease was in flight.
    """

    def __init__(self) -> None:
        self.mode: Callable[[str], Mode] = lambda instance: Mode.ANSWERS
        self.port = 0
        self.probes: list[Probe] = []
        self.overlaps: list[tuple[Probe, Probe]] = []
        self._in_flight: dict[Probe, trio.SocketStream] = {}
        self._changed = trio.Event()

    @property
    def in_flight(self) -> list[Probe]:
        """The probes in flight, without those of instances that are known to be stopped."""
        return list(self._in_flight)

    def change(self, mode: Callable[[str], Mode]) -> None:
        """Change the mode, also for the calls that hang."""
        self.mode = mode
        self._changed.set()
        self._changed = trio.Event()

    def forget(self, instance: str) -> None:
        """Forget a stopped instance's probe: it outlasts its lease, which the instance can't notice."""
        for probe in [one for one in self._in_flight if one.instance == instance]:
            del self._in_flight[probe]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        await trio.serve_listeners(self._handle, listeners, task_status=task_status)

    async def _handle(self, stream: trio.SocketStream) -> None:
        probe = None
        try:
            line = await stream.receive_some(4096)
            if not line:
                return
            call = json.loads(line)
            if call["lease"]:
                probe = Probe(call["instance"], call["lease"], trio.current_time())
                self._note(probe, stream)
            answer = await self._answer(call["instance"], stream)
            if probe is not None:
                self._in_flight.pop(probe, None)
            await stream.send_all(answer)
        except (OSError, trio.BrokenResourceError):
            pass  # the caller has gone
        finally:
            if probe is not None:
                self._in_flight.pop(probe, None)
            await trio.aclose_forcefully(stream)

    def _note(self, probe: Probe, stream: trio.SocketStream) -> None:
        self.probes.append(probe)
        for other, its_stream in self._in_flight.items():
            if other.lease != probe.lease and not _has_gone(its_stream):
                self.overlaps.append((other, probe))
        self._in_flight[probe] = stream

    async def _answer(self, instance: str, stream: trio.SocketStream) -> bytes:
        """Raises BrokenResourceError if the caller goes while it hangs."""
        while self.mode(instance) is Mode.HANGS:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_wait_until_gone, stream, nursery.cancel_scope)
                await self._changed.wait()
                nursery.cancel_scope.cancel()
            if _has_gone(stream):
                raise trio.BrokenResourceError
        return self.mode(instance).value


async def _wait_until_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        await stream.receive_some(1)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


def _has_gone(stream: trio.SocketStream) -> bool:
    """Whether the caller has closed its end, even if its data isn't read yet."""
    try:
        with socket.fromfd(stream.socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as same:
            return same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
