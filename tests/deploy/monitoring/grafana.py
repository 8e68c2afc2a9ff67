"""The Grafana dashboard in deploy/grafana: its panels and their PromQL expressions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.deploy.tools import DEPLOY

DASHBOARD = json.loads((DEPLOY / "grafana" / "circuit_breakers.json").read_text())
FILLED_IN = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h", "$service": ".*"}


def panels() -> list[dict[str, Any]]:
    """All panels except the headings of rows."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """The PromQL expressions of all panels and annotations."""
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])


def filled_in(expression: str) -> str:
    """The expression with values in place of Grafana's variables."""
    for variable, value in FILLED_IN.items():
        expression = expression.replace(variable, value)
    return expression
