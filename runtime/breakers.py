"""breakers.toml: the policies of the stack's breakers.

    profile = "default"                    # or "dev", "prod"; CIRCUIT_BREAKER_PROFILE overrides it

    [breakers.auth-database]
    type = "database"                      # what it guards; a policy outside the type's range is warned about
    max_failures = 6                       # any key of CircuitBreakerConfig that isn't code
    backoff = { factor = 2.0, maximum = 300.0 }
    trip = { kind = "FailureRate", rate = 0.5, window = { last_seconds = 30 }, minimum_calls = 20 }

    [sharing]
    quorum = 2

A key in a breaker's table wins over the profile, and the profile over the defaults. Times are seconds.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from actors import (
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
from actors.checks import positive_int, positive_number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made", bound="DataclassInstance")
Table = dict[str, Any]
Policy = Mapping[str, int | float]

_EDGE: Policy = {"max_failures": 5, "reset_timeout": 60.0}

BREAKERS: Mapping[str, Policy] = {
    "auth-service-http": _EDGE,
    "school-service-http": _EDGE,
    "student-service-http": _EDGE,
    "auth-database": _EDGE,
    "school-database": _EDGE,
    "student-database": _EDGE,
    "student-service-grpc": {"max_failures": 3, "reset_timeout": 30.0},
}
"""Every breaker of the stack, with its default policy."""

PROFILES: Mapping[str, Policy] = {
    "default": {},
    "dev": {"max_failures": 3, "reset_timeout": 30.0},
    "prod": {"max_failures": 10, "reset_timeout": 120.0},
}
"""What each profile says of all breakers."""

TYPE_RANGES: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "user-facing": {"max_failures": (3, 5), "reset_timeout": (30, 60)},
    "internal": {"max_failures": (5, 10), "reset_timeout": (60, 120)},
    "database": {"max_failures": (5, 7), "reset_timeout": (60, 90)},
    "external": {"max_failures": (3, 5), "reset_timeout": (30, 60)},
}
"""Starting points by type of service: a policy outside them works, and is warned about."""

CODE = frozenset({"failure", "ignore", "failure_result", "retry_after", "probe"})
"""What decides by running code: a process sets it with dataclasses.replace."""

_KEYS = {field.name for field in dataclasses.fields(CircuitBreakerConfig)} - CODE - {"name"} | {"type"}
_STRATEGIES: Mapping[str, type[Any]] = {
    kind.__name__: kind for kind in (ConsecutiveFailures, FailureCount, FailureRate, SlowCallRate)
}
_WINDOWS: Mapping[str, Callable[[Any], Any]] = {"last_calls": LastCalls, "last_seconds": LastSeconds}


class BadConfiguration(Exception):
    """breakers.toml can't be used; the message names file, key and reason."""

    def __init__(self, path: Path, key: str, reason: str) -> None:
        super().__init__(f"{path}: {key}: {reason}" if key else f"{path}: {reason}")
        self.path, self.key, self.reason = path, key, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How instances agree on a breaker. quorum: instances that must have tripped; the rest seconds."""

    quorum: int = 2
    lease: float = 10.0
    window: float = 30.0

    def __post_init__(self) -> None:
        positive_int("quorum", self.quorum)
        positive_number("lease", self.lease)
        positive_number("window", self.window)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of breakers.toml. `warnings` are policies outside the range of their declared type."""

    profile: str
    breakers: dict[str, CircuitBreakerConfig]
    sharing: Sharing
    warnings: tuple[str, ...]


def load_breakers(path: Path, profile: str | None) -> dict[str, CircuitBreakerConfig]:
    """The policy of every breaker by name; `profile` overrides the file's. Logs the warnings.

    Raises BadConfiguration.
    """
    found = load_configuration(path, profile)
    for warning in found.warnings:
        structlog.get_logger().warning(warning, file=str(path), profile=found.profile)
    return found.breakers


def load_configuration(path: Path, profile: str | None) -> Configuration:
    """Everything the file says, checked; nothing is logged. Raises BadConfiguration."""
    try:
        return _Reader(path, profile).read(_parsed(path))
    except RecursionError as error:
        raise BadConfiguration(path, "", "has tables or lists too deep within each other") from error


