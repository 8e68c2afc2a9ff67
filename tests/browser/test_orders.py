"""Operators' orders in the list of events; their names are shown only to admins."""

from __future__ import annotations

from typing import Any

from tests.browser.fake_stream import NOON, breaker, change, order

OpenDashboard = Any
NAME = "auth-database"


def events(dashboard: Any) -> list[list[str]]:
    """The lines of "What happened", without their times."""
    return [line.split("\n")[1:] for line in dashboard.page.locator("#events li").all_inner_texts()]


def test_orders_are_events_with_their_reason(open_dashboard: OpenDashboard) -> None:
    """Changes of a policy, reloads that changed something, and resets of a closed breaker."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    changes = {"max_failures": 7, "reset_timeout": 20, "max_concurrent": None}
    orders = [
        order("configure", NAME, changes=changes, until=NOON + 60, reason="a slow failover"),
        order("reload", breakers=[NAME], time=NOON - 50),
        order("reload", breakers=[NAME], time=NOON - 40, id="signal-1", reason="", by_signal=True),
        order("reset", NAME, time=NOON - 30, reason=""),
    ]
    dashboard.report("auth-service", orders=orders)
    assert events(dashboard) == [
        [NAME, "closed", "reset by an operator"],
        ["auth-service", "file read again", f"breakers.toml read again at a signal; changed: {NAME}"],
        [
            "auth-service",
            "file read again",
            f"breakers.toml read again by an operator: to see; changed: {NAME}",
        ],
        [
            NAME,
            "policy changed",
            (
                "max failures 7, reset timeout 20 s, max concurrent off,"
                " by an operator: a slow failover, until 12:01:00"
            ),
        ],
    ]


def test_an_order_and_its_transition_are_one_event(open_dashboard: OpenDashboard) -> None:
    """An order of another breaker, or long before, is another event."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    reason = "forced by operator: a new disk"
    changes = [
        change(NAME, "CLOSED", "FORCED_OPEN", NOON - 59.9, reason),
        change(NAME, "FORCED_OPEN", "CLOSED", NOON - 20, "forced by operator expired"),
    ]
    held = order("force_open", NAME, reason="a new disk")
    elsewhere = order("force_open", "school-database", reason="a new disk", time=NOON - 61)
    dashboard.report("auth-service", breaker(NAME, transitions=changes), orders=[elsewhere, held])
    assert events(dashboard) == [
        [NAME, "closed", "forced by operator expired"],
        [NAME, "forced open", "forced by an operator: a new disk"],
        ["school-database", "forced open", "forced by an operator: a new disk"],
    ]


def test_the_name_is_shown_after_a_sign_in_until_the_sign_out(open_dashboard: OpenDashboard) -> None:
    """The page fetches it once for each breaker, and for new orders."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    orders = [order("reset", NAME), order("configure", NAME, changes={"max_failures": 7}, time=NOON - 50)]
    dashboard.report("auth-service", orders=orders)
    asked: list[str] = []
    dashboard.page.on("request", lambda one: f"/breakers/{NAME}" in one.url and asked.append(one.url))
    commands = [{"id": one["id"], "who": "u-17", "time": NOON} for one in orders]
    dashboard.answer({"commands": commands})
    assert "an operator" in dashboard.page.inner_text("#events")
    assert "u-17" not in dashboard.page.content()
    dashboard.page.click("#sign")
    dashboard.sign_in()
    named = dashboard.page.locator("#events .reason", has_text="by u-17")
    named.nth(1).wait_for(timeout=5000)
    dashboard.wait(3)
    assert len(asked) == 1
    late = order("trip", NAME, time=NOON)
    dashboard.answer({"commands": [*commands, {"id": late["id"], "who": "u-18", "time": NOON}]})
    dashboard.report("auth-service", orders=[*orders, late])
    dashboard.page.locator("#events .reason", has_text="tripped by u-18").wait_for(timeout=5000)
    assert len(asked) == 2
    dashboard.page.click("#sign")
    assert "u-1" not in dashboard.page.inner_text("#events")


def test_orders_that_a_process_has_forgotten_stay_in_the_list(open_dashboard: OpenDashboard) -> None:
    """After a restart without a store; they are not in force then."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    held = order("force_open", NAME, in_force=True, until=NOON + 60)
    dashboard.report("auth-service", breaker(NAME, state="FORCED_OPEN"), orders=[held])
    assert dashboard.row(NAME).locator(".wait").inner_text() == "stays so until 12:01:00, or a reset"
    dashboard.report("auth-service", orders=[])
    assert dashboard.row(NAME).locator(".wait").inner_text() == "stays so until it is reset"
    assert events(dashboard)[0][1] == "forced open"
