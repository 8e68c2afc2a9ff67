"""A way to a port of this machine that can be cut: the demo's second gateway loses a service by it."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

PIECE = 65536


class Forwarder:
    """Forwards TCP connections from a free port to another port, until it is cut. `with` ends it.

    port: where it listens, also while it is cut; connections are then closed at once.
    """

    def __init__(self, host: str, target: int) -> None:
        self._host, self._target = host, target
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False

    def __enter__(self) -> Forwarder:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._listener.close()

    def cut(self) -> None:
        """Close every connection, and each new one."""
        self._is_cut = True
        with self._lock:
            for one in self._open:
                _shut(one)

    def mend(self) -> None:
        """Forward new connections again."""
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client:
            if self._is_cut:
                return
            try:
                server = socket.create_connection((self._host, self._target), timeout=5)
            except OSError:
                return
            with server:
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                back = threading.Thread(target=_copy, args=[server, client], daemon=True)
                back.start()
                _copy(client, server)
                back.join()
                with self._lock:
                    self._open -= {client, server}


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(PIECE):
            target.sendall(piece)
    except OSError:
        pass  # one of them has been cut
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
