"""The policies of the stack's breakers: defaults, profiles, and all that breakers.toml can configure."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from actors import CircuitBreakerConfig
from actors.sharing.link import SharingPolicy
from protocols.topology import BREAKERS, STUDENT_SERVICE_GRPC
from runtime.config.probe_spec import ProbeSpec
from runtime.config.route_pattern import RoutePattern

Probe = Callable[[], Awaitable[object]]
Policy = Mapping[str, int | float]

_DEFAULT: Policy = {"max_failures": 5, "reset_timeout": 60.0}
DEFAULTS: Mapping[str, Policy] = {
    **dict.fromkeys(BREAKERS, _DEFAULT),
    STUDENT_SERVICE_GRPC: {"max_failures": 3, "reset_timeout": 30.0},
}
"""By breaker, its default policy. reset_timeout: seconds."""

Profile = Literal["default", "dev", "prod"]
PROFILES: Mapping[Profile, Policy] = {
    "default": {},
    "dev": {"max_failures": 3, "reset_timeout": 30.0},
    "prod": {"max_failures": 10, "reset_timeout": 120.0},
}
"""By profile, the values that replace the defaults of all breakers."""

ServiceType = Literal["user-facing", "internal", "database", "external"]
TYPE_RANGES: Mapping[ServiceType, Mapping[str, tuple[int, int]]] = {
    "user-facing": {"max_failures": (3, 5), "reset_timeout": (30, 60)},
    "internal": {"max_failures": (5, 10), "reset_timeout": (60, 120)},
    "database": {"max_failures": (5, 7), "reset_timeout": (60, 90)},
    "external": {"max_failures": (3, 5), "reset_timeout": (30, 60)},
}
"""By type of service, the recommended ranges. A policy outside them works; a warning is logged."""

CODE_FIELDS = frozenset(
    {"failure", "ignore", "answers", "failure_result", "retry_after", "probe", "probe_interval"}
)
"""Fields of CircuitBreakerConfig that hold or control code.

A process sets them with `dataclasses.replace`, and a reload keeps them.
"""


class Problem(NamedTuple):
    """A reason why breakers.toml can't be used.

    key: such as `breakers.auth-database.trip.kind`; empty if the whole file is unusable.
    """

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class BadConfiguration(Exception):
    """breakers.toml can't be used; the message has a line with file, key and reason for each problem."""

    def __init__(self, path: Path, *problems: Problem) -> None:
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))
        self.path, self.problems = path, problems


Routes = Mapping[str, tuple[RoutePattern, ...]]
"""By route, its patterns."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The contents of breakers.toml.

    breakers: the policy of every breaker, by name. warnings: one for each value outside the range of the
    breaker's declared type. probes, routes: by breaker, for those that have any; a process reads both when it
    starts.
    """

    profile: str
    breakers: dict[str, CircuitBreakerConfig]
    sharing: SharingPolicy
    warnings: tuple[str, ...]
    probes: Mapping[str, ProbeSpec] = dataclasses.field(default_factory=dict)
    routes: Mapping[str, Routes] = dataclasses.field(default_factory=dict)

    def with_probes(
        self, makers: Mapping[str, Callable[[ProbeSpec], Probe]]
    ) -> dict[str, CircuitBreakerConfig]:
        """Return the policy of every breaker, with the probes that this process can run.

        makers: by breaker, a function that makes its probe. Breakers without a maker get no probe.
        """
        policies = dict(self.breakers)
        for name in self.probes.keys() & makers.keys():
            spec = self.probes[name]
            policies[name] = dataclasses.replace(
                policies[name], probe=makers[name](spec), probe_interval=spec.interval
            )
        return policies
