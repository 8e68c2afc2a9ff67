"""breakers.toml: the policies of the stack's breakers.

    profile = "default"                    # or "dev", "prod"; CIRCUIT_BREAKER_PROFILE overrides it

    [breakers.auth-database]
    type = "database"                      # what it guards; a policy outside the type's range is warned about
    max_failures = 6                       # any key of CircuitBreakerConfig that isn't code
    backoff = { factor = 2.0, maximum = 300.0 }
    trip = { kind = "FailureRate", rate = 0.5, window = { last_seconds = 30 }, minimum_calls = 20 }
    probe = { kind = "ping" }              # or "grpc.health", or "http" with a path; read at start only
    probe_interval = 5.0

    [breakers.auth-service-http.routes]    # for fair probes; read at start only
    login = ["POST /auth/login"]

    [sharing]
    quorum = 2

A key in a breaker's table wins over the profile, and the profile over the defaults. Times are seconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from actors import CircuitBreakerConfig
from protocols.topology import BREAKERS
from runtime.config.policy_file import (
    CODE,
    BadConfiguration,
    Configuration,
    PolicyReader,
    Sharing,
    Table,
)

__all__ = [
    "CODE",
    "BadConfiguration",
    "Configuration",
    "Sharing",
    "changed_policy",
    "load_breakers",
    "load_configuration",
    "load_policies",
]

_at_start: dict[Path, Configuration] = {}
"""What each file said when it was read first."""


def load_breakers(path: Path, profile: str | None) -> dict[str, CircuitBreakerConfig]:
    """The policy of every breaker by name, without probes. As `load_policies`."""
    return load_policies(path, profile).breakers


def load_policies(path: Path, profile: str | None) -> Configuration:
    """Everything the file says; `profile` overrides the file's. Logs the warnings.

    Raises BadConfiguration.
    """
    found = load_configuration(path, profile)
    _log_warnings(found, path)
    return found


def _log_warnings(found: Configuration, path: Path) -> None:
    """Log what is unusual in the file, and where probes or routes are others than when it was first read."""
    if changed := _changed_since_start(found, _at_start.get(path, found)):
        told = "probes and routes take effect at the next start"
        structlog.get_logger().warning(told, file=str(path), breakers=changed)
    for warning in found.warnings:
        structlog.get_logger().warning(warning, file=str(path), profile=found.profile)


def load_configuration(path: Path, profile: str | None) -> Configuration:
    """Everything the file says, checked; nothing is logged. Raises BadConfiguration."""
    try:
        found = PolicyReader(path, profile).read(_parsed(path))
    except RecursionError as error:
        raise BadConfiguration(path, "", "has tables or lists too deep within each other") from error
    _at_start.setdefault(path, found)
    return found


def _changed_since_start(found: Configuration, first: Configuration) -> list[str]:
    """The breakers whose probes or routes, or the order of these, are others than at first."""

    def said(by: Configuration, name: str) -> object:
        return by.probes.get(name), list(by.routes.get(name, {}).items())

    return [name for name in BREAKERS if said(found, name) != said(first, name)]


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
        return PolicyReader(Path(config.name), None).change(config, dict(table))
    except BadConfiguration as error:
        raise ValueError(f"{error.key}: {error.reason}") from error
    except RecursionError as error:
        raise ValueError("trip: has strategies too deep within each other") from error
