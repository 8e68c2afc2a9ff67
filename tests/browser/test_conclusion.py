"""The headline for several open breakers: their common cause, if there is evidence of one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.fake_stream import NOON, OWNERS, breaker, opened

OpenDashboard = Any
DATABASES = ("auth-database", "school-database", "student-database")
HALF_OPEN = {"state": "HALF_OPEN", "since": NOON - 5, "outage_since": NOON - 99}


@pytest.mark.parametrize(
    ("open_ones", "others", "headline"),
    [
        (DATABASES, {}, "Three of seven breakers are open. All three depend on MongoDB."),
        (DATABASES[:2], {}, "Two of seven breakers are open. Both depend on MongoDB."),
        # A service's breaker is open because that of its database is.
        (
            ("auth-service-http", "auth-database"),
            {},
            "Two of seven breakers are open. Both depend on MongoDB.",
        ),
        (
            ("student-service-http", "student-service-grpc", "school-service-http"),
            {},
            "Three of seven breakers are open. All three depend on school-service.",
        ),
        # The deepest common cause, through two services, also while its own breaker probes.
        (
            ("student-service-grpc", "school-service-http", "school-database"),
            {},
            "Three of seven breakers are open. All three depend on MongoDB.",
        ),
        (
            ("student-service-grpc", "school-service-http"),
            {"school-database": HALF_OPEN},
            "Two of seven breakers are open, one half-open. Both depend on MongoDB.",
        ),
        # Some of them.
        (
            (*DATABASES, "school-service-http", "student-service-grpc"),
            {"school-database": {}},
            "Four of seven breakers are open: two depend on MongoDB, two on school-service.",
        ),
        (
            ("student-service-grpc", *DATABASES),
            {},
            "Four of seven breakers are open. All four depend on MongoDB.",
        ),
        (
            ("student-service-http", "auth-database", "school-database"),
            {},
            "Three of seven breakers are open: two depend on MongoDB.",
        ),
        # No evidence, no claim.
        (("auth-service-http", "school-service-http"), {}, "Two of seven breakers are open."),
        (("auth-service-http", "school-database"), {}, "Two of seven breakers are open."),
        (("auth-database",), {}, "auth-database is open."),
        (
            ("auth-database",),
            {"school-database": {"state": "FORCED_OPEN"}},
            "auth-database is open, and one more is forced open.",
        ),
        # An operator's work is no outage.
        (
            ("auth-service-http", "school-database"),
            {"auth-database": {"state": "FORCED_OPEN"}},
            "Two of seven breakers are open, and one more is forced open.",
        ),
        ((), {"auth-database": {"state": "FORCED_OPEN"}}, "auth-database is forced open."),
    ],
)
def test_the_headline_names_the_common_cause(
    open_dashboard: OpenDashboard, open_ones: tuple[str, ...], others: dict[str, Any], headline: str
) -> None:
    """others: breakers in other states, which wins over open ones."""
    dashboard = open_dashboard()
    dashboard.hello()
    for process, names in OWNERS.items():
        found = [opened(one, NOON - 60) if one in open_ones else breaker(one) for one in names]
        dashboard.report(
            process,
            *(breaker(one["name"], **others[one["name"]]) if one["name"] in others else one for one in found),
        )
    assert dashboard.page.inner_text("#headline") == headline


def test_a_breaker_whose_process_is_silent_is_no_evidence(open_dashboard: OpenDashboard) -> None:
    """The database's breaker was open in the last report of its process."""
    dashboard = open_dashboard()
    dashboard.all_closed()
    dashboard.report("auth-service", opened("auth-database", NOON - 60))
    dashboard.report("school-service", opened("school-database", NOON - 60))
    dashboard.report("api-gateway", opened("auth-service-http", NOON - 60))
    dashboard.report("auth-service", answers=False, gaps=[[NOON, NOON]])
    assert dashboard.page.inner_text("#headline") == "Two of seven breakers are open."
