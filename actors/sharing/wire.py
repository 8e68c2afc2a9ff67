"""Requests and replies as the script's arguments and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files

from .evidence import InstanceEvidence, Judgement
from .record import SharedRecord
from .requests import AcquireLease, Leave, Override, ProbeResult, ReleaseLease, Reply, Report, Request

VERSION = 1
"""Of the keys' content. Software with another version uses keys of its own, so both can run side by side."""
BODY = files(__package__).joinpath("transition.lua").read_text()
NOW = "local time = redis.call('TIME')\nlocal now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
SCRIPT = NOW + BODY
"""The transition function for the store, by the store's clock."""

OPERATIONS = {
    Report: "report",
    AcquireLease: "acquire",
    ProbeResult: "result",
    ReleaseLease: "release",
    Leave: "leave",
    Override: "override",
}


def keys(namespace: str, name: str) -> list[str]:
    """The keys of one breaker: one hash tag, so that a cluster keeps them on one node."""
    base = f"{namespace}:{VERSION}:{{{name}}}"
    return [base, f"{base}:evidence"]


def channel(namespace: str) -> str:
    """The channel on which the script publishes the name of each breaker that has changed."""
    return f"{namespace}:{VERSION}:news"


def arguments(request: Request) -> list[str]:
    """The operation and its arguments, as text."""
    if isinstance(request, Report):
        rule = request.rule
        ruled = [rule.quorum, rule.window, rule.confirm, rule.rate, rule.minimum_calls]
        values = [*request[:6], *ruled, *request[7:]]
    else:
        values = list(request)
    return [OPERATIONS[type(request)], *(_text(value) for value in values)]


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def reply(values: Sequence[int]) -> Reply:
    """The script's result. Raises TypeError or ValueError if it is none."""
    numbers = [int(value) for value in values]
    accepted, generation, is_open, wait, attempt, lease, held, wanted, standing, confirm, opened_by = numbers
    return Reply(
        bool(accepted),
        generation,
        bool(is_open),
        wait,
        attempt,
        lease,
        bool(held),
        bool(wanted),
        bool(standing),
        confirm,
        opened_by,
    )


def record(stored: dict[str, str], evidence: dict[str, str]) -> SharedRecord:
    """The record in the store's two hashes; for tests, and for people who look into the store."""
    known = SharedRecord()
    for one in fields(SharedRecord):
        if one.name in stored:
            kind = type(getattr(known, one.name))
            setattr(known, one.name, kind(int(stored[one.name])) if kind is not str else stored[one.name])
    for name, text in evidence.items():
        verdict, *numbers = text.split("|")
        known.evidence[name] = InstanceEvidence(Judgement(verdict), *map(int, numbers))
    return known
