"""Counts of a server: its connections, and the requests and connections that it refuses itself."""

from __future__ import annotations

from collections import Counter


class ServerStatistics:
    """Counts of the servers of one process. Several servers may share it.

    connections: open now. refused: the server's own responses by status, to requests that it can't read,
    that come too slowly, or for whose connection there is no place. unrouted: those that reached no app.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.refused: Counter[int] = Counter()
        self.unrouted: Counter[int] = Counter()

    def note_refusal(self, status: int, *, reached_app: bool) -> None:
        """Count a response of the server's own."""
        self.refused[status] += 1
        if not reached_app:
            self.unrouted[status] += 1
