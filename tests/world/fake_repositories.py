"""Stores in memory that keep the rules of the real ones, and fail when a test says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import trio
from pymongo.errors import AutoReconnect

from services.mongo.repository import Record, Unique, UniqueViolation


class Faults:
    """What shall go wrong with the next operations on a store, and how many there were.

    delay: seconds each takes. seconds_given: how much time the last one's caller had left.
    """

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.delay: float = 0.0
        self.operations = 0
        self.running = 0
        self.seconds_given = float("inf")

    def fail(self, error: Exception | None = None) -> None:
        """Let every operation fail from now on, as if the server were gone."""
        self.failing = error or AutoReconnect("scripted")

    def heal(self) -> None:
        """Let operations succeed again, at once."""
        self.failing = None
        self.delay = 0.0

    async def strike(self) -> None:
        """What an operation awaits before it does anything."""
        self.operations += 1
        self.running += 1
        self.seconds_given = trio.current_effective_deadline() - trio.current_time()
        try:
            await trio.sleep(self.delay)
        finally:
            self.running -= 1
        if self.failing is not None:
            raise self.failing


class FakeRepository:
    """`services.mongo.repository.Records` in memory.

    refusals: what a record that has a field of this value is refused with, as MongoDB or its driver would.
    """

    def __init__(self, unique: Sequence[Unique]) -> None:
        self.faults = Faults()
        self.refusals: dict[str, Exception] = {}
        self.records: dict[int, Record] = {}
        self._unique = unique
        self._last = 0

    async def create(self, record: Record) -> Record | UniqueViolation:
        """See Repository."""
        await self.faults.strike()
        self._refuse(record)
        self._last += 1
        if taken := self._conflict(self._last, record):
            return taken
        self.records[self._last] = {"id": self._last, **deepcopy(record)}
        return deepcopy(self.records[self._last])

    async def get(self, number: int) -> Record | None:
        """See Repository."""
        await self.faults.strike()
        return deepcopy(self.records.get(number))

    async def update(self, number: int, changes: Mapping[str, Any]) -> Record | UniqueViolation | None:
        """See Repository."""
        await self.faults.strike()
        if number not in self.records:
            return None
        self._refuse(changes)
        changed = {**self.records[number], **deepcopy(dict(changes))}
        if taken := self._conflict(number, changed):
            return taken
        self.records[number] = changed
        return deepcopy(changed)

    async def delete(self, number: int) -> bool:
        """See Repository."""
        await self.faults.strike()
        return self.records.pop(number, None) is not None

    async def page(self, limit: int, after: int, where: Mapping[str, Any] | None = None) -> list[Record]:
        """See Repository."""
        await self.faults.strike()
        found = [
            record
            for number, record in sorted(self.records.items())
            if number > after and _has(record, where or {})
        ]
        return deepcopy(found[:limit])

    async def update_all(self, where: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        """See Repository."""
        await self.faults.strike()
        for record in self.records.values():
            if _has(record, where):
                record.update(changes)

    def _refuse(self, record: Mapping[str, Any]) -> None:
        for value in record.values():
            if isinstance(value, str) and value in self.refusals:
                raise self.refusals[value]

    def _conflict(self, number: int, record: Record) -> UniqueViolation | None:
        for rule in self._unique:
            if rule.optional and record.get(rule.name) is None:
                continue
            values = {field: record.get(field) for field in rule.fields}
            if any(other != number and _has(kept, values) for other, kept in self.records.items()):
                return UniqueViolation(rule.name)
        return None


def _has(record: Record, where: Mapping[str, Any]) -> bool:
    return all(record.get(field) == value for field, value in where.items())
