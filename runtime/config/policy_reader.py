"""Turns the tables of breakers.toml into policies. Every problem names its key and the reason."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from actors import CircuitBreakerConfig
from actors.sharing.link import SharingPolicy
from protocols.topology import BREAKERS
from runtime.config.policies import (
    DEFAULTS,
    PROFILES,
    TYPE_RANGES,
    BadConfiguration,
    Configuration,
    Problem,
    Profile,
    Routes,
    ServiceType,
)
from runtime.config.probe_spec import ProbeKind, ProbeSpec
from runtime.config.problems import problem_of, problems_of
from runtime.config.route_pattern import RoutePattern
from runtime.config.tables import BreakerTable, FileTable, PolicyChange, PolicyTable

_PROBE_KINDS: Mapping[str, ProbeKind] = {"-http": "http", "-database": "ping", "-grpc": "grpc.health"}
"""By the ending of a breaker's name, the kind of probe that its dependency supports."""


@functools.cache
def _validator(table: type) -> TypeAdapter[Any]:
    """Return what validates a table. It is made when it is first needed: this takes milliseconds."""
    return TypeAdapter(table)


def changed_policy(config: CircuitBreakerConfig, table: Mapping[str, Any]) -> CircuitBreakerConfig:
    """Return `config` with the values of `table`, whose keys are those of a policy in breakers.toml.

    Raises ValueError naming key and reason.
    """
    try:
        values = _validator(PolicyChange).validate_python(dict(table))
    except ValidationError as error:
        raise ValueError("; ".join(map(str, problems_of(error, PolicyChange)))) from error
    except RecursionError as error:
        raise ValueError("trip: has strategies too deep within each other") from error
    return dataclasses.replace(config, **values)


def read(document: dict[str, Any], path: Path, override: str | None) -> Configuration:
    """Return the contents of the file. Raises BadConfiguration with all problems of the document.

    document: the parsed TOML. override: a profile in place of the file's.
    """
    problems = []
    try:
        file: FileTable = _validator(FileTable).validate_python(document)
    except ValidationError as error:
        problems = problems_of(error, FileTable)
    profile = next((one for one in PROFILES if one == override), None)
    if override is not None and profile is None:
        reason = f"must be one of {', '.join(PROFILES)}, got {override!r}"
        problems.append(Problem("CIRCUIT_BREAKER_PROFILE", reason))
    if problems:
        raise BadConfiguration(path, *problems)
    reader = _Reader(profile or file.get("profile", "default"))
    for name in BREAKERS:
        reader.add(name, file.get("breakers", {}).get(name, {}))
    if reader.problems:
        raise BadConfiguration(path, *reader.problems)
    return reader.configuration(file.get("sharing", SharingPolicy()))


class _Reader:
    """Makes policies from tables whose keys and types are valid, and collects all problems."""

    def __init__(self, profile: Profile) -> None:
        self.problems: list[Problem] = []
        self._profile = profile
        self._breakers: dict[str, CircuitBreakerConfig] = {}
        self._warnings: list[str] = []
        self._probes: dict[str, ProbeSpec] = {}
        self._routes: dict[str, Routes] = {}

    def configuration(self, sharing: SharingPolicy) -> Configuration:
        """Return what has been added. Only if there are no problems."""
        warnings = tuple(self._warnings)
        return Configuration(self._profile, self._breakers, sharing, warnings, self._probes, self._routes)

    def add(self, name: str, table: BreakerTable) -> None:
        """Add a breaker."""
        self._add_policy(name, table)
        self._add_probe(name, table)
        if routes := table.get("routes"):
            self._add_routes(name, routes)

    def _add_policy(self, name: str, table: BreakerTable) -> None:
        values: dict[str, Any] = {**DEFAULTS[name], **PROFILES[self._profile]}
        if "trip" in table:
            # The profile's max_failures is for breakers that trip on consecutive failures.
            del values["max_failures"]
        values.update((key, value) for key, value in table.items() if key in PolicyTable.__annotations__)
        try:
            policy = self._breakers[name] = CircuitBreakerConfig(name=name, **values)
        except ValueError as error:
            self.problems.append(problem_of(error, f"breakers.{name}", values))
        else:
            self._warnings += _warnings(policy, table.get("type"))

    def _add_probe(self, name: str, table: BreakerTable) -> None:
        probe, interval = table.get("probe"), table.get("probe_interval")
        where = f"breakers.{name}"
        if probe is None:
            if interval is not None:
                reason = f"needs probe to be set, got {interval!r}"
                self.problems.append(Problem(f"{where}.probe_interval", reason))
            return
        try:
            spec = self._probes[name] = ProbeSpec(**probe, interval=interval)
        except ValueError as error:
            is_probe = not str(error).startswith("probe_interval")
            self.problems.append(
                problem_of(error, f"{where}.probe" if is_probe else where, {**probe, **table})
            )
            return
        wanted = next(kind for ending, kind in _PROBE_KINDS.items() if name.endswith(ending))
        if spec.kind != wanted:
            reason = f"must be {wanted} for this breaker, got {spec.kind!r}"
            self.problems.append(Problem(f"{where}.probe.kind", reason))

    def _add_routes(self, name: str, routes: Mapping[str, list[RoutePattern]]) -> None:
        where = f"breakers.{name}.routes"
        if not name.endswith("-http"):
            self.problems.append(Problem(where, "only a breaker of HTTP requests has routes"))
        taken: dict[RoutePattern, str] = {}
        for route, patterns in routes.items():
            for n, pattern in enumerate(patterns):
                if pattern in taken:
                    reason = f"is in route {taken[pattern]} already, got {str(pattern)!r}"
                    self.problems.append(Problem(f"{where}.{route}[{n}]", reason))
                taken[pattern] = route
        self._routes[name] = {route: tuple(patterns) for route, patterns in routes.items()}


def _warnings(config: CircuitBreakerConfig, kind: ServiceType | None) -> list[str]:
    """Return a warning for each value outside the range of the breaker's type."""
    if kind is None:
        return []
    ranges = dict(TYPE_RANGES[kind])
    if config.trip is not None:
        del ranges["max_failures"]
    return [
        f"breaker {config.name}: {key} {getattr(config, key):g} is outside the range for its type {kind}"
        f" ({low} to {high})"
        for key, (low, high) in ranges.items()
        if not low <= getattr(config, key) <= high
    ]
