"""What was found, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .candidates import Candidate
from .log_reader import Log
from .recording import Recording
from .replay import Costs
from .selection import INTERVAL, Choice, Result, Sureness

VERDICTS = {
    Sureness.SAME: "Nothing to change: no policy that was tried is clearly better.",
    Sureness.UNSURE: "Nothing to change: the log doesn't decide.",
    Sureness.LIKELY: "Recommended, likely better",
    Sureness.SURE: "Recommended, surely better on this log",
}


def is_change(result: Result) -> bool:
    """Whether another policy is recommended."""
    return result.sureness in (Sureness.LIKELY, Sureness.SURE)


def of_log(log: Log, path: object) -> Iterator[str]:
    """What is missing from the log."""
    if log.cut:
        yield f"{path}: the last line is incomplete, and left out."
    if log.dropped:
        yield f"{path}: the gateway has dropped {_calls(log.dropped)}: their costs are missing below."
    if log.unknown:
        yield f"{path}: {_calls(log.unknown)} of breakers that breakers.toml doesn't have, left out."


def of_recording(recordings: Sequence[Recording], neutral: int, left_out: int) -> Iterator[str]:
    """How much of one breaker was recorded, and how much of that is unknown."""
    calls = [call for one in recordings for call in one.calls]
    starts = [call.start for call in calls]
    rejected = sum(call.failed is None for call in calls)
    failures = sum(call.failed is True for call in calls)
    routes = f", {len(recordings)} breakers of its routes" if len(recordings) > 1 else ""
    yield f"  {_calls(len(calls))} in {_time(max(starts) - min(starts))}, {failures:,} failed{routes}"
    if neutral:
        yield f"  {_calls(neutral)} ignored or cancelled, left out"
    if left_out:
        yield f"  {_calls(left_out)} older than these, left out to bound the time"
    if rejected:
        yield f"  {_calls(rejected)} rejected ({100 * rejected / len(calls):.1f} %): with assumed outcomes"


def of_refusal(reasons: Sequence[str]) -> Iterator[str]:
    """Why nothing is recommended."""
    yield "  Nothing is recommended from so little:"
    yield from (f"  - {reason}" for reason in reasons)


def of_result(result: Result) -> Iterator[str]:
    """The best policies, the recommendation, and how sure it is."""
    judge = sum(result.judge)
    yield f"  {len(result.found)} incidents, in {len(result.judge)} blocks of time"
    yield ""
    yield f"  {'':<9} {'policy':<62} {'opens':>6} {'lost':>7} {'sent':>7} {'score':>7} {'held out':>16}"
    yield _row("now", result.now, result.now_costs, judge, "")
    for name, choice in (("fixed", result.fixed), ("adaptive", result.adaptive)):
        yield _row(name, choice.candidate, choice.costs, judge, _held_out(choice, result.judge))
    yield ""
    if not is_change(result):
        yield f"  {VERDICTS[result.sureness]}"
    else:
        yield f"  {VERDICTS[result.sureness]}: {result.chosen.candidate.name}"
        yield f"  It {_difference(result.chosen.costs, result.now_costs)}."
    if result.sureness is not Sureness.SAME:
        yield from _sureness(result)


def _row(kind: str, candidate: Candidate, costs: Costs, judge: int, held_out: str) -> str:
    figures = f"{costs.opened:>6,} {sum(costs.lost):>7,} {sum(costs.sent):>7,} {costs.total - judge:>7,}"
    return f"  {kind:<9} {candidate.name:<62} {figures} {held_out:>16}".rstrip()


def _held_out(choice: Choice, judge: Sequence[int]) -> str:
    """The held-out score, and its least and most in a block."""
    blocks = [cost - least for cost, least in zip(choice.held_out, judge, strict=True)]
    return f"{sum(blocks):,} ({min(blocks):,} … {max(blocks):,})"


def _difference(new: Costs, old: Costs) -> str:
    return (
        f"would have opened {_instead(_times(new.opened), _times(old.opened))}, "
        f"lost {_instead(f'{sum(new.lost):,}', f'{sum(old.lost):,}')} good calls, "
        f"and sent {_instead(f'{sum(new.sent):,}', f'{sum(old.sent):,}')} bad ones"
    )


def _sureness(result: Result) -> Iterator[str]:
    saved, chosen = result.saved, result.chosen
    better, worse = sum(one > 0 for one in saved), sum(one < 0 for one in saved)
    low, high = result.interval
    yield (
        f"  Chosen without a block and tried on it: better than now in {better} of {len(saved)} blocks, "
        f"worse in {worse}; the same choice in {chosen.agreeing}."
    )
    likely = f"{low:,} to {high:,} in {100 * INTERVAL:.0f} % of resampled logs"
    yield f"  It saves {sum(saved):,} calls there; {likely}."
    if len({(one.now, one.chosen) for one in result.assumed}) > 1:
        yield "  Lost and sent, by when the dependency recovered while calls were rejected, now → chosen:"
        for one in result.assumed:
            yield f"    {one.meaning}: {one.now:,} → {one.chosen:,}"


def _instead(new: str, old: str) -> str:
    return f"{new} (as now)" if new == old else f"{new} instead of {old}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _calls(count: int) -> str:
    return f"{count:,} call" + "s" * (count != 1)


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
