"""The lines of rejected requests: the first of each second, and one that counts the others."""

from __future__ import annotations

from typing import Any

import structlog
import trio
import trio.testing

from runtime.observability.sampling import RejectionSampler

OPEN = {"breaker": "b", "rejected": "open"}


def reported(lines: list[Any]) -> list[tuple[str, str, int]]:
    return [
        (one["breaker"], one["rejected"], one["count"])
        for one in lines
        if one["event"] == "more requests rejected"
    ]


async def test_one_line_a_second_and_one_with_the_number_of_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    sampler = RejectionSampler()
    with structlog.testing.capture_logs() as lines:
        admitted = []
        for _ in range(30):
            admitted.append(sampler.admits(OPEN))
            await trio.sleep(0.1)
        await trio.sleep(2)
    assert admitted.count(True) == 3
    assert sum(count for _, _, count in reported(lines)) == 27
    assert len(reported(lines)) == 3


async def test_breakers_and_reasons_are_sampled_apart(autojump_clock: trio.testing.MockClock) -> None:
    sampler = RejectionSampler()
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            for breaker in ("a", "b"):
                for reason in ("open", "probing"):
                    sampler.admits({"breaker": breaker, "rejected": reason})
        await trio.sleep(2)
    assert sorted(reported(lines)) == [(b, r, 2) for b in ("a", "b") for r in ("open", "probing")]


async def test_a_request_that_no_breaker_rejects_has_its_line(autojump_clock: trio.testing.MockClock) -> None:
    sampler = RejectionSampler()
    assert all(sampler.admits({"breaker": "b", "error": "GATEWAY_TIMEOUT"}) for _ in range(5))


def test_the_number_is_logged_if_the_process_ends_before_the_second() -> None:
    sampler = RejectionSampler()

    async def main() -> None:
        for _ in range(4):
            sampler.admits(OPEN)
        await trio.testing.wait_all_tasks_blocked()

    with structlog.testing.capture_logs() as lines:
        trio.run(main)
    assert reported(lines) == [("b", "open", 3)]
