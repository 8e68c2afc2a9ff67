"""An actor: one task, one memory channel, one message at a time, and an answer to each."""

from __future__ import annotations

import contextlib
import contextvars
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import trio

from .errors import PanelClosedError

Message = TypeVar("Message")

CAPACITY = 256
"""Messages that may wait. Askers beyond it wait in their own tasks, so nothing is lost; a larger
channel would only move the same wait, and a tell that finds it full is retried by its sender."""
NEVER = float("inf")
BATCH = 64
"""Messages handled before other tasks get a turn."""
STALL = 0.25
"""A deadline seen so many seconds late means that the process stood still."""
CATCH_UP_TURNS = 5
"""Turns of the loop in which data that has arrived is read and the calls that it ends are settled."""
UNANSWERED = object()
OTHER_RUN = (
    "a circuit breaker belongs to the trio.run of its panel: call it from there, from a thread by "
    "trio.from_thread.run, or have a panel in each run (breaker_named finds the one of the running run)"
)


class Envelope(Generic[Message]):
    """A message, its sender's context, and the place for its answer."""

    __slots__ = ("_answer", "_error", "_task", "context", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        # Whatever is in it, a copy takes no time: the two share it.
        self.context = contextvars.copy_context()
        self._answer: Any = UNANSWERED
        self._error: Exception | None = None
        self._task: trio.lowlevel.Task | None = None

    def answer(self, value: Any, error: Exception | None = None) -> None:
        """Wake the asking task, with a value or an error."""
        self._answer, self._error = value, error
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)

    async def wait(self) -> Any:
        """The answer. Cancellation waits for it: the actor may have counted the call already."""
        if self._answer is UNANSWERED:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(_refuse_cancel)
        if self._error is not None:
            raise self._error
        return self._answer


def _refuse_cancel(_raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class Mailbox(Generic[Message]):
    """The only way to an actor."""

    __slots__ = ("_receive", "_send", "_sleeper", "_token", "farewell")

    def __init__(self) -> None:
        self.farewell = "the panel has closed"
        self._send, self._receive = trio.open_memory_channel[Envelope[Message]](CAPACITY)
        self._token = trio.lowlevel.current_trio_token()
        self._sleeper: trio.lowlevel.Task | None = None

    def is_home(self) -> bool:
        """Whether the running code belongs to the actor's trio.run."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def call_home(self, function: Callable[[], object]) -> None:
        """Have `function` called in the actor's trio.run, from wherever; not at all where that has ended."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)

    @trio.lowlevel.enable_ki_protection
    async def ask(self, message: Message) -> Any:
        """Send and wait for the answer, shielded. Raises PanelClosedError where no one will answer.

        Raises RuntimeError in another trio.run than the actor's.
        """
        if not self.is_home():
            raise RuntimeError(OTHER_RUN)
        envelope = Envelope(message)
        try:
            self._put(envelope)
        except trio.WouldBlock:
            await self._queue(envelope)
        except trio.BrokenResourceError:
            raise PanelClosedError(self.farewell) from None
        return await envelope.wait()

    def tell(self, message: Message) -> bool:
        """Send without waiting for the answer; False where the mailbox is full or closed."""
        try:
            self._put(Envelope(message))
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        return True

    def close(self) -> None:
        """Answer everything that waits, and everybody after, with PanelClosedError."""
        with contextlib.suppress(trio.ClosedResourceError):
            while (envelope := self.take()) is not None:
                envelope.answer(None, PanelClosedError(self.farewell))
        self._receive.close()

    def take(self) -> Envelope[Message] | None:
        """The next message; None where none waits. The actor's, as is `sleep`."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    async def sleep(self) -> None:
        """Wait for a message, where none waits.

        The channel's own `receive` does the same, but holds 900 bytes while it waits, for every actor.
        """
        self._sleeper = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._overslept)

    def _overslept(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _put(self, envelope: Envelope[Message]) -> None:
        self._send.send_nowait(envelope)
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    async def _queue(self, envelope: Envelope[Message]) -> None:
        # Never broken: closing receives all that queue before it ends the channel.
        with trio.CancelScope(shield=True):
            await self._send.send(envelope)


class Actor(ABC, Generic[Message]):
    """Handles its mailbox. A crash leaves the message in hand to the next round."""

    __slots__ = ("_in_hand", "clock", "ended", "mailbox", "next_wakeup")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.mailbox: Mailbox[Message] = Mailbox()
        self.clock = clock
        self._in_hand: Envelope[Message] | None = None
        self.next_wakeup = NEVER
        self.ended = False

    @abstractmethod
    def receive(self, message: Message, now: float) -> Any:
        """Handle one message; what it returns is the answer."""

    @abstractmethod
    def wake(self, now: float) -> None:
        """A deadline has come."""

    @abstractmethod
    def deadline(self, now: float) -> float:
        """When to be woken next; inf: only by a message."""

    @abstractmethod
    def crashed(self, crash: Exception) -> None:
        """Carry on after a crash, or raise what ends the panel."""

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Handle messages until cancelled, or until one of them sets `ended`.

        One function, though it could be three: each frame of a parked task is kept, for every actor.
        """
        try:
            while not self.ended:
                try:
                    more = self._work()
                    self.next_wakeup = self.deadline(self.clock())
                    if self.ended:
                        pass
                    elif more:
                        await trio.lowlevel.checkpoint()
                        if self.next_wakeup <= (now := self.clock()):
                            self.wake(now)
                    elif self.next_wakeup == NEVER:
                        await self.mailbox.sleep()
                    else:
                        deadline = self.next_wakeup
                        # By the system's clock: a test's clock jumps while the process runs.
                        latest = time.monotonic() + deadline - self.clock() + STALL
                        with trio.CancelScope(deadline=deadline) as scope:
                            await self.mailbox.sleep()
                        if time.monotonic() > latest:
                            await self._catch_up(deadline)
                        if scope.cancelled_caught:
                            self.wake(self.clock())
                except Exception as crash:  # noqa: BLE001 - whatever it is, the actor goes on
                    self.crashed(crash)
        finally:
            self.close()

    async def _catch_up(self, deadline: float) -> None:
        """Let calls end whose data arrived while the process stood still: they ended before `deadline`.

        trio lets deadlines come before it looks at sockets.
        """
        for _ in range(CATCH_UP_TURNS):
            self._work(math.nextafter(deadline, -NEVER))
            await trio.lowlevel.checkpoint()

    def _work(self, latest: float = NEVER) -> bool:
        """Handle the messages that wait, up to a batch. Whether there may be more.

        latest: what comes later counts as having come then.
        """
        # Awake: nobody need call.
        self.next_wakeup = -NEVER
        for _ in range(BATCH):
            envelope = None if self.ended else self._in_hand or self.mailbox.take()
            if envelope is None:
                return False
            self._handle(envelope, latest)
        return True

    def close(self) -> None:
        """Answer the message in hand, and all that wait, with PanelClosedError."""
        if self._in_hand is not None:
            self._in_hand.answer(None, PanelClosedError(self.mailbox.farewell))
        self.mailbox.close()

    def _handle(self, envelope: Envelope[Message], latest: float) -> None:
        self._in_hand = envelope
        answer = self.receive(envelope.message, min(self.clock(), latest))
        self._in_hand = None
        envelope.answer(answer)
