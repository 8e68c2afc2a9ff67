"""A breaker for code that is loaded before any panel is open, such as a decorator at module level."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from ..call.protect import check_async
from ..circuit_breaker import CircuitBreaker
from ..policy.checks import breaker_name
from ..policy.config import CircuitBreakerConfig
from .opening import OPEN_PANELS
from .panel import Panel

P = ParamSpec("P")
T = TypeVar("T")

NO_PANEL = "no panel is open in this trio.run: put `async with open_panel():` around what calls the breaker"


def breaker_named(policy: CircuitBreakerConfig | str) -> NamedBreaker:
    """A breaker by name, looked up at each use on the panel that is open then.

        prices = breaker_named(CircuitBreakerConfig(name="prices", max_failures=3))

        @prices.protect
        async def price(item: str) -> float:
            return await fetch_price(item)

    policy: makes the breaker at its first use, if the panel has none of that name. A str is the name of a
    breaker that other code makes. Needs no running trio; each trio.run has a breaker of its own.
    """
    return NamedBreaker(policy)


class NamedBreaker:
    """Made by `breaker_named`. `find()` returns the breaker itself, for everything but decorators."""

    def __init__(self, policy: CircuitBreakerConfig | str) -> None:
        self._policy = None if isinstance(policy, str) else policy
        self.name = policy if isinstance(policy, str) else policy.name
        breaker_name(self.name)
        self._found: tuple[Panel, CircuitBreaker] | None = None

    def __repr__(self) -> str:
        return f"<NamedBreaker {self.name!r}>"

    def find(self) -> CircuitBreaker:
        """The breaker of the running trio.run; of several open panels, on the one opened last.

        Raises RuntimeError outside of trio.run and if no panel is open, KeyError if the panel has no breaker
        of that name, and what `Panel.breaker` raises.
        """
        try:
            panels = OPEN_PANELS.get()
        except RuntimeError:
            raise RuntimeError(NO_PANEL) from None
        if not panels:
            raise RuntimeError(NO_PANEL)
        panel = panels[-1]
        # Read once: another thread's trio.run may set it meanwhile.
        found = self._found
        if found is not None and found[0] is panel and panel.get(self.name) is found[1]:
            return found[1]
        breaker = panel[self.name] if self._policy is None else panel.breaker(self._policy)
        self._found = panel, breaker
        return breaker

    def protect(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """A decorator, also at module level: each call of `fn` goes through the breaker that it then finds.

        Each call costs this look-up more than with CircuitBreaker.protect, raises also what `find` raises,
        and is otherwise the same. Raises TypeError if `fn` isn't async.
        """
        check_async(fn)

        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.find().execute(fn, *args, **kwargs)

        return protected
