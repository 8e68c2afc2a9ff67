"""One process's part in what it shares with others: its name, its connection, its breakers."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from actors import Panel
from actors.adapters.valkey import ValkeyConnection, ValkeyStore, connected
from actors.sharing.link import SharingPolicy
from actors.sharing.shared_breakers import SharedBreakers, SharingStatus
from runtime.config.settings import ProcessSettings
from runtime.sharing.commands.store import ValkeyCommandStore
from runtime.sharing.instances import Instances, Place

NAMESPACE = "school"


@dataclass(frozen=True, slots=True)
class ProcessSharing:
    """What one process shares. instance: its name among all processes that have ever run."""

    instance: str
    connection: ValkeyConnection
    breakers: SharedBreakers
    commands: ValkeyCommandStore
    instances: Instances

    def status(self) -> SharingStatus:
        """How well the breakers are shared now."""
        return self.breakers.status()

    def knows_counts(self) -> bool:
        """True: the breakers' counts are this process's own."""
        return True

    async def other_instances(self) -> list[dict[str, Any]]:
        """See Instances.others."""
        return await self.instances.others()


def instance_name(process: str) -> str:
    """A name for people and for the store: process, host, pid, and what makes it unique."""
    return f"{process}@{socket.gethostname()}:{os.getpid()}-{uuid.uuid4().hex[:6]}"


@asynccontextmanager
async def open_sharing(
    place: Place,
    panel: Panel,
    settings: ProcessSettings,
    policy: SharingPolicy,
    prepare: Callable[[ProcessSharing], None] = lambda _: None,
) -> AsyncIterator[ProcessSharing | None]:
    """Share the panel's breakers for as long as the block lasts; None if VALKEY_URL is unset.

    place: where this process serves. prepare: called before the connection opens, to add subscriptions to it.
    A Valkey that can't be reached raises nothing: each breaker then protects this process alone.
    """
    if settings.valkey_url is None:
        yield None
        return
    connection = ValkeyConnection(str(settings.valkey_url.get_secret_value()))
    store = ValkeyStore(connection, NAMESPACE)
    instance = instance_name(place.process)
    breakers = SharedBreakers(panel, store, policy, instance)
    commands = ValkeyCommandStore(connection, NAMESPACE, place.process)
    instances = Instances(connection, panel, place, instance)
    sharing = ProcessSharing(instance, connection, breakers, commands, instances)
    prepare(sharing)
    async with connected(connection, sharing.breakers.run, sharing.instances.run):
        yield sharing
