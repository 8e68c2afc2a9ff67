"""Reports for the terminal views, and their output as lines and cells."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console, RenderableType

from deploy.terminal.watch import LiveView

HELLO = {
    "gateway": "api-gateway",
    "services": [
        {"process": "auth-service", "breaker": "auth-service-http", "dependencies": ["auth-database"]}
    ],
}
NOW = 1_000_000.0
"""The Unix time of all views."""
HOSTILE = "\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"
"""Text with control characters that would change the terminal."""
ESCAPED = r"\x1b]0;title\x07\x1b[2J\nFAKE\r\x9b31m\u202e"
"""The same text as the views print it."""


def breaker(name: str, **more: Any) -> dict[str, Any]:
    """A breaker as in a report: closed for 72 s, without calls; `more` replaces keys."""
    plain = {
        "name": name,
        "state": "CLOSED",
        "since": NOW - 72,
        "outage_since": None,
        "reason": None,
        "probe_at": None,
        "failure_count": 0,
        "slow_count": 0,
        "last_failure": None,
        "policy": {"max_failures": 5, "trip": None},
        "transitions": [],
        "failures": [],
        "calls_by_time": [],
    }
    return {**plain, **more}


def report(process: str, since: float, *breakers: dict[str, Any], answers: bool = True) -> dict[str, Any]:
    """A report of one process. answers: False if the gateway can't reach it."""
    more = {"now": NOW, "since": since, "started": 0} if answers else {}
    return {"process": process, "answers": answers, "breakers": list(breakers), **more}


def rendered(view: LiveView) -> str:
    """The view on a wide terminal."""
    console = Console(width=170, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(view.render(NOW))
    return captured.get()


def rendered_lines(width: int, *what: RenderableType) -> list[str]:
    """The lines of a view made for `width`, on a wider terminal, which cuts nothing off."""
    console = Console(width=400, force_terminal=False)
    with console.capture() as captured:
        console.print(*what)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= width, lines
    return lines


def cells(line: str) -> list[str]:
    """The cells of a row."""
    return re.split("  +", line)
