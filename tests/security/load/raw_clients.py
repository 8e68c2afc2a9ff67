"""Clients that hold connections, on plain sockets from addresses of their own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.security.attacked_stack import AttackedStack


def connect(attacked: AttackedStack, address: str, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the gateway. receive_buffer: bytes of unread data that this host holds."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(10)
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.bind((address, 0))
    made.connect(("127.0.0.1", attacked.stack.config.ports["GATEWAY_PORT"]))
    return made


def read_status(client: socket.socket) -> int:
    """The status of the next response; 0 if the connection ends without one."""
    line = b""
    with suppress(OSError):
        while b"\r\n" not in line and (piece := client.recv(4096)):
            line += piece
    return int(line.split()[1]) if line else 0


def read_to_end(client: socket.socket) -> bytes:
    """All data until the connection ends. Raises TimeoutError if nothing comes for 10 s."""
    found = b""
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            found += piece
    return found


@contextmanager
def held(attacked: AttackedStack, address: str, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent `first`, until the block ends."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(attacked, address)) for _ in range(count)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(first)
        yield clients


def is_open(client: socket.socket) -> bool:
    """Whether the gateway holds the connection and has sent nothing."""
    client.setblocking(False)
    try:
        client.recv(1, socket.MSG_PEEK)
        return False
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        client.settimeout(10)
