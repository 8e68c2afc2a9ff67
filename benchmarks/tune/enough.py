"""Whether a recording is enough to recommend from, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from actors import CircuitBreakerConfig

from .incidents import incidents, merged
from .recording import Recording

CALLS, FAILURES, INCIDENTS = 500, 20, 3
"""The least that is needed of one breaker: calls with an outcome, failures among them, incidents."""
MOST_REJECTED = 0.5
"""The largest share of rejected calls: what they would have got is only assumed."""


def missing(recordings: Sequence[Recording], config: CircuitBreakerConfig) -> list[str]:
    """Why nothing is recommended for a breaker, one sentence for each reason; empty if it is enough."""
    if config.strategy.slow_threshold is not None:
        return ["its policy counts slow calls, which are not tuned here"]
    calls = [call for one in recordings for call in one.calls]
    sent = sum(call.failed is not None for call in calls)
    failures = sum(call.failed is True for call in calls)
    found = merged(incident for one in recordings for incident in incidents(one.outcomes()))
    reasons = [
        f"needs {least:,} {things}, has {has:,}: {least - has:,} more"
        for things, has, least in (
            ("calls with an outcome", sent, CALLS),
            ("failures", failures, FAILURES),
            ("incidents", len(found), INCIDENTS),
        )
        if has < least
    ]
    if found and len(found) < INCIDENTS:
        hours = (INCIDENTS - len(found)) * _span(recordings) / len(found) / 3600
        reasons[-1] += f", some {hours:.1g} h of recording if they go on as they came"
    rejected = len(calls) - sent
    if rejected > MOST_REJECTED * len(calls):
        more = round(rejected / MOST_REJECTED) - len(calls)
        reasons.append(
            f"{100 * rejected / len(calls):.0f} % of its calls were rejected, so most outcomes are unknown: "
            f"needs {more:,} more calls with an outcome, or a recording while the breaker is observing"
        )
    return reasons


def _span(recordings: Sequence[Recording]) -> float:
    starts = [call.start for one in recordings for call in one.calls]
    return max(starts) - min(starts)
