"""Accepting connections, also when files are lacking."""

import errno

import structlog.testing
import trio

from runtime.serving.listening import accept_for_ever


class Listener:
    """Fails `failures` times, then gives one connection, and then nothing."""

    def __init__(self, failures, number=errno.EMFILE):
        self.failures = failures
        self.number = number

    async def accept(self):
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(self.number, "Too many open files")
        if self.failures == -1:
            return "stream"
        return await trio.sleep_forever()


async def accepted(listener, seconds):
    """The connections handled within so many seconds, and the lines of the log."""
    handled = []

    async def handle(stream):
        handled.append(stream)

    with structlog.testing.capture_logs() as logs, trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            await accept_for_ever(listener, nursery, handle)
    return handled, logs


async def test_connections_wait_while_files_are_lacking(autojump_clock):
    handled, logs = await accepted(Listener(30), 60)
    assert handled == ["stream"]
    assert [line["event"] for line in logs] == ["connections can't be accepted"]


async def test_a_lasting_shortage_is_logged_again_now_and_then(autojump_clock):
    _, logs = await accepted(Listener(10_000), 35)
    assert len(logs) == 4
