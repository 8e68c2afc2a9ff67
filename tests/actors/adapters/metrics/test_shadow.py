"""The series of policies in shadow."""

from __future__ import annotations

import math

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from actors import CircuitBreakerConfig, Panel, ShadowPolicy
from actors.adapters.metrics import exposition, openmetrics_exposition
from actors.testing import ScriptedDependency
from tests.actors.adapters.metrics.scraping import scrape
from tests.actors.call.breakers import fail, new_breaker
from tests.actors.shadow.test_stopped import BROKEN

TWO = ShadowPolicy(max_failures=2)
STATE, MOVES, CALLS = (
    f"circuit_breaker_shadow_{name}" for name in ("state", "transitions_total", "calls_total")
)


async def test_only_breakers_with_a_shadow_have_its_series_all_of_them_from_the_start(panel: Panel) -> None:
    panel.breaker(CircuitBreakerConfig(name="plain"))
    assert not [name for name, *_ in await scrape(panel) if "shadow" in name]
    new_breaker(panel, shadow=TWO)
    series = {labels: value for labels, value in (await scrape(panel)).items() if "shadow" in labels[0]}
    moves = {("closed", "open"), ("half_open", "closed"), ("half_open", "open"), ("open", "closed")}
    moves.add(("open", "half_open"))
    ends = ("success", "failure", "ignored", "cancelled", "unseen")
    assert series.keys() == {
        (STATE,),
        *((MOVES, *move) for move in moves),
        *((CALLS, end, verdict) for end in ends for verdict in ("admitted", "rejected")),
    }
    assert set(series.values()) == {0}


async def test_they_say_what_the_shadow_would_have_done(panel: Panel) -> None:
    breaker, dependency = new_breaker(panel, shadow=TWO), ScriptedDependency()
    await fail(breaker, dependency, 3)
    await breaker.execute(dependency)
    found = await scrape(panel)
    assert (found[STATE,], found["circuit_breaker_state",]) == (2, 0)
    assert found[MOVES, "closed", "open"] == 1
    assert found[CALLS, "failure", "admitted"] == 2
    assert found[CALLS, "failure", "rejected"] == found[CALLS, "success", "rejected"] == 1
    total = sum(value for (name, *_), value in found.items() if name == CALLS)
    assert total == sum(value for (name, *_), value in found.items() if name == "circuit_breaker_calls_total")


async def test_both_formats_have_them_and_the_counters_can_be_left_out(panel: Panel) -> None:
    new_breaker(panel, shadow=TWO)
    snapshots = (await panel.snapshots()).values()
    names = {family.name for family in parse_openmetrics(openmetrics_exposition(snapshots).decode())}
    assert {name.removesuffix("_total") for name in (STATE, MOVES, CALLS)} <= names
    text = exposition(snapshots, counters=False).decode()
    assert STATE in text
    assert CALLS not in text
    assert MOVES not in text


async def test_a_stopped_shadow_is_in_no_state(panel: Panel) -> None:
    await fail(new_breaker(panel, shadow=BROKEN), ScriptedDependency(), 2)
    assert math.isnan((await scrape(panel))[STATE,])
