"""The Grafana dashboard: its expressions are valid, and use metrics and labels that are exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.deploy.monitoring.grafana import DASHBOARD, expressions, filled_in, panels
from tests.deploy.tools import exported, promtool

NAME = r"(?:circuit_breaker|gateway)_\w+"
# Prometheus itself adds these labels to every sample of a scrape.
SCRAPED = {"job", "instance"}


async def labels() -> dict[str, set[str]]:
    """The labels of each exported metric."""
    _, families = await exported()
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_its_expressions_use_exported_metrics_and_labels() -> None:
    known = await labels()
    for expression in expressions():
        names = re.findall(NAME, expression)
        assert names
        have = set(SCRAPED).union(*(known[name] for name in names))
        for name, inside in re.findall(rf"({NAME})\{{([^}}]*)\}}", expression):
            assert set(re.findall(r"(\w+)=~?", inside)) <= known[name] | SCRAPED, expression
        for grouped in re.findall(r"(?:by|without) \(([^)]*)\)", expression):
            assert set(re.findall(r"\w+", grouped)) <= have, expression


async def test_every_metric_is_on_it() -> None:
    """Otherwise a metric could stop being exported unnoticed."""
    _, families = await exported()
    shown = " ".join(expressions())
    assert not [family.name for family in families if family.name not in shown]


async def test_legends_use_labels_of_their_expression() -> None:
    known = await labels()
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            names = re.findall(NAME, target["expr"])
            left = set(re.findall(r"\w+", grouped[1])) if grouped else known[names[0]]
            assert used <= left, target["expr"]


def test_every_window_holds_several_scrapes() -> None:
    """`$__interval` may contain a single scrape, and rate() of one sample is empty."""
    windows = {window for expression in expressions() for window in re.findall(r"\[(.*?)\]", expression)}
    assert windows == {"$__rate_interval", "$__range"}


def test_its_expressions_are_valid(tmp_path: Path) -> None:
    rules = [
        f"  - record: dashboard:{n}\n    expr: {json.dumps(filled_in(e))}"
        for n, e in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n- name: dashboard\n  rules:\n" + "\n".join(rules) + "\n")
    promtool("check", "rules", file)


def test_panels_have_titles_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["title"] and panel["description"] for panel in panels())
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
