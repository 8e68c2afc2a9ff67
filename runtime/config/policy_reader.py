"""Turns the tables of breakers.toml into policies. Every error names file, key and reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from actors import (
    Adaptive,
    AnyOf,
    Backoff,
    CircuitBreakerConfig,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    LastCalls,
    LastSeconds,
    SlowCallRate,
    TripStrategy,
)
from protocols.topology import BREAKERS
from runtime.config.policies import (
    CODE_FIELDS,
    DEFAULTS,
    PROFILES,
    TYPE_RANGES,
    BadConfiguration,
    Configuration,
    Routes,
    Sharing,
)
from runtime.config.probe_spec import ProbeSpec
from runtime.config.route_pattern import RoutePattern

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made", bound="DataclassInstance")
Table = dict[str, Any]

_PROBE_KINDS: Mapping[str, str] = {"-http": "http", "-database": "ping", "-grpc": "grpc.health"}
"""By the ending of a breaker's name, the kind of probe that its dependency supports."""

_KEYS = {field.name for field in dataclasses.fields(CircuitBreakerConfig)} - CODE_FIELDS - {"name"} | {"type"}
_STRATEGIES: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (ConsecutiveFailures, FailureCount, FailureRate, SlowCallRate, Adaptive)
} | {"adaptive": Adaptive}
_WINDOWS: Mapping[str, Callable[[Any], Any]] = {"last_calls": LastCalls, "last_seconds": LastSeconds}


