"""Count how often waiters ask the actor."""

from __future__ import annotations

import pytest

from actors.breaker_actor import BreakerActor
from actors.commands import FindAdmission


@pytest.fixture
def asked_times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times of the messages that ask when a call is admitted."""
    times: list[float] = []
    receive = BreakerActor.receive

    def counted(actor: BreakerActor, message: object, now: float) -> object:
        if isinstance(message, FindAdmission):
            times.append(now)
        return receive(actor, message, now)  # type: ignore[arg-type]

    monkeypatch.setattr(BreakerActor, "receive", counted)
    return times
