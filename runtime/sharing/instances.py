"""The other instances of a process, as they report themselves once a second.

An instance is all that one address serves: a process, or a gateway's workers together. What other instances
report is shown beside this one's breakers and never mixed with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from actors import Panel, PanelClosedError
from actors.adapters.health import PLAIN, STATUS
from actors.adapters.valkey import ValkeyConnection
from actors.messages import Snapshot, State
from actors.sharing.store import StoreUnavailable
from actors.sharing.wire import VERSION

REPORT_SECONDS = 1.0
"""Seconds between two reports of one process."""
EXPIRE_SECONDS = 4.0
"""Seconds after which a process that reports nothing is no longer listed."""
READ_SECONDS = 1.0
"""The least seconds between two readings of the others' reports."""

_NOW = "local time = redis.call('TIME')\nlocal now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
_WRITE = (
    _NOW
    + """
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], 60)
"""
)
_READ = (
    _NOW
    + """
local all, found = redis.call('HGETALL', KEYS[1]), {}
for n = 1, #all, 2 do
    local at, text = string.match(all[n + 1], '^(%d+) (.*)$')
    if not at or now - tonumber(at) > tonumber(ARGV[1]) then
        redis.call('HDEL', KEYS[1], all[n])
    else
        found[#found + 1] = text
    end
end
return found
"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process serves.

    process: its name, as in protocols.topology. address: host and port. group: the instance that it belongs
    to, by a name that no other instance has had; None: the process is an instance of its own.
    """

    process: str
    address: str
    group: str | None = None


class Instances:
    """Reports this process's breakers while `run` runs, and reads what other instances report.

    process_id: the name of this process among all that have ever run.
    """

    def __init__(self, connection: ValkeyConnection, panel: Panel, place: Place, process_id: str) -> None:
        self._connection = connection
        self._panel = panel
        self._place = place
        self._process_id = process_id
        self._group = place.group or process_id
        self._key = f"school:{VERSION}:{{{place.process}}}:instances"
        self._reading = trio.Lock()
        self._others: list[dict[str, Any]] = []
        self._read_at = -float("inf")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Report until the panel closes or the task is cancelled; then sign off. A lost store is no error."""
        task_status.started()
        try:
            while True:
                try:
                    await self._report()
                except StoreUnavailable:
                    pass  # the next report comes in time
                await trio.sleep(REPORT_SECONDS)
        except PanelClosedError:
            pass
        finally:
            await self._sign_off()

    async def _report(self) -> None:
        snapshots = await self._panel.snapshots()
        breakers = {name: breaker_report(snapshot) for name, snapshot in snapshots.items()}
        report = {"instance": self._group, "address": self._place.address, "breakers": breakers}
        arguments = [self._process_id, json.dumps(report)]
        await self._connection.call(lambda client: client.eval(_WRITE, keys=[self._key], args=arguments))

    async def _sign_off(self) -> None:
        """Remove the report. `call` takes no longer than a fraction of a second."""
        with trio.CancelScope(shield=True):
            try:
                await self._connection.call(lambda client: client.hdel(self._key, [self._process_id]))
            except StoreUnavailable:
                pass  # the report expires

    async def others(self) -> list[dict[str, Any]]:
        """The other instances of this process, by address; empty while the store is gone.

        Each has `instance`, `address`, `workers` (the number of its processes) and `breakers`. What is
        returned may be READ_SECONDS old. Takes a fraction of a second at most.
        """
        async with self._reading:
            now = trio.current_time()
            if now - self._read_at >= READ_SECONDS:
                self._others = await self._read()
                self._read_at = now
        return self._others

    async def _read(self) -> list[dict[str, Any]]:
        age = [str(round(1000 * EXPIRE_SECONDS))]
        try:
            found: Any = await self._connection.call(
                lambda client: client.eval(_READ, keys=[self._key], args=age)
            )
        except StoreUnavailable:
            return []
        reports = filter(None, map(_parsed, found))
        return by_instance(report for report in reports if report["instance"] != self._group)


def breaker_report(snapshot: Snapshot) -> dict[str, Any]:
    """One breaker in a few words. since: Unix seconds."""
    return {
        "state": snapshot.state.name,
        "since": snapshot.unix_changed_at,
        "reason": snapshot.last_reason,
        "failure_count": snapshot.failure_count,
    }


def by_instance(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Processes' reports as instances, by address. Of each breaker, the worst process's is taken. Pure."""
    instances: dict[str, dict[str, Any]] = {}
    for report in reports:
        empty = {"instance": report["instance"], "address": report["address"], "workers": 0, "breakers": {}}
        instance = instances.setdefault(report["instance"], empty)
        instance["workers"] += 1
        for name, breaker in report["breakers"].items():
            known = instance["breakers"].get(name)
            if known is None or _badness(breaker) > _badness(known):
                instance["breakers"][name] = {"status": _status(breaker), **breaker}
    return sorted(instances.values(), key=lambda one: (one["address"], one["instance"]))


def _badness(breaker: Mapping[str, Any]) -> tuple[int, int]:
    return PLAIN[State[breaker["state"]]], breaker["failure_count"]


def _status(breaker: Mapping[str, Any]) -> str:
    return STATUS[PLAIN[State[breaker["state"]]]]


def _parsed(text: str) -> dict[str, Any] | None:
    """A process's report; None for one that this version can't read."""
    try:
        report = json.loads(text)
        named = {"instance": str(report["instance"]), "address": str(report["address"])}
        breakers = {str(name): _parsed_breaker(one) for name, one in report["breakers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**named, "breakers": breakers}


def _parsed_breaker(one: Mapping[str, Any]) -> dict[str, Any]:
    reason = one["reason"]
    return {
        "state": State[one["state"]].name,
        "since": float(one["since"]),
        "reason": None if reason is None else str(reason),
        "failure_count": int(one["failure_count"]),
    }