class PolicyReader:
    """Reads one file. Each method raises BadConfiguration. override: a profile in place of the file's."""

    def __init__(self, path: Path, override: str | None) -> None:
        self._path = path
        self._override = override

    def read(self, document: Table) -> Configuration:
        """Return the contents of the file. document: its parsed TOML."""
        self._only(document, "", {"profile", "breakers", "sharing"})
        profile = self._profile(document)
        tables = self._table(document.get("breakers", {}), "breakers")
        for name in tables:
            if name not in BREAKERS:
                raise self._bad(f"breakers.{name}", f"unknown breaker; one of: {', '.join(BREAKERS)}")
        breakers, warnings = {}, []
        probes: dict[str, ProbeSpec] = {}
        routes: dict[str, Routes] = {}
        for name in BREAKERS:
            table = dict(self._table(tables.get(name, {}), f"breakers.{name}"))
            kind = self._type(f"breakers.{name}", table)
            if (spec := self._probe(f"breakers.{name}", table)) is not None:
                probes[name] = spec
            if patterns := self._routes(f"breakers.{name}.routes", table.pop("routes", {})):
                routes[name] = patterns
            breakers[name] = self._breaker(name, profile, table)
            warnings += _warnings(breakers[name], kind)
        sharing = self._make(Sharing, "sharing", self._table(document.get("sharing", {}), "sharing"))
        return Configuration(profile, breakers, sharing, tuple(warnings), probes, routes)

    def change(self, config: CircuitBreakerConfig, table: Table) -> CircuitBreakerConfig:
        """Return `config` with the values of `table`, which may hold any key but `type`."""
        self._only(table, "", _KEYS - {"type"})
        if table.get("backoff") is not None:
            table["backoff"] = self._make(Backoff, "backoff", table["backoff"])
        if table.get("trip") is not None:
            table["trip"] = self._strategy(table["trip"], "trip")
        return dataclasses.replace(config, **table)

    def _profile(self, document: Table) -> str:
        profile = self._known_profile(document.get("profile", "default"), "profile")
        if self._override is None:
            return profile
        return self._known_profile(self._override, "CIRCUIT_BREAKER_PROFILE")

    def _known_profile(self, value: object, key: str) -> str:
        if not isinstance(value, str) or value not in PROFILES:
            raise self._bad(key, f"must be one of {', '.join(PROFILES)}, got {value!r}")
        return value

    def _type(self, where: str, table: Table) -> str | None:
        kind = table.pop("type", None)
        if kind is not None and (not isinstance(kind, str) or kind not in TYPE_RANGES):
            raise self._bad(f"{where}.type", f"must be one of {', '.join(TYPE_RANGES)}, got {kind!r}")
        return kind

    def _breaker(self, name: str, profile: str, table: Table) -> CircuitBreakerConfig:
        where = f"breakers.{name}"
        self._only(table, where, _KEYS)
        values: Table = {**DEFAULTS[name], **PROFILES[profile], **table}
        if "trip" in table and "max_failures" not in table:
            # The profile's max_failures is for breakers that trip on consecutive failures.
            del values["max_failures"]
        if "backoff" in table:
            values["backoff"] = self._make(Backoff, f"{where}.backoff", table["backoff"])
        if "trip" in table:
            values["trip"] = self._strategy(table["trip"], f"{where}.trip")
        return self._make(CircuitBreakerConfig, where, {"name": name, **values})

    def _probe(self, where: str, table: Table) -> ProbeSpec | None:
        value, interval = table.pop("probe", None), table.pop("probe_interval", None)
        if value is None:
            if interval is not None:
                raise self._bad(f"{where}.probe_interval", f"needs probe to be set, got {interval!r}")
            return None
        self._only(self._table(value, f"{where}.probe"), f"{where}.probe", {"kind", "path"})
        spec = self._make(ProbeSpec, f"{where}.probe", value)
        wanted = next(kind for ending, kind in _PROBE_KINDS.items() if where.endswith(ending))
        if spec.kind != wanted:
            raise self._bad(f"{where}.probe.kind", f"must be {wanted} for this breaker, got {spec.kind!r}")
        try:
            return dataclasses.replace(spec, interval=interval)
        except ValueError as error:
            raise self._bad(f"{where}.probe_interval", str(error)) from error

    def _routes(self, where: str, value: Any) -> Routes:
        if value and not where.endswith("-http.routes"):
            raise self._bad(where, "only a breaker of HTTP requests has routes")
        routes: dict[str, tuple[RoutePattern, ...]] = {}
        taken: dict[RoutePattern, str] = {}
        for name, patterns in self._table(value, where).items():
            if not isinstance(patterns, list) or not patterns:
                raise self._bad(f"{where}.{name}", f"must be a list of patterns, got {patterns!r}")
            places = [f"{where}.{name}[{n}]" for n in range(len(patterns))]
            routes[name] = tuple(map(self._pattern, patterns, places))
            for pattern, place in zip(routes[name], places, strict=True):
                if pattern in taken:
                    raise self._bad(place, f"is in route {taken[pattern]} already, got {str(pattern)!r}")
                taken[pattern] = name
        return routes

    def _pattern(self, value: Any, where: str) -> RoutePattern:
        try:
            return RoutePattern.parse(value)
        except ValueError as error:
            raise self._bad(where, str(error)) from error

    def _strategy(self, value: Any, where: str) -> TripStrategy:
        table = dict(self._table(value, where))
        kind = table.pop("kind", None)
        if kind == "AnyOf":
            self._only(table, where, {"strategies"})
            members = table.get("strategies")
            if not isinstance(members, list) or not members:
                raise self._bad(f"{where}.strategies", f"must be a list of strategies, got {members!r}")
            return AnyOf(*(self._strategy(one, f"{where}.strategies[{n}]") for n, one in enumerate(members)))
        if not isinstance(kind, str) or kind not in _STRATEGIES:
            raise self._bad(f"{where}.kind", f"must be one of {', '.join(_STRATEGIES)}, AnyOf, got {kind!r}")
        if "window" in table:
            table["window"] = self._window(table["window"], f"{where}.window")
        made: TripStrategy = self._make(_STRATEGIES[kind], where, table)
        return made

    def _window(self, value: Any, where: str) -> LastCalls | LastSeconds:
        table = self._table(value, where)
        self._only(table, where, set(_WINDOWS))
        if len(table) != 1:
            raise self._bad(where, f"must have one of {', '.join(_WINDOWS)}, got {table!r}")
        [(key, size)] = table.items()
        try:
            made: LastCalls | LastSeconds = _WINDOWS[key](size)
        except ValueError as error:
            raise self._bad(f"{where}.{key}", str(error)) from error
        return made

    def _make(self, kind: type[Made], where: str, value: Any) -> Made:
        """Make a dataclass, which checks its own values, from a table."""
        table = self._table(value, where)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        self._only(table, where, set(fields))
        for name, field in fields.items():
            if name not in table and field.default is dataclasses.MISSING:
                raise self._bad(f"{where}.{name}", "is missing")
        try:
            return kind(**table)
        except ValueError as error:
            key = _named(str(error), table)
            raise self._bad(f"{where}.{key}" if key else where, str(error)) from error

    def _table(self, value: Any, where: str) -> Table:
        if not isinstance(value, dict):
            raise self._bad(where, f"must be a table, got {value!r}")
        return value

    def _only(self, table: Table, where: str, known: set[str]) -> None:
        for key in table:
            if key not in known:
                reason = f"unknown key; one of: {', '.join(sorted(known))}"
                if key in CODE_FIELDS:
                    reason = "is set by code, not here"
                raise self._bad(f"{where}.{key}".lstrip("."), reason)

    def _bad(self, key: str, reason: str) -> BadConfiguration:
        return BadConfiguration(self._path, key, reason)


def _named(message: str, table: Table) -> str | None:
    """Return the key that a dataclass's error is about: each message begins with the field's name."""
    field = message.split(maxsplit=1)[0].rsplit(".", 1)[-1]
    return field if field in table else None


def _warnings(config: CircuitBreakerConfig, kind: str | None) -> list[str]:
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
