"""What a server has done, by its own counters."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.valkey import ValkeyServer


class ServerCounters(NamedTuple):
    """exchanges: scripts run. published: messages. received, sent: bytes. busy: seconds of commands."""

    exchanges: float
    published: float
    received: float
    sent: float
    busy: float

    def __sub__(self, other: ServerCounters) -> ServerCounters:
        return ServerCounters(*(one - before for one, before in zip(self, other, strict=True)))

    def per_second(self, seconds: float) -> ServerCounters:
        """The same for one second."""
        return ServerCounters(*(one / seconds for one in self))


def counters(server: ValkeyServer) -> ServerCounters:
    """The counters since the server's start."""
    commands = server.command("INFO", "commandstats")
    stats = server.command("INFO", "stats")

    def calls(name: str) -> float:
        found = re.search(rf"cmdstat_{name}:calls=(\d+)", commands)
        return float(found[1]) if found else 0.0

    def total(name: str) -> float:
        found = re.search(rf"total_net_{name}_bytes:(\d+)", stats)
        return float(found[1]) if found else 0.0

    busy = sum(
        float(one) for name, one in re.findall(r"cmdstat_(\w+):calls=\d+,usec=(\d+)", commands) if name in TOP
    )
    return ServerCounters(calls("evalsha"), calls("publish"), total("input"), total("output"), busy / 1e6)


TOP = ("evalsha", "publish", "ping")
"""Commands of clients. The others run within evalsha, whose time includes theirs."""
