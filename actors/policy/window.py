"""Rolling counts of calls and of the bad ones among them: O(1) a call, memory fixed at the start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from .checks import MOST_COUNTED, number, positive_int

SLICES = 10
"""A time window is counted in this many slices; a call leaves the window with its slice."""
SHORTEST = 0.001
"""Seconds of the shortest time window: the slices of one much shorter couldn't be distinguished."""


class Rolling(ABC):
    """Counts over a window. `calls` and `bad` are as of the last `advance` or `add`."""

    calls: int = 0
    bad: int = 0

    @abstractmethod
    def add(self, bad: bool, now: float, count: int = 1) -> None:
        """Count `count` calls of one kind at `now`."""

    def advance(self, now: float) -> None:  # noqa: B027 - a window of calls has nothing to do
        """Drop the calls that have left the window by `now`."""

    def next_roll(self, now: float) -> float | None:
        """When the oldest calls may leave the window; None if time doesn't move it."""
        return None


@dataclass(frozen=True, slots=True)
class LastCalls:
    """The last `n` counted calls."""

    n: int

    def __post_init__(self) -> None:
        positive_int("LastCalls.n", self.n, most=MOST_COUNTED)

    def rolling(self) -> Rolling:
        """Fresh counts over this window."""
        return _Calls(self.n)


@dataclass(frozen=True, slots=True)
class LastSeconds:
    """The last `s` seconds, in ten slices: the running slice and the nine before it."""

    s: float

    def __post_init__(self) -> None:
        number("LastSeconds.s", self.s, least=SHORTEST)

    def rolling(self) -> Rolling:
        """Fresh counts over this window."""
        return _Slices(self.s)


Window = LastCalls | LastSeconds


class _Calls(Rolling):
    def __init__(self, size: int) -> None:
        self._ring = bytearray(size)
        self._next = 0

    def add(self, bad: bool, now: float, count: int = 1) -> None:
        size = len(self._ring)
        for _ in range(min(count, size)):
            if self.calls == size:
                self.bad -= self._ring[self._next]
            else:
                self.calls += 1
            self._ring[self._next] = bad
            self.bad += bad
            self._next = (self._next + 1) % size


class _Slices(Rolling):
    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLICES
        self._calls = [0] * SLICES
        self._bad = [0] * SLICES
        self._slice: int | None = None

    def advance(self, now: float) -> None:
        current = int(now // self._width)
        if self._slice is None:
            self._slice = current
        # A clock jumped far ahead empties the ring once, not once a slice.
        for passed in range(max(self._slice + 1, current - SLICES + 1), current + 1):
            place = passed % SLICES
            self.calls -= self._calls[place]
            self.bad -= self._bad[place]
            self._calls[place] = self._bad[place] = 0
        self._slice = max(self._slice, current)

    def add(self, bad: bool, now: float, count: int = 1) -> None:
        self.advance(now)
        assert self._slice is not None
        place = self._slice % SLICES
        self._calls[place] += count
        self.calls += count
        if bad:
            self._bad[place] += count
            self.bad += count

    def next_roll(self, now: float) -> float | None:
        if not self.calls:
            return None
        return (int(now // self._width) + 1) * self._width


def check_window(kind: str, window: Window) -> None:
    """Raise ValueError if `window` isn't a window. kind: the name of the strategy that has it."""
    if not isinstance(window, LastCalls | LastSeconds):
        raise ValueError(f"{kind}.window must be LastCalls or LastSeconds, got {window!r}")