def _parsed(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise BadConfiguration(path, "", f"not TOML: {error}") from error
    except OSError as error:
        raise BadConfiguration(path, "", f"can't be read: {error.strerror}") from error


def changed_policy(config: CircuitBreakerConfig, table: Mapping[str, Any]) -> CircuitBreakerConfig:
    """`config` with the values of `table`, whose keys are those of a breaker's table; others stay.

    Raises ValueError naming key and reason.
    """
    try:
        return _Reader(Path(config.name), None).change(config, dict(table))
    except BadConfiguration as error:
        raise ValueError(f"{error.key}: {error.reason}") from error
    except RecursionError as error:
        raise ValueError("trip: has strategies too deep within each other") from error


class _Reader:
    """Reads one file; it knows where it is, so that every complaint can say so."""

    def __init__(self, path: Path, override: str | None) -> None:
        self._path = path
        self._override = override

    def read(self, document: Table) -> Configuration:
        self._only(document, "", {"profile", "breakers", "sharing"})
        profile = self._profile(document)
        tables = self._table(document.get("breakers", {}), "breakers")
        for name in tables:
            if name not in BREAKERS:
                raise self._bad(f"breakers.{name}", f"unknown breaker; one of: {', '.join(BREAKERS)}")
        breakers, warnings = {}, []
        for name in BREAKERS:
            table = dict(self._table(tables.get(name, {}), f"breakers.{name}"))
            kind = self._type(f"breakers.{name}", table)
            breakers[name] = self._breaker(name, profile, table)
            warnings += _outside(breakers[name], kind)
        sharing = self._make(Sharing, "sharing", self._table(document.get("sharing", {}), "sharing"))
        return Configuration(profile, breakers, sharing, tuple(warnings))

    def change(self, config: CircuitBreakerConfig, table: Table) -> CircuitBreakerConfig:
        self._only(table, "", _KEYS - {"type"})
        if table.get("backoff") is not None:
            table["backoff"] = self._make(Backoff, "backoff", table["backoff"])
        if table.get("trip") is not None:
            table["trip"] = self._strategy(table["trip"], "trip")
        return dataclasses.replace(config, **table)

    def _profile(self, document: Table) -> str:
        found = document.get("profile", "default")
        self._known_profile(found, self._path, "profile")
        if self._override is None:
            return str(found)
        self._known_profile(self._override, self._path, "CIRCUIT_BREAKER_PROFILE")
        return self._override

    def _known_profile(self, value: object, path: Path, key: str) -> None:
        if not isinstance(value, str) or value not in PROFILES:
            raise BadConfiguration(path, key, f"must be one of {', '.join(PROFILES)}, got {value!r}")

    def _type(self, where: str, table: Table) -> str | None:
        kind = table.pop("type", None)
        if kind is not None and (not isinstance(kind, str) or kind not in TYPE_RANGES):
            raise self._bad(f"{where}.type", f"must be one of {', '.join(TYPE_RANGES)}, got {kind!r}")
        return kind

    def _breaker(self, name: str, profile: str, table: Table) -> CircuitBreakerConfig:
        where = f"breakers.{name}"
        self._only(table, where, _KEYS)
        values: Table = {**BREAKERS[name], **PROFILES[profile], **table}
        if "backoff" in table:
            values["backoff"] = self._make(Backoff, f"{where}.backoff", table["backoff"])
        if "trip" in table:
            values["trip"] = self._strategy(table["trip"], f"{where}.trip")
        return self._make(CircuitBreakerConfig, where, {"name": name, **values})

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
        """A dataclass from a table; it checks its own values."""
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
                unknown = f"unknown key; one of: {', '.join(sorted(known))}"
                raise self._bad(
                    f"{where}.{key}".lstrip("."), "is set by code, not here" if key in CODE else unknown
                )

    def _bad(self, key: str, reason: str) -> BadConfiguration:
        return BadConfiguration(self._path, key, reason)


def _named(message: str, table: Table) -> str | None:
    """Which key of the table a value's own complaint is about: they all begin with its name."""
    field = message.split(maxsplit=1)[0].rsplit(".", 1)[-1]
    return field if field in table else None


def _outside(config: CircuitBreakerConfig, kind: str | None) -> list[str]:
    if kind is None:
        return []
    ranges = dict(TYPE_RANGES[kind])
    if config.trip is not None:
        del ranges["max_failures"]
    return [
        f"breaker {config.name}: {key} {getattr(config, key):g} is outside what suits its type {kind}"
        f" ({low} to {high})"
        for key, (low, high) in ranges.items()
        if not low <= getattr(config, key) <= high
    ]
