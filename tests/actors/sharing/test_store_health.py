"""The warnings about a store that goes and comes back."""

from __future__ import annotations

import logging

import pytest

from actors.sharing.store_health import LOST_SECONDS, StoreHealth


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trio_breakers")


def test_nothing_is_said_while_the_first_connection_opens(caplog: pytest.LogCaptureFixture) -> None:
    health = StoreHealth()
    health.note_failure(0.0, "not connected yet")
    health.note_failure(LOST_SECONDS, "refused")
    assert not health.is_connected(0.0)
    health.note_reply(LOST_SECONDS)
    assert health.is_connected(LOST_SECONDS)
    assert said(caplog) == []


def test_a_store_that_was_never_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    health = StoreHealth()
    for now in (10.0, 10.0 + LOST_SECONDS, 10.1 + LOST_SECONDS, 99.0):
        health.note_failure(now, "refused")
    assert said(caplog) == ["the shared store is gone (refused): each breaker protects this process alone"]


def test_a_store_is_gone_after_three_seconds_without_a_reply(caplog: pytest.LogCaptureFixture) -> None:
    health = StoreHealth()
    health.note_reply(10.0)
    health.note_failure(10.0 + LOST_SECONDS, "hangs")
    assert health.is_connected(10.0 + LOST_SECONDS)
    assert said(caplog) == []
    health.note_failure(10.1 + LOST_SECONDS, "hangs")
    assert not health.is_connected(10.1 + LOST_SECONDS)
    health.note_reply(20.0)
    health.note_reply(21.0)
    assert said(caplog)[1:] == ["the shared store answers again: breakers are shared"]
    health.note_failure(21.1 + LOST_SECONDS, "hangs")
    assert len(said(caplog)) == 3
