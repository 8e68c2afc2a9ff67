"""`just health`: the gateway's /health, as a table or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

import httpx
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from deploy.config import LOOPBACK, StackConfig, StackError
from deploy.terminal.formatting import STYLES, begin_of_state, columns_for_width, duration
from protocols.topology import (
    API_GATEWAY,
    AUTH_SERVICE_HTTP,
    BREAKERS,
    SCHOOL_SERVICE_HTTP,
    STUDENT_SERVICE_HTTP,
)
from runtime.observability.printable import printable

COLUMNS = (
    ("breaker", max(map(len, BREAKERS)), 0),
    ("guarded by", 15, 119),
    ("state", 11, 0),
    ("for", 11, 58),
    ("failures", 8, 100),
    ("next probe", 10, 45),
    ("why", 10, 73),
)
_OWNERS = {"auth": AUTH_SERVICE_HTTP, "school": SCHOOL_SERVICE_HTTP, "student": STUDENT_SERVICE_HTTP}


def fetch_health(config: StackConfig, timeout: float = 5.0) -> tuple[int, dict[str, Any]]:
    """Status and body of the gateway's /health. timeout: seconds. Raises StackError without a response."""
    try:
        response = httpx.get(f"{config.operations}/health", timeout=timeout, **LOOPBACK)
        body: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise StackError(
            f"the gateway at {config.gateway} doesn't answer ({error!r}); see `uv run just status`"
        ) from error
    return response.status_code, body


def breakers(data: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(name, process that owns it, `circuit_breaker`) of each breaker in the `data` of /health.

    `circuit_breaker` is empty for a process that doesn't answer the gateway.
    """
    for part, name in _OWNERS.items():
        entry = data.get(part, {})
        yield name, API_GATEWAY, entry.get("circuit_breaker", {})
        for dependency, found in entry.get("dependencies", {}).items():
            yield dependency, f"{part}-service", found.get("circuit_breaker", {})


def show(config: StackConfig) -> bool:
    """Print /health: a table on a terminal, JSON otherwise.

    Returns whether all processes answer, and no breaker is open.
    """
    status, body = fetch_health(config)
    data = body.get("data", {})
    unanswered = sorted({owner for _, owner, breaker in breakers(data) if not breaker})
    if sys.stdout.isatty():
        console = Console(highlight=False)
        console.print(table(data, console.width))
        console.print(*_summary(status, body, unanswered), sep="\n")
    else:
        print(json.dumps(body, indent=2))
    return status == 200 and not unanswered


def _summary(status: int, body: Mapping[str, Any], unanswered: Sequence[str]) -> list[Text]:
    """The gateway's message and the processes that don't answer, one line each.

    The message "healthy" is left out if a process doesn't answer: the gateway judges the breakers alone.
    """
    message = str(body.get("message", ""))
    missing = Text(f"No answer: {', '.join(unanswered)}; see `uv run just status`.", style="bold red")
    if status != 200:
        return [Text(message, style="bold red"), *([missing] if unanswered else [])]
    return [missing] if unanswered else [Text(message, style="green")]


def table(data: Mapping[str, Any], width: int) -> Table:
    """One row per breaker. A narrow terminal gets fewer columns."""
    found, fits = columns_for_width(COLUMNS, width)
    now = time.time()
    for name, owner, breaker in breakers(data):
        # `state` is OPEN for a breaker that is forced open; `mode` is FORCED_OPEN.
        state = str(breaker.get("mode") or breaker.get("state", "UNKNOWN"))
        wait = breaker.get("retry_after")
        since = begin_of_state(state, breaker.get("since"), breaker.get("outage_since"))
        cells: tuple[RenderableType, ...] = (
            name,
            owner,
            f"[{STYLES.get(state, 'dim')}]{state}[/]",
            duration(now - since) if isinstance(since, int | float) else "–",
            str(breaker.get("failure_count", "–")),
            f"in {wait:.0f} s" if isinstance(wait, int | float) else "–",
            Text(printable(_reason(state, owner, breaker))),
        )
        found.add_row(*compress(cells, fits))
    return found


def _reason(state: str, owner: str, breaker: Mapping[str, Any]) -> str:
    if state == "UNKNOWN":
        return f"{owner} doesn't answer"
    if state == "CLOSED":
        return ""
    last = breaker.get("last_failure") if state == "OPEN" else None
    return f"{breaker.get('reason') or ''}{f': {last}' if last else ''}"
