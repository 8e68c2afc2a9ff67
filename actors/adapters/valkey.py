"""Breakers shared between instances through Valkey, or Redis 7 and later. Needs coredis."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import coredis
import trio
from coredis.exceptions import NoScriptError
from coredis.retry import NoRetryPolicy

from ..panel.panel import Panel
from ..sharing.link import SharingPolicy
from ..sharing.requests import Reply, Request
from ..sharing.shared_breakers import SharedBreakers
from ..sharing.store import StoreUnavailable
from ..sharing.wire import SCRIPT, arguments, channel, keys, reply

T = TypeVar("T")

NAMESPACE = "trio-breakers"
ANSWER_SECONDS = 0.3
"""The longest time for one exchange with the server."""
BEAT_SECONDS = 0.4
"""Seconds between two messages to oneself, by which a subscription that has ended silently is noticed."""
SILENT_SECONDS = 1.2
"""Seconds without such a message after which both connections are opened anew."""
RETRY_SECONDS = 0.25


class ValkeyConnection:
    """One process's connections to the server, for all that it shares. Usable while `run` runs.

    url: with the scheme redis, rediss, valkey or valkeys (TLS), and credentials if the server wants any.
    subscriptions: by channel, a function that is called with each message's text, and with None when
    messages may have been missed. Raises ValueError for another scheme.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "rediss", "valkey", "valkeys") or not rest:
            raise ValueError("the URL must begin with redis://, rediss://, valkey:// or valkeys://")
        self._url = f"{scheme.replace('valkey', 'redis')}://{rest}"
        self._beat_channel = f"{NAMESPACE}:beat:{uuid.uuid4().hex}"
        self._client: coredis.Redis[str] | None = None
        self._reason = "not connected yet"
        self._heard_at = 0.0
        self.subscriptions: dict[str, Callable[[str | None], None]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connections open, and open them anew when they are lost, until cancelled. Never raises.

        Subscriptions that are added later take effect with the next connection.
        """
        task_status.started()
        while True:
            try:
                await self._connected()
            except Exception as error:  # noqa: BLE001 - any loss is repaired in the same way
                self._reason = reason_of(error)
            except BaseExceptionGroup as group:
                self._reason = reason_of(failure_in(group))
            # Raises Cancelled if that was among the exceptions.
            await trio.sleep(RETRY_SECONDS)

    async def call(self, use: Callable[[coredis.Redis[str]], Awaitable[T]]) -> T:
        """Return what `use` returns for the client. Raises StoreUnavailable within ANSWER_SECONDS.

        Whatever else `use` raises is its cause: sharing must not end a program.
        """
        client = self._client
        if client is None:
            raise StoreUnavailable(self._reason)
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await use(client)
        except trio.TooSlowError:
            raise StoreUnavailable(f"no answer within {ANSWER_SECONDS:g} s") from None
        except BaseExceptionGroup as group:
            failure = failure_in(group)
            await trio.lowlevel.checkpoint_if_cancelled()
            raise StoreUnavailable(reason_of(failure)) from failure
        except Exception as error:  # coredis lets some of anyio's and of its pool's through
            raise StoreUnavailable(reason_of(error)) from error

    async def _connected(self) -> None:
        """Serve until the connections are lost."""
        self._heard_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            async with coredis.Redis.from_url(
                self._url,
                decode_responses=True,
                max_connections=4,
                verify_version=False,
                retry_policy=NoRetryPolicy(),
            ) as client:
                await client.ping()
                names = [self._beat_channel, *self.subscriptions]
                async with client.pubsub(
                    channels=names, ignore_subscribe_messages=True, retry_policy=None
                ) as messages:
                    nursery.start_soon(self._beat, client)
                    try:
                        await self._serve(client, messages)
                    finally:
                        # Before the pool closes: a call that begins then would fail in other ways.
                        self._client = None
            # The iterator ends so only at some restarts of the server; the watch notices the others.
            raise StoreUnavailable("the subscription has ended")  # pragma: no cover

    async def _serve(self, client: coredis.Redis[str], messages: AsyncIterable[Mapping[str, Any]]) -> None:
        """Let calls use the client, and pass messages on, until the subscription ends."""
        self._client = client
        for told in self.subscriptions.values():
            told(None)
        async for message in messages:
            self._note_message(message)

    def _note_message(self, message: Mapping[str, Any]) -> None:
        self._heard_at = trio.current_time()
        told = self.subscriptions.get(message["channel"])
        if told is not None:
            told(message["data"])

    async def _beat(self, client: coredis.Redis[str]) -> None:
        while True:
            with trio.move_on_after(ANSWER_SECONDS):
                await client.publish(self._beat_channel, "")
            await trio.sleep(BEAT_SECONDS)

    async def _watch(self) -> None:
        """Raise StoreUnavailable once nothing has been heard for SILENT_SECONDS."""
        while (silent := trio.current_time() - self._heard_at) < SILENT_SECONDS:  # noqa: ASYNC110
            await trio.sleep(SILENT_SECONDS - silent)
        raise StoreUnavailable(f"no answer within {SILENT_SECONDS:g} s")


class ValkeyScript:
    """A Lua script at the server. Each run is one step that no other command interrupts."""

    def __init__(self, connection: ValkeyConnection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - the server's name for the script

    async def run(self, *runs: tuple[Sequence[str], Sequence[str]]) -> list[Any]:
        """Run it for each pair of keys and arguments, in this order. Raises StoreUnavailable."""
        try:
            return await self._connection.call(lambda client: self._run(client, runs))
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, NoScriptError):
                raise
        # The server was restarted, or another one has taken over.
        await self._connection.call(lambda client: client.script_load(self._source))
        return await self._connection.call(lambda client: self._run(client, runs))

    async def _run(
        self, client: coredis.Redis[str], runs: Sequence[tuple[Sequence[str], Sequence[str]]]
    ) -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            results = [pipeline.evalsha(self._sha, keys=keys, args=given) for keys, given in runs]
        return [await result for result in results]


class ValkeyStore:
    """The store of shared breakers in Valkey.

    namespace: of its keys; instances with one namespace share the breakers of one name.
    """

    def __init__(self, connection: ValkeyConnection, namespace: str = NAMESPACE) -> None:
        if not re.fullmatch(r"[\w.:-]{1,100}", namespace):
            raise ValueError(f"namespace must be 1 to 100 letters, digits, or any of _.:- got {namespace!r}")
        self._script = ValkeyScript(connection, SCRIPT)
        self._namespace = namespace
        self._channel = channel(namespace)
        self._changed: Callable[[str | None], None] = _ignore
        connection.subscriptions[self._channel] = self._note

    def _note(self, name: str | None) -> None:
        self._changed(name)

    async def exchange(self, requests: Sequence[tuple[str, Request]]) -> list[Reply]:
        """Carry out requests. Raises StoreUnavailable."""
        results = await self._script.run(
            *(
                (keys(self._namespace, name), [self._channel, name, *arguments(request)])
                for name, request in requests
            )
        )
        return [reply(result) for result in results]

    async def listen(
        self,
        changed: Callable[[str | None], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Call `changed` for each breaker whose shared state has changed, until cancelled."""
        self._changed = changed
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self._changed = _ignore


def _ignore(_name: str | None) -> None:
    """The listener while `listen` isn't running."""


@asynccontextmanager
async def connected(
    connection: ValkeyConnection, *tasks: Callable[..., Awaitable[Any]]
) -> AsyncIterator[None]:
    """Keep the connection open, and run tasks that use it, for as long as the block lasts.

    tasks: started in turn, as `trio.Nursery.start` does. They end first, since they may give something back.
    """
    async with trio.open_nursery() as outer:
        await outer.start(connection.run)
        async with trio.open_nursery() as nursery:
            for task in tasks:
                await nursery.start(task)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
        outer.cancel_scope.cancel()


@asynccontextmanager
async def share_breakers(
    panel: Panel,
    url: str,
    *,
    namespace: str = NAMESPACE,
    policy: SharingPolicy | None = None,
    instance: str | None = None,
) -> AsyncIterator[SharedBreakers]:
    """Share all breakers of a panel with other instances for as long as the block lasts.

        async with open_panel() as panel, share_breakers(panel, "valkey://localhost:6379/0") as sharing:

    instance: this process's name for other instances and for people; no other process may have had it.
    None: one is made up. A server that can't be reached raises nothing: the breakers then protect this
    process alone, and `sharing.status()` says so. Raises ValueError for an unusable URL or namespace, and if
    the panel's breakers are shared already.
    """
    connection = ValkeyConnection(url)
    store = ValkeyStore(connection, namespace)
    sharing = SharedBreakers(panel, store, policy or SharingPolicy(), instance or uuid.uuid4().hex)
    async with connected(connection, sharing.run):
        yield sharing


def failure_in(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The first failure in a group, cancellations aside: coredis raises both while it closes.

    Raises the rest of the group if that holds more than failures, such as a KeyboardInterrupt.
    """
    rest = group.split(trio.Cancelled)[1]
    if rest is None:
        return StoreUnavailable("cancelled")
    if not isinstance(rest, ExceptionGroup):
        raise rest
    first: BaseException = rest
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, Exception)
    return first


def reason_of(error: Exception) -> str:
    """An error in words: its text, or that of its cause, or its type. Never the URL, which has a password."""
    if isinstance(error, ExceptionGroup):
        error = failure_in(error)
    if isinstance(error, StoreUnavailable):
        return str(error)
    text = str(error) or (str(error.__cause__) if error.__cause__ is not None else "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
