"""Repositories in memory with the constraints of the real ones, and with faults set by tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import trio
from pymongo.errors import AutoReconnect

from services.mongo.ownership import DENIED, Denied, OwnedBy
from services.mongo.repository import Record, Unique, UniqueViolation


class Faults:
    """The faults of the next operations on a repository, and the number of operations so far.

    delay: seconds that each operation takes. running: operations in progress.
    seconds_given: seconds until the deadline of the last operation's caller.
    """

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.delay: float = 0.0
        self.operations = 0
        self.running = 0
        self.seconds_given = float("inf")

    def fail(self, error: Exception | None = None) -> None:
        """Make every further operation raise `error`; by default the AutoReconnect of a lost server."""
        self.failing = error or AutoReconnect("scripted")

    def heal(self) -> None:
        """Make further operations succeed again, without delay."""
        self.failing = None
        self.delay = 0.0

    async def strike(self) -> None:
        """Apply the faults. Every operation awaits this first."""
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
    """`services.mongo.repository.Repository` in memory.

    refusals: by value: the exception with which a record that has a field of this value is refused, as by
    MongoDB or its driver.
    """

    def __init__(self, unique: Sequence[Unique]) -> None:
        self.faults = Faults()
        self.refusals: dict[str, Exception] = {}
        self.records: dict[int, Record] = {}
        self.owners: dict[int, str] = {}
        self._unique = unique
        self._last = 0

    async def create(self, record: Record, owner: str | None = None) -> Record | UniqueViolation:
        """See Repository."""
        await self.faults.strike()
        self._refuse(record)
        self._last += 1
        if violation := self._conflict(self._last, record):
            return violation
        self.records[self._last] = {"id": self._last, **deepcopy(record)}
        if owner is not None:
            self.owners[self._last] = owner
        return deepcopy(self.records[self._last])

    def _is_denied(self, number: int, only: OwnedBy | None) -> bool:
        return number in self.records and only is not None and not only.admits(self.owners.get(number))

    async def get(self, number: int, only: OwnedBy | None = None) -> Record | Denied | None:
        """See Repository."""
        await self.faults.strike()
        if self._is_denied(number, only):
            return DENIED
        return deepcopy(self.records.get(number))

    async def update(
        self, number: int, changes: Mapping[str, Any], only: OwnedBy | None = None
    ) -> Record | UniqueViolation | Denied | None:
        """See Repository."""
        await self.faults.strike()
        if self._is_denied(number, only):
            return DENIED
        if number not in self.records:
            return None
        self._refuse(changes)
        changed = {**self.records[number], **deepcopy(dict(changes))}
        if violation := self._conflict(number, changed):
            return violation
        self.records[number] = changed
        return deepcopy(changed)

    async def delete(self, number: int, only: OwnedBy | None = None) -> bool | Denied:
        """See Repository."""
        await self.faults.strike()
        if self._is_denied(number, only):
            return DENIED
        return self.records.pop(number, None) is not None

    async def page(
        self,
        limit: int,
        after: int,
        where: Mapping[str, Any] | None = None,
        only: OwnedBy | None = None,
    ) -> list[Record]:
        """See Repository."""
        await self.faults.strike()
        records = [
            record
            for number, record in sorted(self.records.items())
            if number > after and _has(record, where or {}) and not self._is_denied(number, only)
        ]
        return deepcopy(records[:limit])

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
