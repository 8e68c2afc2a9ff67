"""Run the conformance suite on other Python breakers, and list the cases that each fails or can't express.

    uv run --group bench python -m benchmarks.conformance_peers [--write]

--write also writes the table to docs/reference/conformance.md. Each peer is configured as its own
documentation says for the case's policy. A case that needs a setting, command or reading that the peer
doesn't have counts as "cannot express", and not as a failure.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import trio
from trio.testing import MockClock

from benchmarks.conformance_peers.aiobreaker import Aiobreaker
from benchmarks.conformance_peers.interlock import Interlock
from benchmarks.conformance_peers.nopanic import Nopanic
from benchmarks.conformance_peers.peer import Peer
from benchmarks.conformance_peers.purgatory import Purgatory
from tests.conformance.breaker_subject import open_breaker
from tests.conformance.suite import CannotExpressError, Case, DeviationError, load_cases, play

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "conformance.md"
PEERS: tuple[type[Peer], ...] = (Interlock, Nopanic, Purgatory, Aiobreaker)
OURS = "trio-breakers"
PREFACE = """\
# Conformance

{count} cases, each a rule of a circuit breaker as data (`tests/conformance/`), against this project and four
others. Written by `uv run --group bench python -m benchmarks.conformance_peers --write`.

The rules are this project's: another breaker may have chosen otherwise on purpose. A case that needs a
setting, a command or a reading that a breaker doesn't have isn't a failure, and is counted apart.

| breaker | passes | fails | cannot express |
|---|---|---|---|
"""
Verdict = tuple[str, str]
"""("passes", "fails" or "cannot", the reason)."""


def judge(case: Case, play_case: Callable[[Case], None]) -> Verdict:
    """Play one case. play_case: sets up a fresh breaker and plays the case on it."""
    verdict = "passes", ""
    try:
        play_case(case)
    except* CannotExpressError as missing:
        verdict = "cannot", str(missing.exceptions[0])
    except* DeviationError as deviations:
        verdict = "fails", str(deviations.exceptions[0]).split("\n")[0].split("}: ", 1)[-1]
    return verdict


def play_ours(case: Case) -> None:
    """Play a case on this project's breaker: handle and actor."""
    clock = MockClock()

    async def main() -> None:
        async with open_breaker(case.policy, clock, "guard") as subject:
            await play(case, subject)

    trio.run(main, clock=clock)


def check_refusals() -> None:
    """Raise AssertionError if a peer ignores a key, an outcome, a command or a reading unknown to it.

    Such a peer would be judged by a policy that it doesn't run.
    """
    trip = {"kind": "consecutive", "n": 1}
    policy = {"trip": trip, "reset_timeout": 10}
    step = {"at": 0, "call": "success"}
    for unknown in (
        Case("policy", "", {**policy, "unheard_of": 0}, (step,)),
        Case("trip", "", {**policy, "trip": {**trip, "unheard_of": 0}}, (step,)),
        Case("strategy", "", {**policy, "trip": {"kind": "unheard_of", "n": 1}}, (step,)),
        Case("outcome", "", policy, ({"at": 0, "call": "unheard_of"},)),
        Case("command", "", policy, ({"at": 0, "do": "unheard_of"},)),
        Case("reading", "", policy, ({"at": 0, "counts": {"unheard_of": 0}},)),
    ):
        for peer in PEERS:
            found = judge(unknown, peer.play)
            assert found[0] == "cannot", f"{peer.name}: an unknown {unknown}: {found}"


def report(cases: list[Case]) -> str:
    """Play all cases on all breakers, and return the tables as Markdown."""
    players = {peer.name: peer.play for peer in PEERS} | {OURS: play_ours}
    verdicts = {name: [judge(case, player) for case in cases] for name, player in players.items()}
    lines = PREFACE.format(count=len(cases)).splitlines()
    for name, found in verdicts.items():
        label = name if name == OURS else f"{name} {version(name)}"
        counts = [sum(kind == verdict for verdict, _ in found) for kind in ("passes", "fails", "cannot")]
        lines.append(f"| {label} | {' | '.join(map(str, counts))} |")
    lines += ["", "## Case by case", "", "✓ passes · **✗** fails · – cannot express", ""]
    lines += [f"| case | {' | '.join(verdicts)} |", "|---|" + "---|" * len(verdicts)]
    marks = {"passes": "✓", "fails": "**✗**", "cannot": "–"}
    for place, case in enumerate(cases):
        lines.append(f"| {case.name} | {' | '.join(marks[found[place][0]] for found in verdicts.values())} |")
    for name, found in verdicts.items():
        failed = [(case, why) for case, (kind, why) in zip(cases, found, strict=True) if kind == "fails"]
        if failed:
            lines += ["", f"## What {name} does otherwise", ""]
            lines += [f"- {case.name.split('/')[1]}: {why}" for case, why in failed]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report; with --write, also write it to docs/reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"also write {TARGET.name}")
    write = parser.parse_args().write
    check_refusals()
    text = report(load_cases())
    if write:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
