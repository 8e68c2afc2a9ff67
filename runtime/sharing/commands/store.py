"""The store of operators' commands: what it does, and the one in Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple, Protocol

from actors.adapters.valkey import ValkeyConnection, ValkeyScript
from actors.sharing.store import StoreUnavailable
from runtime.sharing.commands.command import Command

VERSION = 1
"""Of the keys' content. Software with another version uses keys of its own."""
NOW = "local time = redis.call('TIME')\nlocal now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
BODY = files(__package__).joinpath("commands.lua").read_text()


class Given(NamedTuple):
    """The store's answer to a command.

    version: 0 if it came too late. accepted: the slots for which there is no newer command.
    """

    version: int
    sequence: int
    accepted: frozenset[str]


class Published(NamedTuple):
    """A command in the stream. remaining: milliseconds until it expires; -1: it doesn't."""

    sequence: int
    version: int
    remaining: int
    slots: tuple[str, ...]
    command: Command


class News(NamedTuple):
    """What has been published since. now: the store's time, ms. missed: some of it is lost."""

    sequence: int
    now: int
    missed: bool
    published: Sequence[Published]


class Slot(NamedTuple):
    """What the store has in one slot. remaining: milliseconds until it expires; -1: it doesn't."""

    slot: str
    version: int
    remaining: int
    command: Command


class Everything(NamedTuple):
    """All slots, and the last commands, newest first."""

    sequence: int
    now: int
    slots: Sequence[Slot]
    history: Sequence[Command]


class Acknowledged(NamedTuple):
    """running: the instances that have asked for news lately. results: by instance, an error or nothing."""

    running: Sequence[str]
    results: Mapping[str, str]


class CommandStore(Protocol):
    """Keeps the commands of one kind of process. Each method is one step, and raises StoreUnavailable."""

    changed: Callable[[], None]
    """Called when there may be news."""

    async def give(self, command: Command, age: int, deadline: int) -> Given:
        """Put a command into its slots, and publish it, unless there is a newer one.

        age: milliseconds since it was given. deadline: the store's time, ms, after which it is refused.
        A command that is there already changes nothing.
        """

    async def poll(self, instance: str, known: int, results: Mapping[str, str]) -> News:
        """What has been published after `known`. results: of the commands that `instance` has applied."""

    async def synchronise(self, instance: str, known: int, slots: Sequence[Slot]) -> Everything:
        """Give the store what it has lost, and return all that it has."""

    async def applied(self, command_id: str) -> Acknowledged:
        """Which instances have applied a command."""

    async def leave(self, instance: str) -> None:
        """This instance ends."""


class ValkeyCommandStore:
    """The commands of one kind of process in Valkey. namespace: of its keys.

    To be made before the connection opens.
    """

    def __init__(self, connection: ValkeyConnection, namespace: str, process: str) -> None:
        # One hash tag, so that a cluster keeps all keys on one node.
        self._base = f"{namespace}:{VERSION}:{{{process}}}:commands"
        self._script = ValkeyScript(connection, NOW + BODY)
        self.changed: Callable[[], None] = _ignore
        connection.subscriptions[self._base] = lambda _: self.changed()

    def _keys(self, ids: Iterable[str] = ()) -> list[str]:
        base = self._base
        applied = [f"{base}:applied:{one}" for one in ids]
        return [f"{base}:state", f"{base}:in-force", base, f"{base}:instances", *applied]

    async def give(self, command: Command, age: int, deadline: int) -> Given:
        """See CommandStore."""
        lasts = 0 if command.lasts is None else max(1, round(1000 * command.lasts))
        numbers = map(str, (lasts, age, deadline))
        given = ["give", command.id, command.to_json(), *numbers, *command.slots()]
        [(version, sequence, accepted)] = await self._script.run((self._keys(), [self._base, *given]))
        return Given(version, sequence, frozenset(accepted))

    async def poll(self, instance: str, known: int, results: Mapping[str, str]) -> News:
        """See CommandStore."""
        given = ["poll", instance, str(known), *results.values()]
        [(sequence, now, missed, found)] = await self._script.run((self._keys(results), [self._base, *given]))
        published = [
            Published(number, version, remaining, tuple(slots.split("\n")), _command(text))
            for number, version, remaining, slots, text in found
        ]
        return News(sequence, now, bool(missed), published)

    async def synchronise(self, instance: str, known: int, slots: Sequence[Slot]) -> Everything:
        """See CommandStore."""
        given = ["synchronise", instance, str(known)]
        for one in slots:
            given += [one.slot, str(one.version), str(one.remaining), one.command.id, one.command.to_json()]
        [(sequence, now, found, history)] = await self._script.run((self._keys(), [self._base, *given]))
        known_slots = [
            Slot(slot, version, remaining, _command(text)) for slot, version, remaining, text in found
        ]
        return Everything(sequence, now, known_slots, [_command(text) for text in history])

    async def applied(self, command_id: str) -> Acknowledged:
        """See CommandStore."""
        [(running, flat)] = await self._script.run((self._keys([command_id]), [self._base, "applied"]))
        # As a list of names and values, or as a mapping, by the version of the protocol.
        pairs = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        return Acknowledged(running, pairs)

    async def leave(self, instance: str) -> None:
        """See CommandStore."""
        await self._script.run((self._keys(), [self._base, "leave", instance]))


def _command(text: str) -> Command:
    try:
        return Command.from_json(text)
    except (ValueError, TypeError) as error:
        raise StoreUnavailable("it has a command that can't be read") from error


def _ignore() -> None:
    """Nothing listens."""
