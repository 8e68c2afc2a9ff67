"""Resolves a host's addresses, and connects to the first that accepts."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import trio

from actors.adapters.shortage import is_shortage

LOOKUPS_AT_ONCE = 4
"""The most threads that look up one host. A look-up that hangs occupies its thread."""
FRESH_SECONDS = 1.0
"""Seconds for which addresses are reused: many connections may be opened at once."""
STAGGER_SECONDS = 0.25
"""Seconds after which the next address is tried concurrently (RFC 8305, 5)."""


class Address(NamedTuple):
    """A socket's family, and the address that it connects to."""

    family: int
    sockaddr: Any


class Resolver:
    """Resolves one host in its own threads, so that a look-up that hangs delays no other host.

    The result of a look-up is shared by all waiting callers, and reused for FRESH_SECONDS.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._callers = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
        # A cancelled caller frees its slot above; its thread occupies one here until the look-up returns.
        self._threads = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
        self._found: list[Address] = []
        self._fresh_until = float("-inf")
        # A numeric address needs no look-up, hence no thread.
        with suppress(OSError, UnicodeError):
            self._found = _look_up(host, port, socket.AI_NUMERICHOST)
            self._fresh_until = float("inf")

    async def resolve(self) -> list[Address]:
        """All addresses, best first; the second is of the other family. Raises OSError or UnicodeError.

        Cancelling returns at once; the look-up's thread ends when the system's resolver does.
        """
        if self._is_fresh():
            return self._found
        async with self._callers:
            if not self._is_fresh():
                self._found = await trio.to_thread.run_sync(
                    _look_up, self._host, self._port, limiter=self._threads, abandon_on_cancel=True
                )
                self._fresh_until = trio.current_time() + FRESH_SECONDS
            return self._found

    def _is_fresh(self) -> bool:
        return trio.current_time() < self._fresh_until


def _look_up(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return _alternate([Address(family, sockaddr) for family, _, _, _, sockaddr in found])


def _alternate(addresses: list[Address]) -> list[Address]:
    """The same addresses, with the first of the other family in second place (RFC 8305, 4)."""
    other = next((n for n, one in enumerate(addresses) if one.family != addresses[0].family), 0)
    if other > 1:
        addresses.insert(1, addresses.pop(other))
    return addresses


async def connect_to_any(
    addresses: Sequence[Address], *, stagger: float = STAGGER_SECONDS
) -> trio.SocketStream:
    """Connect to the first address that accepts. Raises OSError with every address's reason.

    stagger: seconds after which the next address is tried concurrently; it is tried at once after a failure.
    Cancelling closes all sockets.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    connected: list[trio.SocketStream] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            connected.append(await _connect(address))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(stagger):
                    await failed.wait()
    except BaseException:
        _close(connected)
        raise
    if not connected:
        reported = next((one for one in errors if not is_shortage(one)), errors[0])
        raise OSError(reported.errno, "; ".join(one.strerror or str(one) for one in errors))
    _close(connected[1:])
    return connected[0]


async def _connect(address: Address) -> trio.SocketStream:
    sock = trio.socket.socket(address.family, socket.SOCK_STREAM)
    try:
        await sock.connect(address.sockaddr)
    except OSError as error:
        sock.close()
        host, port = address.sockaddr[:2]
        place = f"[{host}]:{port}" if address.family == socket.AF_INET6 else f"{host}:{port}"
        # trio's message shows the address as a tuple.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"{reason} ({place})") from error
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


def _close(streams: Sequence[trio.SocketStream]) -> None:
    for stream in streams:
        stream.socket.close()
